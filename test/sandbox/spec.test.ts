import { describe, expect, it } from 'vitest';
import { SandboxSettings } from '../../src/domain/policy.ts';
import { commandEnvironment } from '../../src/sandbox/environment.ts';
import { containerSpec, pidsLimit, portalCommand } from '../../src/sandbox/spec.ts';
import type { SpecInput } from '../../src/sandbox/spec.ts';

const image = { id: `sha256:${'a'.repeat(64)}`, env: [], volumes: [] };

function input(change: Partial<SpecInput> = {}): SpecInput {
  return {
    installation: 'inst',
    runId: 'r0123456789ab',
    role: 'agent',
    settings: SandboxSettings.parse({ memory: '1GiB', disk: '2GiB', cpus: 4 }),
    socketDir: '/var/lib/cofferdam/runs/r0123456789ab',
    toolboxDir: '/var/lib/cofferdam/toolbox',
    image,
    hostCpus: 2,
    command: portalCommand({ deadline: 1000, ports: [443, 80, 443] }),
    ...change,
  };
}

describe('containerSpec', () => {
  it('gives no way out and no right', () => {
    const { HostConfig: host, User } = containerSpec(input());
    expect(host).toMatchObject({
      Runtime: 'cofferdam',
      NetworkMode: 'none',
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges:true'],
      Privileged: false,
      Init: false,
      LogConfig: { Type: 'none' },
    });
    expect(User).toBe('0:0');
    expect(Object.keys(host)).not.toContain('CapAdd');
    expect(Object.keys(host)).not.toContain('Binds');
  });

  it('mounts the socket directory and the toolbox, read-only, and nothing else', () => {
    const { Mounts: mounts } = containerSpec(input()).HostConfig;
    expect(mounts.map((m) => [m.Source, m.Target, m.ReadOnly])).toEqual([
      ['/var/lib/cofferdam/runs/r0123456789ab', '/run/cofferdam', true],
      ['/var/lib/cofferdam/toolbox', '/opt/cofferdam', true],
    ]);
    expect(containerSpec(input({ socketDir: undefined })).HostConfig.Mounts).toHaveLength(1);
  });

  it.each(['/', 'relative', ''])('refuses to mount %j', (toolboxDir) => {
    expect(() => containerSpec(input({ toolboxDir }))).toThrow(expect.objectContaining({ code: 'config' }));
  });

  it('ESC-013 starts the toolbox, not the image: entry point, user, health check, working directory, environment', () => {
    const hostile = { ...image, env: ['LD_PRELOAD=/evil.so', 'NODE_OPTIONS=--require=/evil', 'PATH=/evil', 'EMPTY'] };
    const spec = containerSpec(input({ image: hostile }));
    expect([...spec.Entrypoint, ...spec.Cmd].join(' ')).toMatch(
      /^\/opt\/cofferdam\/bin\/init -- \/opt\/cofferdam\/bin\/node .*\/opt\/cofferdam\/portal\/main\.ts --ports=80,443 /,
    );
    expect(spec.Healthcheck).toEqual({ Test: ['NONE'] });
    expect(spec.WorkingDir).toBe('/');
    // A bare name removes the image's variable.
    expect(spec.Env).toEqual(['PATH=/opt/cofferdam/bin', 'LANG=C.UTF-8', 'LD_PRELOAD', 'NODE_OPTIONS', 'EMPTY']);
  });

  it('ESC-013 refuses volumes of the image', () => {
    expect(() => containerSpec(input({ image: { ...image, volumes: ['/data'] } }))).toThrow(
      expect.objectContaining({ code: 'sandbox', message: expect.stringContaining('/data') as string }),
    );
  });

  it('counts exact disk as memory, and shares it out without a byte more', () => {
    const settings = SandboxSettings.parse({ memory: '1GiB', disk: '2GiB', diskMode: 'tmpfs' });
    const { HostConfig: host } = containerSpec(input({ settings }));
    expect([host.Memory, host.MemorySwap, host.ReadonlyRootfs]).toEqual([3 * 2 ** 30, 3 * 2 ** 30, true]);
    const sizes = Object.values(host.Tmpfs).map((options) => Number(/size=(\d+)/.exec(options)?.[1]));
    expect(sizes.reduce((a, b) => a + b)).toBe(2 * 2 ** 30);
    expect(Object.keys(host.Tmpfs)).toEqual(['/workspace', '/home/agent', '/tmp', '/var/tmp']);
  });

  it('keeps the root file system writable and only /tmp in memory when the disk is watched', () => {
    const { HostConfig: host } = containerSpec(input());
    expect([host.Memory, host.ReadonlyRootfs, Object.keys(host.Tmpfs)]).toEqual([2 ** 30, false, ['/tmp']]);
    expect(host.Tmpfs['/tmp']).toContain('exec');
  });

  it('holds processes inside, with the host wall far above', () => {
    const settings = SandboxSettings.parse({ processes: 100 });
    const { HostConfig: host } = containerSpec(input({ settings }));
    expect(host.Ulimits).toContainEqual({ Name: 'nproc', Soft: 100, Hard: 100 });
    expect(host.PidsLimit).toBe(pidsLimit(100));
    expect(pidsLimit(100)).toBeGreaterThanOrEqual(2 * 100 + 512);
  });

  it('asks for no more processors than the host has', () => {
    expect(containerSpec(input()).HostConfig.NanoCpus).toBe(2e9);
    expect(containerSpec(input({ hostCpus: 64 })).HostConfig.NanoCpus).toBe(4e9);
  });

  it('labels the container with installation, run and role', () => {
    expect(containerSpec(input()).Labels).toEqual({
      'cofferdam.installation': 'inst',
      'cofferdam.run': 'r0123456789ab',
      'cofferdam.role': 'agent',
    });
  });
});

describe('commandEnvironment', () => {
  const base = { user: 'agent', imageEnv: [], ca: true, gitBase: 'https://github.com', extra: {} } as const;
  const get = (options: Parameters<typeof commandEnvironment>[0]) =>
    new Map(commandEnvironment(options).map((line) => [line.split('=')[0] ?? '', line.slice(line.indexOf('=') + 1)]));

  it('takes nothing from this process', () => {
    process.env['COFFERDAM_TEST_CANARY'] = 'canary';
    const env = get(base);
    delete process.env['COFFERDAM_TEST_CANARY'];
    expect([...env.values()]).not.toContain('canary');
    expect(env.get('HOME')).toBe('/home/agent');
    expect(env.get('HOSTNAME')).toBe('cofferdam');
  });

  it('takes from the image what tools need, and nothing that loads code or names others', () => {
    const env = get({
      ...base,
      imageEnv: [
        'PATH=/usr/local/go/bin:/bin',
        'GOPATH=/go',
        'LD_PRELOAD=/x',
        'https_proxy=http://x',
        'GIT_SSH=/x',
        '=x',
      ],
    });
    expect(env.get('PATH')).toBe('/usr/local/go/bin:/bin');
    expect(env.get('GOPATH')).toBe('/go');
    for (const name of ['LD_PRELOAD', 'https_proxy', 'GIT_SSH', '']) expect(env.has(name)).toBe(false);
  });

  it('names the run’s certificates only when there are some', () => {
    expect(get(base).get('SSL_CERT_FILE')).toBe('/run/cofferdam/ca.pem');
    expect(get({ ...base, ca: false }).has('SSL_CERT_FILE')).toBe(false);
  });

  it('rewrites every spelling of the git remote', () => {
    const env = get(base);
    const values = [...env].filter(([name]) => name.startsWith('GIT_CONFIG_VALUE_')).map(([, value]) => value);
    expect(values).toEqual(expect.arrayContaining(['https://github.com/', 'git@github.com:', 'ssh://git@github.com/']));
    expect(env.get('GIT_CONFIG_COUNT')).toBe(String(values.length));
  });

  it('lets the caller’s variables win', () => {
    expect(get({ ...base, extra: { HOME: '/x', A: '1=2' } }).get('HOME')).toBe('/x');
    expect(get({ ...base, extra: { A: '1=2' } }).get('A')).toBe('1=2');
  });
});
