import { readFileSync, readdirSync, symlinkSync, unlinkSync, existsSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { write } from '../git/fixture.ts';
import { scene, type Scene } from '../harvest/fixture.ts';

let stage: Scene;
const CANARY = 'c4n4ry+/=?:secret&value';
const TOKEN = `ghp_${'aB3dE5fG7h'.repeat(4).slice(0, 36)}`;

beforeEach(() => {
  stage = scene({
    'src/a.ts': 'export const a = 1;\n',
    'tools/old.ts': 'x\n',
    '.github/workflows/ci.yml': 'on: push\njobs: {}\n',
    'local-action/action.yml': 'runs: { using: node20, main: index.js }\n',
    'local-action/index.js': '1\n',
    'test/fixture.txt': `token = ${TOKEN}\n`,
  });
});
afterEach(() => {
  stage.bench.remove();
});

async function classesOf(
  files: Record<string, string>,
  protectedPaths: string[] = [],
): Promise<Record<string, unknown>> {
  write(stage.workspace, files);
  const harvest = await stage.harvest({ spec: { protectedPaths } });
  await harvest?.dispose();
  return Object.fromEntries(harvest?.files.map((file) => [file.path, file.protectedClass]) ?? []);
}

describe('classes of files, through the whole pipeline', () => {
  test('GIT-011 workflows, actions, case variants', async () => {
    const classes = await classesOf({
      '.github/workflows/ci.yml': 'on: pull_request_target\n',
      '.GitHub/Workflows/evil.yml': 'on: push\n',
      '.github/actions/x/run.js': 'x',
      'local-action/index.js': 'evil()\n',
      'action.yaml': 'x',
      'src/b.ts': 'twin\n',
    });
    expect(classes).toEqual({
      '.github/workflows/ci.yml': 'workflow',
      '.GitHub/Workflows/evil.yml': 'workflow',
      '.github/actions/x/run.js': 'workflow',
      'local-action/index.js': 'workflow',
      'action.yaml': 'workflow',
      'src/b.ts': undefined,
    });
  });

  test('GIT-011 a link in the place of the directory, and what lies behind it', async () => {
    for (const name of readdirSync(path.join(stage.workspace, '.github/workflows'))) {
      unlinkSync(path.join(stage.workspace, '.github/workflows', name));
    }
    const { rmdirSync } = await import('node:fs');
    rmdirSync(path.join(stage.workspace, '.github/workflows'));
    symlinkSync('../docs', path.join(stage.workspace, '.github/workflows'));
    const classes = await classesOf({ 'docs/innocent.yml': 'on: push\n', 'other/innocent.yml': 'x\n' });
    expect(classes).toEqual({
      '.github/workflows': 'workflow',
      '.github/workflows/ci.yml': 'workflow',
      'docs/innocent.yml': 'workflow',
      'other/innocent.yml': undefined,
    });
  });

  test('GIT-012 code that CI executes', async () => {
    const names = [
      'package.json',
      'sub/package-lock.json',
      'Makefile',
      'conftest.py',
      '.npmrc',
      '.yarnrc.yml',
      '.yarn/releases/yarn.cjs',
      'pip.conf',
      'gradle/wrapper/gradle-wrapper.jar',
      'build.rs',
      'Dockerfile',
      '.pre-commit-config.yaml',
      'tox.ini',
      'jest.config.ts',
      'codegen.ts',
      'scripts/x',
      'x.sh',
      'pyproject.toml',
      '.husky/pre-commit',
      'MAKEFILE.inc',
    ];
    const classes = await classesOf({
      ...Object.fromEntries(names.map((name) => [name, 'x\n'])),
      'src/b.ts': 'twin\n',
    });
    expect(classes).toEqual({ ...Object.fromEntries(names.map((name) => [name, 'ci_code'])), 'src/b.ts': undefined });
  });

  test('GIT-013 what the next agent reads', async () => {
    const names = [
      'CLAUDE.md',
      'sub/AGENTS.md',
      '.claude/settings.json',
      'sub/.cursor/rules/x.mdc',
      '.vscode/tasks.json',
      '.mcp.json',
      '.gemini/settings.json',
      '.github/copilot-instructions.md',
      'opencode.json',
      '.CLAUDE/hooks.json',
      '.github/cofferdam.yml',
      '.devcontainer/devcontainer.json',
    ];
    const classes = await classesOf({
      ...Object.fromEntries(names.map((name) => [name, 'x\n'])),
      'docs/b.md': 'twin\n',
    });
    expect(classes).toEqual({
      ...Object.fromEntries(names.map((name) => [name, 'agent_config'])),
      'docs/b.md': undefined,
    });
  });

  test('owners, attributes, the repository’s own patterns', async () => {
    const classes = await classesOf(
      { 'docs/CODEOWNERS': '* @x\n', '.gitattributes': '* text\n', 'infra/prod/main.txt': 'x', 'src/b.ts': 'x' },
      ['infra/'],
    );
    expect(classes).toEqual({
      'docs/CODEOWNERS': 'ownership',
      '.gitattributes': 'attributes',
      'infra/prod/main.txt': 'protected',
      'src/b.ts': undefined,
    });
  });
});

describe('GIT-015 secrets', () => {
  const bytes = Buffer.from(CANARY);
  const reversed = Array.from(CANARY).reverse().join('');
  const forms: [string, string | Buffer][] = [
    ['as it is', `const key = "${CANARY}";\n`],
    ['in base64', `${bytes.toString('base64')}\n`],
    ['in base64 amid other text', `${Buffer.from(`x=1; key=${CANARY}; y`).toString('base64')}\n`],
    ['in base64url', `${Buffer.from(`?${CANARY}`).toString('base64url')}\n`],
    ['in base64 twice', `${Buffer.from(Buffer.from(`key=${CANARY}`).toString('base64')).toString('base64')}\n`],
    ['in hexadecimal', `${bytes.toString('hex').toUpperCase()}\n`],
    ['URL-encoded', `https://x.test/?k=${encodeURIComponent(CANARY)}\n`],
    [
      'URL-encoded to the last character',
      `${[...bytes].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')}\n`,
    ],
    ['reversed', `${reversed}\n`],
    ['in UTF-16', Buffer.from(`key ${CANARY}`, 'utf16le')],
    ['in gzip', gzipSync(`key ${CANARY}`)],
    ['behind a megabyte of other text', `${'x\n'.repeat(700_000)}${CANARY}\n`],
    ['across the edge of what is scanned at once', `${'y'.repeat(2 ** 20 - 10)}${CANARY}\n`],
  ];

  test.each(forms)('a secret of the installation %s', async (_name, content) => {
    write(stage.workspace, { 'new.txt': content });
    const error = await stage
      .harvest({ harvester: { knownSecrets: () => [CANARY] } })
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'harvest', message: expect.stringContaining('"new.txt"') as string });
    const said = JSON.stringify(error, ['message', 'stack', 'cause']);
    for (const form of [CANARY, reversed, bytes.toString('base64'), bytes.toString('hex')])
      expect(said).not.toContain(form);
    expect(existsSync(stage.quarantine)).toBe(false);
    // The twin: the same file is fine where this is nobody's secret.
    const twin = await stage.harvest({ harvester: { knownSecrets: () => ['another secret value'] } });
    expect(twin?.files).toHaveLength(1);
  });

  test('in a file name, a link, the commit message, the name of the branch', async () => {
    const plain = 'canary0123456789';
    const harvester = { knownSecrets: () => [plain] };
    write(stage.workspace, { 'src/b.ts': 'x\n' });
    const title = `fix: use ${plain}`;
    for (const message of [
      { title, body: '', trailers: [] },
      { title: 'x', body: `see ${plain}`, trailers: [] },
    ]) {
      await expect(stage.harvest({ harvester, message })).rejects.toThrow(/the commit message holds/);
    }
    await expect(stage.harvest({ harvester, spec: { branch: `cofferdam/1-${plain}-x7k2` } })).rejects.toThrow(
      /branch holds/,
    );
    write(stage.workspace, { [`src/${plain}.ts`]: 'x\n' });
    await expect(stage.harvest({ harvester })).rejects.toThrow(/a file name/);
    write(stage.workspace, { [`src/${plain}.ts`]: `${plain}\n` });
    const both = await stage.harvest({ harvester }).catch((thrown: unknown) => thrown);
    expect(both).toMatchObject({ message: expect.stringContaining('a file whose name holds one') as string });
    expect(JSON.stringify(both, ['message', 'stack'])).not.toContain(plain);
    unlinkSync(path.join(stage.workspace, `src/${plain}.ts`));
    symlinkSync(plain, path.join(stage.workspace, 'link'));
    await expect(stage.harvest({ harvester })).rejects.toThrow(/"link"/);
    unlinkSync(path.join(stage.workspace, 'link'));
    expect((await stage.harvest({ harvester }))?.files).toHaveLength(1);
  });

  test('a credential that is known by its shape; one that was there before is not news', async () => {
    const other = TOKEN.replace('aB3', 'xY9');
    write(stage.workspace, { 'config.yml': `token: ${other}\n` });
    const error = await stage.harvest().catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      message: expect.stringMatching(/"config\.yml" line 1 \(GitHub token ghp_…\)/) as string,
    });
    expect(JSON.stringify(error, ['message', 'stack'])).not.toContain(other);
    unlinkSync(path.join(stage.workspace, 'config.yml'));
    const fixture = path.join(stage.workspace, 'test/fixture.txt');
    write(stage.workspace, { 'test/moved.txt': readFileSync(fixture, 'utf8') + 'more\n' });
    unlinkSync(fixture);
    expect((await stage.harvest())?.files).toHaveLength(2);
  });

  test('files that take too long to scan are refused, not let through', async () => {
    write(stage.workspace, { 'new.txt': 'x\n' });
    await expect(stage.harvest({ harvester: { limits: { scanMs: 0 } } })).rejects.toThrow(/looking for secrets/);
    expect((await stage.harvest())?.files).toHaveLength(1);
  });

  test('content made to be slow is scanned all the same', async () => {
    const size = 4 * 2 ** 20;
    write(stage.workspace, {
      'run.txt': 'y'.repeat(size),
      'percent.txt': '%4'.repeat(size / 2),
      'lines.txt': `${'A'.repeat(64)}\n`.repeat(size / 65),
      'hex.txt': 'ab'.repeat(size / 2),
      'key.txt': '-----BEGIN PRIVATE KEY-----\n'.repeat(size / 28),
      'prefix.txt': 'sk-'.repeat(size / 3),
    });
    const harvest = await stage.harvest({ harvester: { knownSecrets: () => [CANARY] } });
    expect(harvest?.files).toHaveLength(6);
  });
});
