/**
 * What runs inside the sandbox, as the agent's user, to bring the tree out. It is convenience, not defence: everything that
 * it writes is hostile to the host. A git directory of its own, with the workspace's objects as alternates, keeps whatever
 * the agent did to configuration, hooks and attributes from standing in the way.
 *
 * The tree is what the agent's index and working tree hold together: files that it added by force are in, ignored ones are
 * not. A repository that was made inside (`git init` in a new directory) counts as files, since its commits exist nowhere
 * else. Files that the clone laid there otherwise than the base has them (`.git/cofferdam-shown`) are in byte for byte as they are;
 * the host knows which of them were touched. Where the agent destroyed `.git`, the base is fetched again. The index keeps its time, by which git tells files that may have
 * changed within the second in which they were checked out.
 */
export const RESULT_REF = 'refs/cofferdam/result';

const SCRIPT = `
set -eu
umask 077
exec 3>&1 1>&2
workspace=$1 base=$2 remote=$3 ref=$4
cd -- "$workspace"
unset $(env | sed -n 's/^\\(GIT_[A-Za-z_0-9]*\\)=.*/\\1/p') || :
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export HOME="$tmp" LC_ALL=C GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_ATTR_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0
export GIT_NO_REPLACE_OBJECTS=1
git init -q --bare --template= "$tmp/g"
mkdir -p "$tmp/g/info"
if [ -d .git/objects ]; then printf '%s\\n' "$PWD/.git/objects" > "$tmp/g/objects/info/alternates"; fi
if [ -f .git/info/exclude ]; then cp .git/info/exclude "$tmp/g/info/exclude"; fi
export GIT_DIR="$tmp/g" GIT_WORK_TREE="$PWD" GIT_INDEX_FILE="$tmp/index"
export GIT_AUTHOR_NAME=agent GIT_AUTHOR_EMAIL=agent@sandbox.invalid GIT_COMMITTER_NAME=agent GIT_COMMITTER_EMAIL=agent@sandbox.invalid
for setting in core.autocrlf=false core.safecrlf=false core.fileMode=true core.symlinks=true core.ignoreCase=false \\
  core.precomposeUnicode=false core.hooksPath=/dev/null core.fsmonitor=false core.quotePath=false \\
  pack.threads=1 pack.windowMemory=64m gc.auto=0 advice.addEmbeddedRepo=false; do
  git config "\${setting%%=*}" "\${setting#*=}"
done
if ! git rev-parse -q --verify "$base^{tree}" >/dev/null 2>&1; then
  echo 'the base commit is gone from the workspace: it is fetched again'
  rm -f "$tmp/g/objects/info/alternates"
  git fetch -q --no-tags "$remote" '+refs/heads/*:refs/base/*' '+refs/pull/*:refs/base-pull/*'
fi
start_index() {
  rm -f "$GIT_INDEX_FILE"
  git read-tree "$base"
}
collect() {
  git add -A --ignore-errors -- . || echo 'some files could not be read and stay as they were'
  git ls-tree -r "$base" | sed -n 's/^160000 commit [0-9a-f]*\t//p' > "$tmp/modules"
  git ls-files -s | sed -n 's/^160000 [0-9a-f]* 0\t//p' > "$tmp/links"
  while IFS= read -r link; do
    if [ -e "$link/.git" ] && ! grep -Fqx -e "$link" "$tmp/modules"; then
      rm -rf "$link/.git"
      git update-index --force-remove -- "$link"
      git add -A --ignore-errors -- "$link" || :
    fi
  done < "$tmp/links"
  if [ -f .git/cofferdam-shown ]; then
    while IFS= read -r file; do
      git update-index --force-remove -- "$file"
      if [ -L "$file" ]; then
        git update-index --add -- "$file" || :
      elif [ -f "$file" ]; then
        mode=100644
        if [ -x "$file" ]; then mode=100755; fi
        git update-index --add --cacheinfo "$mode,$(git hash-object -w --no-filters -- "$file"),$file" || :
      fi
    done < .git/cofferdam-shown
  fi
  git write-tree > "$tmp/tree"
}
if [ -f .git/index ] && cp -p .git/index "$GIT_INDEX_FILE" && git ls-files -s >/dev/null 2>&1 && collect; then :; else
  start_index
  collect
fi
commit=$(git commit-tree "$(cat "$tmp/tree")" -p "$base" -m result)
git update-ref "$ref" "$commit"
git bundle create -q --version=2 - "$ref" "^$base" >&3
`;

/** The command to execute in the sandbox. Its stdout is the bundle, its stderr prose of the sandbox. */
export function bundleCommand(options: { workspace: string; base: string; remote: string }): string[] {
  return ['/bin/sh', '-c', SCRIPT, 'harvest', options.workspace, options.base, options.remote, RESULT_REF];
}
