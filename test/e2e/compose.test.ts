import { readFile } from 'node:fs/promises';
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
  const note = (text: string): void => void process.stderr.write(`${text}\n`);
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
