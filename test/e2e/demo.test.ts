import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { promisify } from 'node:util';
import Docker from 'dockerode';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { containersOf } from './containers.ts';
import { lastLine, product, type Ended, type Product } from './product.ts';

const exec = promisify(execFile);
let p: Product;

beforeAll(async () => {
  p = await product();
});
afterAll(() => p[Symbol.asyncDispose]());

/** What a run could leave on this machine. */
async function traces(): Promise<Record<string, string[]>> {
  const docker = new Docker({ socketPath: (process.env['DOCKER_HOST'] ?? '').replace('unix://', '') });
  const networks = await docker.listNetworks();
  const volumes = await docker.listVolumes();
  const { stdout } = await exec('ps', ['-eo', 'pid=,args=']);
  const ours = /cofferdam\.ts (?:start|server|worker)|gateway-process|redis-server .*cd-demo|cd-demo-/;
  const sockets = await readFile('/proc/net/unix', 'utf8');
  return {
    networks: networks.map(({ Name }) => Name),
    volumes: volumes.Volumes.map(({ Name }) => Name),
    processes: stdout.split('\n').filter((line) => ours.test(line)),
    sockets: sockets.split('\n').flatMap((line) => /\S*cd-demo-\S*/.exec(line)?.[0] ?? []),
    directories: (await readdir(tmpdir())).filter((name) => name.startsWith('cd-demo-')),
  };
}

/** Others may work on this machine at the same time: only what came and stayed counts. */
function added(before: Record<string, string[]>, after: Record<string, string[]>): string[] {
  return Object.entries(after).flatMap(([kind, list]) =>
    list.filter((one) => before[kind]?.includes(one) !== true).map((one) => `${kind}: ${one}`),
  );
}

describe('cofferdam demo', () => {
  let ended: Ended;
  let before: Record<string, string[]>;

  beforeAll(async () => {
    before = await traces();
    ended = await p.run(['demo', '--json', '--scripted']);
  }, 900_000);

  it('ends with everything true: two runs, one pull request, audits that verify, books that agree', () => {
    expect(ended.stderr).not.toContain('✗');
    expect(ended.code).toBe(0);
    const line = lastLine(ended);
    expect(line).toMatchObject({ ok: true, runs: [{ state: 'succeeded' }, { state: 'succeeded' }] });
    expect(line['pull']).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/acme\/kettle\/pull\/2$/);
    expect(line['checkRun']).toMatch(/\/runs\/\d+$/);
    expect(Object.keys(line['versions'] as object).sort()).toEqual(['docker', 'git', 'node', 'runsc']);
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
    expect(added(before, await traces())).toEqual([]);
    const runs = lastLine(ended)['runs'] as { id: string }[];
    for (const run of runs) expect(await containersOf(run.id)).toEqual([]);
  });
});
