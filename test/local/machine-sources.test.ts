import { describe, expect, it } from 'vitest';
import { baseOf, debootstrapCommand } from '../../src/local/machine/base-image.ts';
import { installCommands } from '../../src/local/machine/packages.ts';
import { isRecentRunsc, parseRunscVersion } from '../../src/local/machine/runsc.ts';
import { hostRelease, newerReleases, parseTargets, sourceLines } from '../../src/local/machine/sources.ts';
import type { DebianArchive } from '../../src/local/machine/sources.ts';
import { withoutPreload } from '../../src/local/machine/toolbox.ts';
import { parseLdd } from '../../src/local/machine/toolbox-inputs.ts';

const MAIN: DebianArchive = { uri: 'http://mirror.test/debian/', label: 'Debian', codename: 'bookworm' };
const UPDATES: DebianArchive = { ...MAIN, codename: 'bookworm-updates' };
const SECURITY: DebianArchive = {
  uri: 'http://mirror.test/security/',
  label: 'Debian-Security',
  codename: 'bookworm-security',
};
const HOST = [UPDATES, MAIN, SECURITY];

function target(fields: Record<string, string>): string {
  return Object.entries(fields)
    .map(([name, value]) => `${name}: ${value}`)
    .join('\n');
}

const bookworm = {
  MetaKey: 'main/binary-amd64/Packages',
  Codename: 'bookworm',
  Label: 'Debian',
  Origin: 'Debian',
  Component: 'main',
  'Repo-URI': 'http://mirror.test/debian/',
};

describe('the version of runsc', () => {
  it.each([
    ['runsc version 0.0~20240729.0\nspec: 1.1.0-rc.1\n', '20240729.0', true],
    ['runsc version release-20250505.0\nspec: 1.1.0-rc.1\n', '20250505.0', true],
    ['runsc version 0.0~20221219.0\nspec: 1.0.2\n', '20221219.0', false],
    ['runsc version release-20240401.0\n', '20240401.0', true],
    ['runsc version release-20240325.0\n', '20240325.0', false],
  ])('%j is %s, recent: %s', (text, version, recent) => {
    expect(parseRunscVersion(text)).toBe(version);
    expect(isRecentRunsc(version)).toBe(recent);
  });

  it('is unknown for a build without a date', () => {
    expect(parseRunscVersion('runsc version VERSION_MISSING\n')).toBeUndefined();
  });
});

describe("apt's own targets", () => {
  it('give each Debian archive once, and nothing of anybody else', () => {
    const text = [
      target(bookworm),
      target({ ...bookworm, MetaKey: 'main/binary-i386/Packages' }),
      target({ ...bookworm, Component: 'contrib' }),
      target({ ...bookworm, Origin: 'Somebody', 'Repo-URI': 'http://somebody.test/' }),
      target({ ...bookworm, Label: 'Debian Backports', Codename: 'bookworm-backports' }),
      target({ ...bookworm, Label: 'Debian-Security', Codename: 'bookworm-security', 'Signed-By': '/k.gpg' }),
    ].join('\n\n');
    expect(parseTargets(text)).toEqual([
      { uri: MAIN.uri, label: 'Debian', codename: 'bookworm', signedBy: undefined, entry: undefined },
      { uri: MAIN.uri, label: 'Debian-Security', codename: 'bookworm-security', signedBy: '/k.gpg', entry: undefined },
    ]);
  });

  it('tell the release that the host follows, and where newer packages are', () => {
    expect(hostRelease(HOST)).toBe('bookworm');
    expect(newerReleases('bookworm')).toEqual(['bookworm-backports', 'trixie', 'forky']);
    expect(newerReleases('sid')).toEqual(['sid-backports']);
    expect(() => hostRelease([SECURITY])).toThrow(/no main Debian archive/);
  });

  it('become sources for another release on the same mirror, with its keyring', () => {
    expect(sourceLines([{ ...MAIN, signedBy: '/usr/share/keyrings/k.gpg' }, SECURITY], 'trixie', true)).toEqual([
      'deb [signed-by=/usr/share/keyrings/k.gpg] http://mirror.test/debian/ trixie main',
      'deb [signed-by=/usr/share/keyrings/k.gpg] http://mirror.test/debian/ trixie-updates main',
      'deb http://mirror.test/security/ trixie-security main',
    ]);
    expect(sourceLines(HOST, 'trixie', false)).toEqual(['deb http://mirror.test/debian/ trixie main']);
  });
});

describe('installing packages', () => {
  it('touches no service where there is no systemd', () => {
    const commands = installCommands(['docker', 'redis'], false);
    expect(commands).toHaveLength(1);
    expect(commands[0]?.slice(-3)).toEqual(['install', 'docker.io', 'redis-server']);
  });

  it('keeps the services of the packages from starting under systemd, now and at the next boot', () => {
    const [mask, install, unmask, disable] = installCommands(['git', 'redis'], true);
    expect(mask).toEqual(['systemctl', '--runtime', 'mask', 'redis-server.service']);
    expect(install?.slice(-3)).toEqual(['install', 'git', 'redis-server']);
    expect(unmask).toEqual(['systemctl', '--runtime', 'unmask', 'redis-server.service']);
    expect(disable).toEqual(['systemctl', 'disable', 'redis-server.service']);
    expect(installCommands(['git'], true)).toHaveLength(1);
  });
});

describe('the base image', () => {
  it('is the one that the Dockerfile names', () => {
    expect(baseOf('# comment\nFROM debian:bookworm-slim AS system\nRUN true\nFROM scratch\n')).toEqual({
      ref: 'debian:bookworm-slim',
      repo: 'debian',
      tag: 'bookworm-slim',
      release: 'bookworm',
    });
    expect(() => baseOf('RUN true\n')).toThrow(/no `FROM image:tag` line/);
    expect(() => baseOf('FROM debian\n')).toThrow(/no `FROM image:tag` line/);
  });

  it("is made from the host's archives, with its proxy and its mirror's key", () => {
    const archives = [{ ...MAIN, signedBy: '/etc/keys/corp.gpg' }, SECURITY];
    const proxies = ['Acquire::http::Proxy "http://proxy.test:3128";'];
    const command = debootstrapCommand({ archives, release: 'bookworm', tar: '/t/base.tar', proxies });
    expect(command).toContain('--aptopt=Acquire::http::Proxy "http://proxy.test:3128";');
    expect(
      command.filter((argument) => argument.includes('/etc/keys/corp.gpg') && argument.startsWith('--')),
    ).toHaveLength(1);
    expect(command.slice(-5)).toEqual([
      'bookworm',
      '/t/base.tar',
      'deb [signed-by=/etc/keys/corp.gpg] http://mirror.test/debian/ bookworm main',
      'deb [signed-by=/etc/keys/corp.gpg] http://mirror.test/debian/ bookworm-updates main',
      'deb http://mirror.test/security/ bookworm-security main',
    ]);
  });
});

describe('the toolbox', () => {
  it('finds libraries and loader in what ldd says', () => {
    const text = [
      '\tlinux-vdso.so.1 (0x00007f044efb8000)',
      '\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f044eec2000)',
      '\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f044ea1e000)',
      '\t/lib64/ld-linux-x86-64.so.2 (0x00007f044efba000)',
    ].join('\n');
    expect(parseLdd(text)).toEqual({
      loader: '/lib64/ld-linux-x86-64.so.2',
      libraries: [
        { name: 'libm.so.6', file: '/lib/x86_64-linux-gnu/libm.so.6' },
        { name: 'libc.so.6', file: '/lib/x86_64-linux-gnu/libc.so.6' },
      ],
    });
    expect(() => parseLdd('\tstatically linked\n')).toThrow(/no dynamic loader/);
  });

  it('changes the name of the preload file and nothing else, or says that it cannot', () => {
    const loader = Buffer.from('ELF\0/etc/ld.so.preload\0/etc/ld.so.cache\0');
    expect(withoutPreload(loader).toString()).toBe('ELF\0/opt/cofferdam/nil\0/etc/ld.so.cache\0');
    expect(() => withoutPreload(Buffer.from('musl'))).toThrow(/does not hold/);
    expect(() => withoutPreload(Buffer.concat([loader, loader]))).toThrow(/does not hold/);
  });
});
