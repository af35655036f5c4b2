import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import Docker from 'dockerode';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { commandLine, identify, isAlive, type ProcessIdentity } from '../../src/local/machine/identity.ts';
import { containersOf } from './containers.ts';
import { lastLine, product, type Ended, type Product } from './product.ts';

const exec = promisify(execFile);
let p: Product;

beforeAll(async () => {
  p = await product();
});
afterAll(() => p[Symbol.asyncDispose]());

/** What a run could leave on this machine, but for processes. */
async function traces(): Promise<Record<string, string[]>> {
  const docker = new Docker({ socketPath: (process.env['DOCKER_HOST'] ?? '').replace('unix://', '') });
  // Compose projects of other tests come and go at the same time, and no run makes one.
  const filters = { label: ['com.docker.compose.project'] };
  const composed = await docker.listContainers({ all: true, filters });
  const foreign = new Set(composed.flatMap(({ Mounts }) => Mounts.map(({ Name }) => Name)));
  const isOurs = ({ Labels, Name }: { Labels?: Record<string, string> | null | undefined; Name: string }): boolean =>
    Labels?.['com.docker.compose.project'] === undefined && !foreign.has(Name);
  const networks = await docker.listNetworks();
  const volumes = await docker.listVolumes();
  const sockets = await readFile('/proc/net/unix', 'utf8');
  return {
    networks: networks.filter(isOurs).map(({ Name }) => Name),
    volumes: volumes.Volumes.filter(isOurs).map(({ Name }) => Name),
    sockets: sockets.split('\n').flatMap((line) => /\S*cd-demo-\S*/.exec(line)?.[0] ?? []),
    directories: (await readdir(tmpdir())).filter((name) => name.startsWith('cd-demo-')),
  };
}

/** Every process that descends from this one while the work goes on: no test but this one has a part in them. */
async function familyDuring(work: () => Promise<void>): Promise<ProcessIdentity[]> {
  const seen = new Map<number, ProcessIdentity>();
  const over = new AbortController();
  const look = async (): Promise<void> => {
    const { stdout } = await exec('ps', ['-eo', 'pid=,ppid=']);
    const parents = new Map(
      stdout
        .trim()
        .split('\n')
        .map((line) => line.trim().split(/\s+/).map(Number)) as Pair[],
    );
    const isOurs = (pid: number | undefined): boolean =>
      pid !== undefined && (pid === process.pid || seen.has(pid) || isOurs(parents.get(pid)));
    for (const pid of parents.keys()) {
      const known = pid === process.pid || seen.has(pid) ? undefined : isOurs(pid) && (await identify(pid));
      if (known) seen.set(pid, known);
    }
  };
  const looking = (async () => {
    while (!over.signal.aborted) {
      await look();
      await sleep(200);
    }
  })();
  try {
    await work();
  } finally {
    over.abort();
    await looking;
  }
  return [...seen.values()];
}

type Pair = [pid: number, parent: number];

/** Others may work on this machine at the same time: only what came and stayed counts. */
function added(before: Record<string, string[]>, after: Record<string, string[]>): string[] {
  return Object.entries(after).flatMap(([kind, list]) =>
    list.filter((one) => before[kind]?.includes(one) !== true).map((one) => `${kind}: ${one}`),
  );
}

describe('cofferdam demo', () => {
  let ended: Ended;
  let before: Record<string, string[]>;
  let family: ProcessIdentity[];

  beforeAll(async () => {
    before = await traces();
    family = await familyDuring(async () => {
      ended = await p.run(['demo', '--json', '--scripted']);
    });
  }, 900_000);

  it('ends with everything true: two runs, one pull request, audits that verify, books that agree', () => {
    expect(ended.stderr).not.toContain('✗');
    expect(ended.code).toBe(0);
    const line = lastLine(ended);
    expect(line).toMatchObject({ ok: true, runs: [{ state: 'succeeded' }, { state: 'succeeded' }] });
    expect(line['pull']).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/acme\/kettle\/pull\/2$/);
    expect(line['checkRun']).toMatch(/\/runs\/\d+$/);
    expect(Object.keys(line['versions'] as object).sort()).toEqual(['cofferdam', 'docker', 'git', 'node', 'runsc']);
    for (const run of line['runs'] as Record<string, unknown>[]) {
      expect(run['auditVerified']).toBe(true);
      expect(run['costUsd']).toBeGreaterThan(0);
      expect(run['seconds']).toBeGreaterThan(0);
    }
  });

  it('shows the run live: steps, what the agent does, what was refused, that the model is scripted', () => {
    for (const shown of [
      'SCRIPTED',
      'prove the isolation',
      'npm test',
      'telemetry.example.com',
      'spent   $',
      'Draft pull request #2',
    ])
      expect(ended.stderr).toContain(shown);
    expect(ended.stderr).not.toContain('NaN');
    // The self-test's own attempts are not the task's.
    expect(ended.stderr).not.toContain('169.254.169.254');
  });

  it('leaves nothing: no container, network, volume, process, socket or directory', async () => {
    await expect.poll(async () => added(before, await traces())).toEqual([]);
    // Server, worker, Redis, collector, four gateways and the demo itself, at least.
    expect(family.length).toBeGreaterThanOrEqual(9);
    const alive = await Promise.all(
      family.map(async (one) => ((await isAlive(one)) ? await commandLine(one.pid) : [])),
    );
    expect(alive.filter((argv) => argv.length > 0)).toEqual([]);
    const runs = lastLine(ended)['runs'] as { id: string }[];
    for (const run of runs) expect(await containersOf(run.id)).toEqual([]);
  });
});
