import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { Digest, RunId } from '../../src/domain/ids.ts';
import type { RunResult, RunSpec } from '../../src/domain/run.ts';
import type { HeldFacts } from '../../src/domain/held.ts';
import { createHeldResults } from '../../src/harvest/held.ts';
import type { Harvest } from '../../src/run/ports.ts';
import { run, write } from '../git/fixture.ts';
import { scene, type Scene } from './fixture.ts';

let stage: Scene;
afterEach(() => {
  stage.bench.remove();
});

const runIdOf = (n: number): RunId => RunId.parse(`r${String(n).padStart(12, '0')}`);

function partsOf(harvest: Harvest, runId: RunId): { spec: RunSpec; result: RunResult; held: HeldFacts } {
  const spec = { runId, branch: 'cofferdam/1-x', base: stage.base, baseRef: 'main', title: 't' } as unknown as RunSpec;
  const result = { runId, state: 'succeeded', files: harvest.files } as unknown as RunResult;
  const held = { diffHash: harvest.diffHash, rule: 'r', files: ['a'], ci: [], excerpt: 'x', excerptCut: false };
  return { spec, result, held };
}

async function harvested(content = 'x'): Promise<Harvest> {
  write(stage.workspace, { 'src/a.ts': content });
  const harvest = await stage.harvest();
  if (harvest === null) throw new Error('nothing changed');
  return harvest;
}

describe('held results', () => {
  test('survive the quarantine and the process, and say what came later', async () => {
    stage = scene();
    const dataDir = stage.bench.path('data');
    const harvest = await harvested();
    const runId = runIdOf(1);
    await createHeldResults({ dataDir }).keep({ ...partsOf(harvest, runId), harvest });
    await harvest.dispose();
    const seal = { count: 3, head: Digest.parse(`sha256:${'1'.repeat(64)}`) };
    await createHeldResults({ dataDir }).note(runId, { seal });
    const kept = await createHeldResults({ dataDir }).load(runId);
    expect(kept).toMatchObject({ seal, held: { diffHash: harvest.diffHash }, result: { state: 'succeeded' } });
    expect(run(['show', `${kept?.harvest.commit}:src/a.ts`], { cwd: kept?.harvest.repository ?? '' })).toBe('x');
    expect(run(['fsck', '--connectivity-only'], { cwd: kept?.harvest.repository ?? '' })).toBe('');
    expect(readFileSync(path.join(dataDir, 'held', runId, 'diff.patch'), 'utf8')).toContain('+x');
  });

  test('keep only the note of what was published', async () => {
    stage = scene();
    const store = createHeldResults({ dataDir: stage.bench.path('data') });
    const harvest = await harvested();
    const runId = runIdOf(1);
    await store.keep({ ...partsOf(harvest, runId), harvest });
    const published = { branch: 'cofferdam/1-x', head: harvest.commit, pull: { number: 2, url: 'https://x.test/2' } };
    await store.note(runId, { published });
    expect(await store.load(runId)).toMatchObject({ published });
    expect(existsSync(stage.bench.path('data/held', runId, 'repository.git'))).toBe(false);
  });

  test('are bounded in number and age, and what a crash left half is removed', async () => {
    stage = scene();
    let now = Date.parse('2026-01-01T00:00:00Z');
    const dataDir = stage.bench.path('data');
    const store = createHeldResults({ dataDir, maxResults: 2, maxAgeMs: 1_000, now: () => now });
    const keep = async (n: number): Promise<void> => {
      const harvest = await harvested(`${n}`);
      await store.keep({ ...partsOf(harvest, runIdOf(n)), harvest });
      now += 100;
    };
    await keep(1);
    mkdirSync(path.join(dataDir, 'held', runIdOf(7)));
    writeFileSync(path.join(dataDir, 'held', runIdOf(7), 'held.json'), '{');
    writeFileSync(path.join(dataDir, 'held', 'somebody.txt'), '');
    await keep(2);
    await keep(3);
    expect(readdirSync(path.join(dataDir, 'held')).sort()).toEqual([runIdOf(2), runIdOf(3), 'somebody.txt']);
    expect(await store.load(runIdOf(1))).toBeNull();
    now += 2_000;
    await keep(4);
    expect(readdirSync(path.join(dataDir, 'held')).sort()).toEqual([runIdOf(4), 'somebody.txt']);
  });

  test('that cannot be kept are an error, never a push', async () => {
    stage = scene();
    writeFileSync(stage.bench.path('data/held'), 'a file in the way');
    const harvest = await harvested();
    const keeping = createHeldResults({ dataDir: stage.bench.path('data') }).keep({
      ...partsOf(harvest, runIdOf(1)),
      harvest,
    });
    await expect(keeping).rejects.toMatchObject({ code: 'harvest' });
  });
});

describe('the look at the workflows', () => {
  test('takes those of the base and of the default branch, and nothing for harmless that it cannot read', async () => {
    stage = scene({
      'src/a.ts': '1\n',
      '.github/workflows/ci.yml': 'on: push\npermissions: {}\njobs: {}\n',
      '.github/workflows/deep/er.yml': 'on: push\npermissions: write-all\njobs: {}\n',
      '.github/workflows/notes.txt': 'secrets.X',
    });
    expect((await harvested('2')).ci).toEqual({ exposure: 'none', reasons: [] });
    // The default branch goes on while the run works on its base.
    const origin = stage.bench.path('origin');
    write(origin, {
      '.github/workflows/deploy.yml': 'on: pull_request_target\npermissions: write-all\njobs: { a: {} }\n',
    });
    run(['add', '-A'], { cwd: origin });
    run(['commit', '-q', '-m', 'deploy'], { cwd: origin });
    run(['fetch', '-q', origin, '+main:main'], { cwd: stage.mirror.path });
    expect((await harvested('3')).ci).toEqual({
      exposure: 'secrets',
      reasons: [{ file: '.github/workflows/deploy.yml', risk: 'write_permission' }],
    });
  });

  test('a link or a huge file in the place of a workflow counts as dangerous', async () => {
    stage = scene({ 'src/a.ts': '1\n', '.github/workflows/big.yml': `# ${'x'.repeat(300_000)}\non: push\n` });
    expect((await harvested('2')).ci).toEqual({
      exposure: 'unknown',
      reasons: [{ file: '.github/workflows/big.yml', risk: 'unreadable' }],
    });
  });
});
