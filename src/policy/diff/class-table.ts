/**
 * Which files belong to which class. A pattern with a slash inside is a path from the root, `name/` a directory anywhere, and
 * `name` a file anywhere; case is ignored. The classes are wide on purpose: a file too many costs a look, one too few a secret.
 */
function words(text: string): readonly string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}

export const CLASS_TABLE = {
  // What a CI service reads as its own instructions.
  workflow: words(`
    .github/workflows/** .github/actions/** action.{yml,yaml} .github/dependabot.{yml,yaml} .github/renovate.json{,5}
    renovate.json{,5} .renovaterc* .gitlab-ci.{yml,yaml} .gitlab/ci/** .circleci/ .travis.yml azure-pipelines*.{yml,yaml}
    .azure-pipelines/ jenkinsfile* .buildkite/ .drone.{yml,yaml} .woodpecker/ .woodpecker*.{yml,yaml} bitbucket-pipelines.yml
    {.,}appveyor.yml .cirrus.yml .semaphore/ .forgejo/ .gitea/ .teamcity/ cloudbuild*.{yml,yaml} buildspec*.{yml,yaml}
  `),

  // What the next agent, or the editor of the next person, reads as instructions or starts as a program.
  agent_config: words(`
    claude{,.local}.md {agent,agents,agents.override,gemini,qwen,warp,crush,skill}.md .claude/ .claude.json .cursor/
    .cursorrules .cursorignore .windsurf/ .windsurfrules .clinerules .clinerules/ .clinerules* .roo/ .roomodes .roorules*
    .aider* .continue/ .continuerc.json .vscode/ *.code-workspace .idea/ .zed/ .fleet/ {.,}mcp.json .gemini/ .qwen/ .codex/
    .agents/ .agent/ opencode.json{,c} .opencode/ .opencode.json .pi/ .amp/ .amazonq/ .augment/ .augment-guidelines .junie/
    .kiro/ .trae/ .factory/ .goosehints .goose/ .openhands/ {.,}crush.json .kilocode/ .rules .github/copilot*
    .github/copilot/** .github/instructions/** .github/prompts/** .github/agents/** .github/chatmodes/** .github/skills/**
    .github/hooks/** .github/cofferdam.{yml,yaml} .devcontainer/ .devcontainer.json .envrc .gitpod.yml .gitpod.dockerfile
    .idx/ .replit
  `),

  ownership: words('codeowners .github/settings.{yml,yaml}'),

  attributes: words('.gitattributes .gitconfig .lfsconfig .git-blame-ignore-revs .mailmap'),

  submodules: words('.gitmodules'),

  // What a build or a test run executes, or what chooses the code that it executes.
  ci_code: words(`
    .github/** .ci/ ci/** scripts/** script/** bin/** tools/** hack/** *.{sh,bash,zsh,ps1,bat,cmd} .env{,.*}

    package.json package-lock.json npm-shrinkwrap.json yarn.lock pnpm-lock.yaml pnpm-workspace.yaml .pnpmfile.{cjs,mjs}
    bun.lock{,b} bunfig.toml deno.{json,jsonc,lock} .npmrc .yarnrc{,.yml} .yarn/ lerna.json nx.json turbo.json{,c} .nvmrc
    .node-version .tool-versions {.,}mise*.toml *.config.{js,cjs,mjs,ts,cts,mts,jsx,tsx,json}
    *.{conf,setup}.{js,cjs,mjs,ts,cts,mts} .{eslintrc,prettierrc,babelrc,mocharc,nycrc,swcrc,lintstagedrc,stylelintrc}*
    .releaserc* vitest.workspace.* gulpfile* gruntfile* wdio* codegen.* jest*.{js,cjs,mjs,ts,json} karma* .husky/ {.,}lefthook*
    .pre-commit-config.{yaml,yml} .pre-commit-hooks.yaml .overcommit.yml

    {,gnu}makefile makefile.* *.{mk,mak} {.,}justfile *.just taskfile* magefile* earthfile dagger.json

    conftest.py setup.{py,cfg} pyproject.toml *requirements*.{txt,in} requirements/ constraints*.txt pip.conf tox.ini
    noxfile.py pytest.ini {.,}coveragerc pipfile{,.lock} {poetry,uv,pdm}.lock uv.toml tasks.py fabfile.py manage.py dodo.py
    {site,user}customize.py *.pth {.,}pylintrc mypy.ini .python-version environment*.{yml,yaml} hatch.toml sconstruct wscript

    build.rs cargo.{toml,lock} .cargo/ rust-toolchain* clippy.toml go.{mod,sum,work,work.sum} .golangci* .goreleaser*
    generate.go tools.go

    gradlew{,.bat} gradle/ *.gradle{,.kts} gradle.properties buildsrc/ pom.xml mvnw{,.cmd} .mvn/ build.xml ivy.xml *.sbt
    project/** build.sc .sdkmanrc

    cmakelists.txt *.cmake cmakepresets.json configure{,.ac,.in} *.{m4,am} meson.build meson_options.txt conanfile* vcpkg.json
    build.zig{,.zon} xmake.lua premake*.lua build{,.bazel} workspace{,.bazel} module.bazel{,.lock} *.bzl .bazelrc
    .bazelversion buck tiltfile

    {dockerfile,containerfile}* *.{dockerfile,containerfile} {docker-,}compose*.{yml,yaml} .dockerignore docker-bake.*
    vagrantfile procfile skaffold.yaml {flake,shell,default}.nix flake.lock *.{tf,tfvars} .terraform.lock.hcl ansible.cfg

    gemfile{,.lock} *.gemspec rakefile *.rake .rspec .rubocop.yml .ruby-version {spec,rails}_helper.rb podfile{,.lock} fastlane/
    composer.{json,lock} phpunit.xml* phpstan* .php-cs-fixer* mix.{exs,lock} rebar.{config,lock} stack.yaml{,.lock} *.cabal
    cabal.project* setup.hs dune-project *.opam project.clj deps.edn *.{csproj,fsproj,vbproj,sln,slnx,targets,props}
    nuget.config global.json packages.lock.json build.cake package.{swift,resolved} *.xcodeproj/ pubspec.{yaml,lock}
    build.yaml sonar-project.properties {.,}codecov.yml
  `),
} as const;
