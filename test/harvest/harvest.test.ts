import {
  chmodSync,
  existsSync,
  readFileSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
  mkdirSync,
} from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { commitAll, run, write } from '../git/fixture.ts';
import { IDENTITY, scene, type Scene } from './fixture.ts';

let stage: Scene;
afterEach(() => {
  stage.bench.remove();
});

function show(repository: string, commit: string, format: string): string {
  return run(['show', '-s', `--format=${format}`, commit], { cwd: repository });
}

describe('one commit of the final tree', () => {
  test('uncommitted, committed, deleted, new, executable, linked: all in; ignored: out', async () => {
    stage = scene({ 'a.txt': 'one\n', 'gone.txt': 'x\n', '.gitignore': 'dist/\n*.log\n' });
    const { workspace } = stage;
    write(workspace, { 'a.txt': 'two\n' });
    commitAll(workspace, 'by the agent');
    write(workspace, {
      'b/c.txt': 'new\n',
      'run.sh': '#!/bin/sh\n',
      'dist/x.js': 'x',
      'y.log': 'x',
      'dist/kept.js': 'k',
    });
    run(['add', '-f', 'dist/kept.js'], { cwd: workspace });
    chmodSync(path.join(workspace, 'run.sh'), 0o755);
    symlinkSync('b/c.txt', path.join(workspace, 'link'));
    unlinkSync(path.join(workspace, 'gone.txt'));
    const harvest = await stage.harvest();
    if (!harvest) throw new Error('no change was seen');
    expect(harvest.files.map((file) => [file.path, file.status, file.additions, file.deletions])).toEqual(
      expect.arrayContaining([
        ['a.txt', 'modified', 1, 1],
        ['b/c.txt', 'added', 1, 0],
        ['dist/kept.js', 'added', 1, 0],
        ['gone.txt', 'deleted', 0, 1],
        ['link', 'added', 1, 0],
        ['run.sh', 'added', 1, 0],
      ]),
    );
    expect(harvest.files).toHaveLength(6);
    const modes = run(['ls-tree', '-r', harvest.commit], { cwd: harvest.repository });
    expect(modes).toMatch(/100755 blob \w+\trun\.sh/);
    expect(modes).toMatch(/120000 blob \w+\tlink/);
    expect(show(harvest.repository, harvest.commit, '%P')).toBe(stage.base);
    expect(run(['rev-parse', 'refs/heads/cofferdam/12-add-a-thing-x7k2'], { cwd: harvest.repository })).toBe(
      harvest.commit,
    );
    await harvest.dispose();
    expect(existsSync(stage.quarantine)).toBe(false);
  });

  test('nothing changed is null, also when the agent committed and reverted', async () => {
    stage = scene();
    expect(await stage.harvest()).toBeNull();
    write(stage.workspace, { 'x.txt': 'x' });
    commitAll(stage.workspace, 'one');
    rmSync(path.join(stage.workspace, 'x.txt'));
    commitAll(stage.workspace, 'two');
    expect(await stage.harvest()).toBeNull();
    expect(existsSync(stage.quarantine)).toBe(false);
  });

  test('the patch applies to the base and gives the same tree, binary and other encodings included', async () => {
    stage = scene({ 'latin.txt': 'x\n' });
    write(stage.workspace, {
      'latin.txt': Buffer.from('caf\xe9\n', 'latin1'),
      'image.bin': Buffer.from([0, 1, 2, 255, 254]),
      'uni [x]*.txt': 'ü\n',
      'odd "name"!.txt': Buffer.from([0xe9, 10]),
    });
    const harvest = await stage.harvest();
    expect(harvest?.patchTruncated).toBe(false);
    const file = stage.bench.path('p.patch');
    writeFileSync(file, harvest?.patch ?? '');
    const fresh = stage.bench.path('fresh');
    run(['clone', '-q', stage.mirror.path, fresh]);
    run(['apply', '--index', file], { cwd: fresh });
    expect(run(['write-tree'], { cwd: fresh })).toBe(harvest?.tree);
  });

  test('a long patch is cut at a line, its hash is of the whole', async () => {
    stage = scene();
    write(stage.workspace, { 'long.txt': 'line\n'.repeat(5000) });
    const whole = await stage.harvest();
    const cut = await stage.harvest({ harvester: { limits: { patchBytes: 1000 } } });
    expect(cut).toMatchObject({ patchTruncated: true, diffHash: whole?.diffHash });
    expect(cut?.patch.length).toBeLessThanOrEqual(1000);
    write(stage.workspace, { 'long.txt': 'line\n'.repeat(5001) });
    expect((await stage.harvest())?.diffHash).not.toBe(whole?.diffHash);
  });
});

describe('what agents do to a repository', () => {
  test('.git removed, or made anew, does not lose the work', async () => {
    stage = scene();
    write(stage.workspace, { 'kept.txt': 'kept\n' });
    rmSync(path.join(stage.workspace, '.git'), { recursive: true });
    expect((await stage.harvest())?.files.map((file) => file.path)).toEqual(['kept.txt']);
    run(['init', '-q', stage.workspace]);
    commitAll(stage.workspace, 'my own history');
    expect((await stage.harvest())?.files.map((file) => file.path)).toEqual(['kept.txt']);
  });

  test('a repository made inside becomes files', async () => {
    stage = scene();
    const inner = path.join(stage.workspace, 'app with space');
    mkdirSync(inner);
    run(['init', '-q', inner]);
    write(inner, { 'main.ts': 'x\n' });
    commitAll(inner, 'inner');
    expect((await stage.harvest())?.files.map((file) => file.path)).toEqual(['app with space/main.ts']);
  });

  test('a damaged index, locks and a detached head do not matter', async () => {
    stage = scene();
    write(stage.workspace, { 'kept.txt': 'kept\n' });
    run(['checkout', '-q', '--detach'], { cwd: stage.workspace });
    writeFileSync(path.join(stage.workspace, '.git/index'), 'broken');
    writeFileSync(path.join(stage.workspace, '.git/index.lock'), '');
    expect((await stage.harvest())?.files.map((file) => file.path)).toEqual(['kept.txt']);
  });

  test('an unresolved merge is taken as the working tree has it', async () => {
    stage = scene({ 'a.txt': 'base\n' });
    const { workspace } = stage;
    run(['checkout', '-q', '-b', 'other'], { cwd: workspace });
    write(workspace, { 'a.txt': 'other\n' });
    commitAll(workspace, 'other');
    run(['checkout', '-q', 'main'], { cwd: workspace });
    write(workspace, { 'a.txt': 'mine\n' });
    commitAll(workspace, 'mine');
    expect(() => run(['merge', '-q', 'other'], { cwd: workspace })).toThrow();
    const harvest = await stage.harvest();
    expect(harvest?.patch).toContain('+<<<<<<<');
  });

  test('a workspace that is gone is a clear error', async () => {
    stage = scene();
    rmSync(stage.workspace, { recursive: true });
    await expect(stage.harvest()).rejects.toMatchObject({ code: 'harvest' });
    expect(existsSync(stage.quarantine)).toBe(false);
  });
});

describe('the commit', () => {
  test('GIT-016 identity, date and trailers are ours, whatever the agent forged', async () => {
    stage = scene();
    write(stage.workspace, { 'x.txt': 'x' });
    run(['add', '-A'], { cwd: stage.workspace });
    run(['commit', '-q', '-m', 'x\n\nCo-authored-by: Linus <l@kernel.test>\nSigned-off-by: Linus <l@kernel.test>'], {
      cwd: stage.workspace,
      env: {
        GIT_AUTHOR_NAME: 'Linus',
        GIT_AUTHOR_EMAIL: 'l@kernel.test',
        GIT_AUTHOR_DATE: '@4102444800 +1400',
        GIT_COMMITTER_DATE: '@0 -1200',
      },
    });
    const now = new Date('2026-03-04T05:06:07.890Z');
    const harvest = await stage.harvest({ harvester: { now: () => now } });
    const { repository = '', commit = '' } = harvest ?? {};
    expect(show(repository, commit, '%an <%ae> %cn <%ce>')).toBe(
      `${IDENTITY.name} <${IDENTITY.email}> ${IDENTITY.name} <${IDENTITY.email}>`,
    );
    expect(show(repository, commit, '%aI %cI')).toBe('2026-03-04T05:06:07+00:00 2026-03-04T05:06:07+00:00');
    expect(run(['cat-file', 'commit', commit], { cwd: repository })).not.toMatch(/Linus|gpgsig|Signed-off/);
    expect(show(repository, commit, '%(trailers:key=Cofferdam-Run,valueonly)')).toBe('r0123456789ab');
  });

  test('a trailer that is not ours to write is an error of ours', async () => {
    stage = scene();
    write(stage.workspace, { 'x.txt': 'x' });
    const message = { title: 't', body: '', trailers: [['Signed-off-by', 'x <a@b.test>']] as [string, string][] };
    await expect(stage.harvest({ message })).rejects.toThrow(RangeError);
    expect(existsSync(stage.quarantine)).toBe(false);
  });
});

test('classes are on the files', async () => {
  stage = scene();
  write(stage.workspace, { '.github/workflows/ci.yml': 'on: push\n', 'infra/main.txt': 'x', 'src/b.ts': 'x' });
  const harvest = await stage.harvest({ spec: { protectedPaths: ['infra/**'] } });
  expect(Object.fromEntries(harvest?.files.map((file) => [file.path, file.protectedClass]) ?? [])).toEqual({
    '.github/workflows/ci.yml': 'workflow',
    'infra/main.txt': 'protected',
    'src/b.ts': undefined,
  });
  expect(readFileSync(path.join(harvest?.repository ?? '', 'HEAD'), 'utf8')).toContain('refs/heads/cofferdam/');
});
