import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { ensureComposes, type Compose } from '../../src/local/machine/compose.ts';
import { machinePaths } from '../../src/local/machine/directory.ts';
import { dockerAt } from '../../src/local/machine/docker.ts';
import { npmRegistry } from '../../src/local/machine/host.ts';
import { prepareMachine, type Machine } from '../../src/local/machine/machine.ts';
import { runCommand, type CommandResult } from '../../src/local/machine/process.ts';
import { ensureProductImage } from '../../src/local/machine/product-image.ts';
import { TOOLBOX_AGENTS } from '../../src/local/machine/toolbox.ts';
import { incomplete } from '../audit/complete.ts';
import { composeStage, KEY, type ComposeStage } from './compose-stage.ts';
import { WAIT } from './scene.ts';

interface ComposeFile {
  services: Record<'server' | 'worker' | 'redis', Record<string, unknown> & { image: string }>;
}

let machine: Machine;
let docker: Docker;
let composes: Compose[];
let file: ComposeFile;

beforeAll(async () => {
  file = parse(await readFile('docker-compose.yml', 'utf8'), { merge: true }) as ComposeFile;
  machine = await prepareMachine({ needs: { agents: TOOLBOX_AGENTS, redis: true }, onProgress: () => undefined });
  docker = dockerAt(machine.dockerSocket);
  composes = await ensureComposes(machinePaths());
  const note = (text: string): void => {
    process.stderr.write(`${text}\n`);
  };
  await ensureProductImage({ docker, work: machinePaths().work, note, redis: file.services.redis.image });
}, 1_500_000);
afterAll(() => machine.release());

/** A command in a fresh container of the product's image, without a network. */
async function inImage(...argv: string[]): Promise<CommandResult> {
  const container = await docker.createContainer({
    Image: 'cofferdam/cofferdam:latest',
    Entrypoint: argv,
    Cmd: [],
    HostConfig: { NetworkMode: 'none' },
  });
  try {
    await container.start();
    const { StatusCode: exitCode } = (await container.wait()) as { StatusCode: number };
    const text = async (stream: 'stdout' | 'stderr'): Promise<string> =>
      plain(await container.logs({ stdout: stream === 'stdout', stderr: stream === 'stderr' }));
    return { exitCode, stdout: await text('stdout'), stderr: await text('stderr') };
  } finally {
    await container.remove({ force: true });
  }
}

/** Docker's log frames have a head of eight bytes. */
function plain(frames: Buffer): string {
  const parts: string[] = [];
  for (let at = 0; at + 8 <= frames.length;) {
    const size = frames.readUInt32BE(at + 4);
    parts.push(frames.subarray(at + 8, at + 8 + size).toString('utf8'));
    at += 8 + size;
  }
  return parts.join('');
}

describe('the image', () => {
  it('starts the product', async () => {
    const { exitCode, stdout } = await inImage('node', 'src/main/cofferdam.ts', '--help');
    expect(exitCode).toBe(0);
    expect(stdout).toContain('Usage: cofferdam');
  });

  it('keeps nothing of how archives were reached while it was built', async () => {
    const registry = await npmRegistry();
    const search = `
      for name in /tmp/build /root/.npmrc /opt/cofferdam/node_modules/.package-lock.json; do test -e "$name" && echo "$name"; done
      grep -rlF "$0" /opt/cofferdam/node_modules --include=.package-lock.json --include=.npmrc
      find /opt/cofferdam/toolbox -name .package-lock.json -o -name .npmrc | xargs -r grep -lF "$0"
      grep -rl "$0" /etc /usr/local/etc 2>/dev/null
      find /etc/apt/apt.conf.d -name '*build*'
      true`;
    const { exitCode, stdout } = await inImage('sh', '-c', search, registry.host);
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: '' });
    // The public image's certificates come from Debian's package; the host's own are not among them.
    const info = await docker.getImage('cofferdam/cofferdam:latest').inspect();
    expect(info.Config.Env.filter((line) => /proxy|registry|_ca/i.test(line))).toEqual([]);
    const history = (await docker.getImage('cofferdam/cofferdam:latest').history()) as { CreatedBy: string }[];
    expect(history.filter(({ CreatedBy }) => CreatedBy.includes(registry.host))).toEqual([]);
  });
});

describe('docker-compose.yml', () => {
  it('is valid for docker-compose 1.29 and Compose v2, and asks for what is missing', async () => {
    const env = { PATH: process.env['PATH'], WEBHOOK_SECRET: 's', APP_ID: '1', PRIVATE_KEY: 'k' };
    for (const { program, version } of composes) {
      const valid = await runCommand([program, 'config', '-q'], { env: { ...env, COFFERDAM_POLICY: '/policy.yml' } });
      expect({ version, ...valid }).toEqual({ version, exitCode: 0, stdout: '', stderr: '' });
      const incomplete = await runCommand([program, 'config', '-q'], { env });
      expect(incomplete.exitCode).not.toBe(0);
      expect(incomplete.stderr).toContain('set COFFERDAM_POLICY in .env');
    }
    expect(composes.map(({ version }) => version.split('.')[0])).toContain('2');
  });

  it('gives Docker and the App’s key to the worker alone, and publishes the server only', () => {
    const text = (name: keyof ComposeFile['services']): string => JSON.stringify(file.services[name]);
    expect(text('worker')).toContain('docker.sock');
    expect(text('worker')).not.toContain('WEBHOOK_SECRET');
    for (const name of ['server', 'redis'] as const) expect(text(name)).not.toMatch(/docker\.sock|PRIVATE_KEY|API_KEY/);
    expect(
      Object.entries(file.services)
        .filter(([, service]) => 'ports' in service)
        .map(([name]) => name),
    ).toEqual(['server']);
    expect(file.services.redis['network_mode']).toBe('none');
  });
});

/** Everything of a compose project that Docker still knows. */
async function leftOf(project: string): Promise<string[]> {
  const filters = { label: [`com.docker.compose.project=${project}`] };
  const [containers, networks, volumes] = await Promise.all([
    docker.listContainers({ all: true, filters }),
    docker.listNetworks({ filters }),
    docker.listVolumes({ filters }),
  ]);
  return [
    ...containers.map(({ Names }) => Names.join()),
    ...networks.map(({ Name }) => Name),
    ...volumes.Volumes.map(({ Name }) => Name),
  ];
}

async function until<T>(what: string, ms: number, look: () => Promise<T | undefined>): Promise<T> {
  const end = Date.now() + ms;
  while (Date.now() < end) {
    const found = await look();
    if (found !== undefined) return found;
    await sleep(500);
  }
  throw new Error(`${what}: not within ${ms} ms`);
}

describe('the compose project', () => {
  let stage: ComposeStage;
  const logs = async (): Promise<string> => (await stage.compose('logs', '--no-color')).stdout;

  beforeAll(async () => {
    const program = composes.at(0)?.program ?? 'docker-compose';
    const dockerData = join(machinePaths().engine, 'data');
    stage = await composeStage({ program, dockerSocket: machine.dockerSocket, dockerData });
    const up = await stage.compose('up', '--no-build', '-d');
    expect({ exitCode: up.exitCode, stderr: up.exitCode === 0 ? '' : up.stderr }).toEqual({ exitCode: 0, stderr: '' });
  });
  afterAll(async () => {
    await stage[Symbol.asyncDispose]();
    expect(await leftOf(stage.project)).toEqual([]);
  });

  it('comes up: the server is healthy, so it reaches Redis', async () => {
    const healthy = until('healthz', 120_000, async () => {
      const answer = await fetch(`${stage.url}/healthz`).catch(() => undefined);
      return answer?.ok === true ? true : undefined;
    });
    await expect(healthy.catch(async (error: unknown) => `${String(error)}\n${await logs()}`)).resolves.toBe(true);
  });

  it('has zones of trust: the server has no Docker, no key, no capability and no root', async () => {
    const look = (service: string, script: string): Promise<CommandResult> =>
      stage.compose('exec', '-T', service, 'sh', '-c', script);
    const server = await look('server', 'id -u; ls /var/run/docker.sock; env; grep CapEff /proc/self/status; touch /x');
    expect(server.stdout).toMatch(/^1000\n/);
    expect(server.stdout).toContain('CapEff:\t0000000000000000');
    expect(server.stdout).not.toMatch(/APP_ID|PRIVATE_KEY|API_KEY|DOCKER_/);
    expect(server.stderr).toContain('docker.sock');
    expect(server.stderr).toContain('Read-only file system');
    const worker = await look(
      'worker',
      'env; test -S /var/run/docker.sock && echo docker; tr "\\0" " " < /proc/1/cmdline',
    );
    expect(worker.stdout).toContain('\ndocker\n');
    expect(worker.stdout).not.toContain('WEBHOOK_SECRET');
    // Process 1 is the host's: sandboxes can be seen.
    expect(worker.stdout).not.toContain('cofferdam.ts');
    const redis = await look(
      'redis',
      'id -u; tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d " "; wc -l < /proc/net/tcp',
    );
    expect(redis.stdout).toBe('999\nlo\n1\n');
  });

  it('takes a label to a pull request: a run in gVisor, started by a worker in a container', async () => {
    const { shop, standIn } = stage;
    const issue = await shop.openIssue({ title: 'add() subtracts', body: 'It should add.', author: 'alice' });
    await shop.addLabel(issue.number, 'agent', 'alice');
    const pull = await standIn
      .waitFor(() => shop.pulls().at(0), { ...WAIT, what: 'the pull request' })
      .catch(async (error: unknown) => {
        const said = shop.comments(issue.number).map(({ body }) => body);
        throw new Error([String(error), ...said, await logs()].join('\n'));
      });
    const check = await standIn.waitFor(
      () => shop.checkRuns(pull.pull.headSha).find(({ status }) => status === 'completed'),
      { ...WAIT, what: 'the check run' },
    );
    expect(check.conclusion).toBe('success');
    expect(await shop.diff(pull.number)).toContain('+export const add = (a, b) => a + b;');
    expect(standIn.violations).toEqual([]);
    const found = await stage.compose(
      'exec',
      '-T',
      'worker',
      'sh',
      '-c',
      `ls ${stage.dataDir}/audit; ls ${stage.dataDir}/runs`,
    );
    const run = /Cofferdam-Run: (\S+)/.exec((await shop.log(pull.pull.headSha))[0]?.message ?? '')?.[1] ?? '';
    expect(found.stdout).toContain(`${run}.jsonl`);
    const audit = await readFile(join(stage.dataDir, 'audit', `${run}.jsonl`), 'utf8');
    expect(audit).toContain('"name":"host.disk","ok":true,"observed":"watched"');
    expect(audit).toContain('"name":"host.processes","ok":true,"observed":"visible"');
    expect(audit).not.toContain(KEY);
    const verified = await stage.compose('exec', '-T', 'worker', 'node', 'src/main/cofferdam.ts', 'verify', run);
    expect(verified).toMatchObject({ exitCode: 0 });
    // The operator's link opens this run's page on a server that sees neither the worker's disk nor its key.
    const opened = await stage.compose('exec', '-T', 'server', 'node', 'src/main/cofferdam.ts', 'open', run);
    const link = new URL(opened.stdout.trim());
    const accepted = await fetch(`${stage.url}${link.pathname}${link.search}`, { redirect: 'manual' });
    const cookie = accepted.headers.getSetCookie()[0]?.split(';')[0] ?? '';
    expect((await fetch(`${stage.url}/runs/${run}`)).status).toBe(401);
    expect(accepted.status).toBe(303);
    await until('the sealed record on the page', 120_000, async () => {
      const page = await fetch(`${stage.url}/runs/${run}`, { headers: { cookie } });
      return /Succeeded[^]*each follows from the one before, sealed/.test(await page.text()) ? page.ok : undefined;
    });
    // Nor the key itself: its public half came from the worker.
    const checked = await fetch(`${stage.url}/runs/${run}/check`, { headers: { cookie } });
    expect(await checked.text()).toContain('its signature is valid');
    expect(await incomplete(stage.dataDir, stage.provider.calls.length)).toEqual([]);
  });
});
