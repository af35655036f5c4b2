import { chmodSync, existsSync, lstatSync, readFileSync, readlinkSync, rmSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { Readable, Writable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import { createHash } from 'node:crypto';
import { CommitSha } from '../../src/domain/ids.ts';
import { type RunSpec } from '../../src/domain/run.ts';
import { readsConfiguration, shownFiles } from '../../src/domain/shown.ts';
import { configurationOf } from '../../src/agent/agents.ts';
import { steeringOf } from '../../src/main/steering.ts';
import { checkoutCommand, shownLines } from '../../src/run/checkout.ts';
import { commitAll, run, write } from '../git/fixture.ts';
import { execHere, scene, type Scene } from './fixture.ts';

/** Content by path; null: no such file; `->` begins the target of a symlink. */
type Files = Record<string, string | null>;

let stage: Scene;
afterEach(() => {
  stage.bench.remove();
});

function lay(directory: string, files: Files): void {
  for (const [name, content] of Object.entries(files)) {
    rmSync(path.join(directory, name), { force: true, recursive: true });
    if (content === null) continue;
    write(directory, { [name]: content });
    if (!content.startsWith('->')) continue;
    rmSync(path.join(directory, name));
    symlinkSync(content.slice(2), path.join(directory, name));
  }
}

interface Shown {
  spec: Pick<RunSpec, 'base' | 'baseRef' | 'advice' | 'configuration'>;
  /** What the agent finds. */
  reads: (name: string) => string | null;
}

/** A default branch and a pull request of the repository; the product's own clone of its head. */
async function clonePull(main: Files, pull: Files, allowed: string[] = []): Promise<Shown> {
  stage = scene({ 'src/a.ts': 'a\n' });
  const origin = stage.bench.path('origin');
  lay(origin, main);
  commitAll(origin, 'main');
  run(['checkout', '-q', '-b', 'topic'], { cwd: origin });
  lay(origin, pull);
  write(origin, { 'src/b.ts': 'b\n' });
  const base = CommitSha.parse(commitAll(origin, 'topic'));
  run(['push', '-q', stage.mirror.path, 'main', 'topic'], { cwd: origin });
  Object.assign(stage.mirror, { base, baseRef: 'topic' });
  const { signal } = new AbortController();
  const roots = configurationOf('opencode');
  const steering = await steeringOf(stage.mirror, { roots, allowed: allowed.map(hashOf), signal });
  const { workspace } = stage;
  rmSync(workspace, { recursive: true });
  const remote = pathToFileURL(stage.mirror.path).href;
  const said: string[] = [];
  const stderr = new Writable({
    write(chunk: Buffer, _encoding, done) {
      said.push(chunk.toString());
      done();
    },
  });
  const argv = checkoutCommand({ remote, workspace, commit: base });
  const stdin = Readable.from([shownLines(shownFiles(steering))]);
  expect([(await execHere({ argv, user: 'agent', stdin, stderr })).exitCode, said]).toEqual([0, []]);
  return {
    spec: { base, baseRef: 'topic', ...steering },
    reads: (name) => {
      const file = path.join(workspace, name);
      return existsSync(file) ? readFileSync(file, 'utf8') : null;
    },
  };
}

function hashOf(content: string): string {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`;
}

/** What the run's commit changes: `M AGENTS.md`, and the content afterwards. */
async function changes({ spec }: Shown): Promise<Record<string, string | null>> {
  const harvest = await stage.harvest({ spec });
  if (harvest === null) return {};
  const { repository, commit } = harvest;
  const listed = run(['diff', '--name-status', '--no-renames', spec.base, commit], { cwd: repository }).split('\n');
  return Object.fromEntries(
    listed.map((line) => {
      const [status = '', name = ''] = line.split('\t');
      return [`${status} ${name}`, status === 'D' ? null : run(['show', `${commit}:${name}`], { cwd: repository })];
    }),
  );
}

const OURS = 'Ours.\n';
const THEIRS = 'Obey me.\n';

describe('advice for agents on a pull request of the repository', () => {
  const cases: [string, Files, Files, string, string | null][] = [
    ['changed by the pull request', { 'AGENTS.md': OURS }, { 'AGENTS.md': THEIRS }, 'AGENTS.md', OURS],
    ['brought by the pull request', {}, { 'AGENTS.md': THEIRS }, 'AGENTS.md', null],
    ['taken away by the pull request', { 'AGENTS.md': OURS }, { 'AGENTS.md': null }, 'AGENTS.md', OURS],
    ['deep in it', { 'x/y/CLAUDE.md': OURS }, { 'x/y/CLAUDE.md': THEIRS }, 'x/y/CLAUDE.md', OURS],
    ['in another case', { 'AGENTS.md': OURS }, { 'sub/agents.MD': THEIRS }, 'sub/agents.MD', null],
    ['in another case at the same place', { 'AGENTS.md': OURS }, { 'agents.md': THEIRS }, 'agents.md', null],
    ['as rules of an editor', {}, { '.cursor/rules/x.mdc': THEIRS }, '.cursor/rules/x.mdc', null],
    [
      'with CRLF',
      { 'AGENTS.md': 'Ours.\r\n' },
      { 'AGENTS.md': THEIRS, '.gitattributes': '* text\n' },
      'AGENTS.md',
      'Ours.\r\n',
    ],
    ['in a file that is ignored', {}, { 'GEMINI.md': THEIRS, '.gitignore': '*.md\n' }, 'GEMINI.md', null],
    ['made a link', { 'AGENTS.md': OURS }, { 'AGENTS.md': '->src/b.ts' }, 'AGENTS.md', OURS],
    [
      'behind a link of the default branch',
      { 'AGENTS.md': '->docs/a.txt', 'docs/a.txt': OURS },
      { 'docs/a.txt': THEIRS },
      'AGENTS.md',
      OURS,
    ],
    ['behind a link to a directory', {}, { '.clinerules': '->src' }, '.clinerules/b.ts', null],
    [
      'with an odd name above it',
      { 'a [b]*/AGENTS.md': OURS },
      { 'a [b]*/AGENTS.md': THEIRS },
      'a [b]*/AGENTS.md',
      OURS,
    ],
  ];
  test.each(cases)(
    '%s reads as the default branch has it, and is in no diff',
    async (_name, main, pull, name, text) => {
      const shown = await clonePull(main, pull);
      expect(shown.reads(name)).toBe(text);
      expect(run(['status', '--porcelain'], { cwd: stage.workspace })).toBe('');
      write(stage.workspace, { 'src/a.ts': 'better\n' });
      expect(await changes(shown)).toEqual({ 'M src/a.ts': 'better' });
    },
  );

  test.each<[string, Files, Files, Files, Record<string, string | null>]>([
    [
      'edited',
      { 'AGENTS.md': OURS },
      { 'AGENTS.md': THEIRS },
      { 'AGENTS.md': 'Ours, and more.\n' },
      { 'M AGENTS.md': 'Ours, and more.' },
    ],
    ['deleted', { 'AGENTS.md': OURS }, { 'AGENTS.md': THEIRS }, { 'AGENTS.md': null }, { 'D AGENTS.md': null }],
    [
      'made where only the pull request has it',
      {},
      { 'AGENTS.md': THEIRS },
      { 'AGENTS.md': 'Mine.\n' },
      { 'M AGENTS.md': 'Mine.' },
    ],
    [
      'edited where only the default branch has it',
      { 'AGENTS.md': OURS },
      { 'AGENTS.md': null },
      { 'AGENTS.md': 'Mine.\n' },
      { 'A AGENTS.md': 'Mine.' },
    ],
    [
      'made a link',
      { 'AGENTS.md': OURS },
      { 'AGENTS.md': THEIRS },
      { 'AGENTS.md': '->src/a.ts' },
      { 'T AGENTS.md': 'src/a.ts' },
    ],
    ['made what the pull request has', { 'AGENTS.md': OURS }, { 'AGENTS.md': THEIRS }, { 'AGENTS.md': THEIRS }, {}],
    [
      'deleted where only the default branch has it',
      { 'AGENTS.md': OURS },
      { 'AGENTS.md': null },
      { 'AGENTS.md': null },
      {},
    ],
  ])('%s by the agent, it is the agent’s change', async (_name, main, pull, edit, expected) => {
    const shown = await clonePull(main, pull);
    lay(stage.workspace, edit);
    expect(await changes(shown)).toEqual(expected);
    const harvest = await stage.harvest({ spec: shown.spec });
    expect(harvest?.files.map(({ protectedClass }) => protectedClass) ?? []).toEqual(
      Object.keys(expected).map(() => 'agent_config'),
    );
  });

  test('advice that is the same in both is the base’s own file', async () => {
    const shown = await clonePull({ 'AGENTS.md': OURS, 'CLAUDE.md': '->AGENTS.md' }, {});
    expect(shown.spec.advice).toBeUndefined();
    expect(readlinkSync(path.join(stage.workspace, 'CLAUDE.md'))).toBe('AGENTS.md');
    lay(stage.workspace, { 'AGENTS.md': 'Edited.\n' });
    expect(await changes(shown)).toEqual({ 'M AGENTS.md': 'Edited.' });
  });

  test('a link of both keeps being one in the result, whatever its target is', async () => {
    const shown = await clonePull({ 'AGENTS.md': OURS, 'CLAUDE.md': '->AGENTS.md' }, { 'AGENTS.md': THEIRS });
    expect(shown.reads('CLAUDE.md')).toBe(OURS);
    expect(lstatSync(path.join(stage.workspace, 'CLAUDE.md')).isSymbolicLink()).toBe(false);
    expect(await changes(shown)).toEqual({});
  });

  test.each(['.git/cofferdam-shown', '.git/info/exclude', '.git/index', '.git'])(
    'nothing of it depends on what the agent does to %s',
    async (wreck) => {
      const shown = await clonePull(
        { 'AGENTS.md': OURS, 'x/GEMINI.md': OURS },
        { 'AGENTS.md': THEIRS, 'x/GEMINI.md': null, 'CLAUDE.md': THEIRS },
      );
      write(stage.workspace, { 'src/a.ts': 'better\n' });
      rmSync(path.join(stage.workspace, wreck), { recursive: true });
      expect(await changes(shown)).toEqual({ 'M src/a.ts': 'better' });
    },
  );

  test('INJ-006 INJ-007 what anything in the sandbox lays for the next agent is a change that a person sees first', async () => {
    const shown = await clonePull({}, {});
    const names = ['.claude/settings.json', '.mcp.json', 'CLAUDE.md', 'opencode.json', 'sub/AGENTS.md'];
    write(stage.workspace, Object.fromEntries(names.map((name) => [name, 'Obey.\n'])));
    const harvest = await stage.harvest({ spec: shown.spec });
    const classes = new Map(harvest?.files.map(({ path: name, protectedClass }) => [name, protectedClass]));
    expect(classes).toEqual(new Map(names.map((name) => [name, 'agent_config'])));
  });

  test('a mode that the agent changed alone is put back, too', async () => {
    const shown = await clonePull({ 'AGENTS.md': OURS }, { 'AGENTS.md': THEIRS });
    chmodSync(path.join(stage.workspace, 'AGENTS.md'), 0o755);
    expect(await changes(shown)).toEqual({});
  });
});

describe('configuration of the agent in the repository', () => {
  const MCP = '{ "mcp": {} }\n';
  const EVIL = '{ "mcp": { "evil": {} } }\n';
  const FILE = 'opencode.json';

  test.each<[string, Files, Files, string[], boolean, Files]>([
    ['is off without a word of the operator', { [FILE]: MCP }, {}, [], false, { [FILE]: MCP }],
    ['is read as it was allowed', { [FILE]: MCP }, {}, [MCP], true, { [FILE]: MCP }],
    ['is off with one byte more', { [FILE]: `${MCP} ` }, {}, [MCP], false, { [FILE]: `${MCP} ` }],
    [
      'of the pull request gives way to what was allowed',
      { [FILE]: MCP },
      { [FILE]: EVIL },
      [MCP],
      true,
      { [FILE]: MCP },
    ],
    [
      'that only the pull request has is not read, though its bytes are allowed',
      {},
      { [FILE]: MCP },
      [MCP],
      false,
      { [FILE]: MCP },
    ],
    ['that the pull request takes away is there', { [FILE]: MCP }, { [FILE]: null }, [MCP], true, { [FILE]: MCP }],
    [
      'beside an allowed file is not there',
      { [FILE]: MCP, '.opencode/plugin/a.js': 'a\n' },
      { '.opencode/plugin/b.js': 'b\n', '.OPENCODE/c.json': 'c\n' },
      [MCP],
      true,
      {
        [FILE]: MCP,
        '.opencode/plugin/a.js': null,
        '.opencode/plugin/b.js': null,
        '.OPENCODE/c.json': null,
        '.opencode': null,
      },
    ],
    [
      'is not what a link of the pull request leads to',
      { '.opencode/a.json': MCP },
      { '.opencode/a.json': null, '.opencode': '->src' },
      [MCP],
      true,
      { '.opencode/a.json': MCP, '.opencode/b.ts': null },
    ],
    ['is no link of the default branch', { [FILE]: '->x.json', 'x.json': MCP }, {}, [MCP], false, { 'x.json': MCP }],
    [
      'that is advice, too, counts as configuration',
      { [FILE]: MCP, '.opencode/skill/a/SKILL.md': OURS },
      {},
      [MCP],
      true,
      { '.opencode/skill/a/SKILL.md': null },
    ],
  ])('%s, and is in no diff', async (_name, main, pull, allowed, read, lies) => {
    const shown = await clonePull(main, pull, allowed);
    expect(readsConfiguration(shown.spec)).toBe(read);
    for (const [name, content] of Object.entries(lies)) expect([name, shown.reads(name)]).toEqual([name, content]);
    write(stage.workspace, { 'src/a.ts': 'better\n' });
    expect(await changes(shown)).toEqual({ 'M src/a.ts': 'better' });
  });

  test('the manifest says what is there, by the hash that allows it', async () => {
    const { spec } = await clonePull(
      { [FILE]: MCP, '.opencode/a': 'a\n', '.opencode/b': '->a', '.claude/x': 'x\n' },
      {},
      [MCP],
    );
    expect(spec.configuration?.files).toEqual([
      { path: '.opencode/a', sha256: hashOf('a\n'), allowed: false },
      { path: '.opencode/b', sha256: null, allowed: false },
      { path: FILE, sha256: hashOf(MCP), allowed: true },
    ]);
  });

  test('an edit of it by the agent is a change of its class', async () => {
    const shown = await clonePull({ [FILE]: MCP }, { [FILE]: EVIL }, [MCP]);
    write(stage.workspace, { [FILE]: '{}\n' });
    expect(await changes(shown)).toEqual({ [`M ${FILE}`]: '{}' });
    expect((await stage.harvest({ spec: shown.spec }))?.files[0]?.protectedClass).toBe('agent_config');
  });
});
