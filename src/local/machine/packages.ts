import { access, constants } from 'node:fs/promises';
import path from 'node:path';
import { CofferdamError } from '../../domain/errors.ts';
import { asRoot, mustRun, requireRoot, runCommand } from './process.ts';

/** A program that a step needs, the Debian package that brings it, and the service that the package would start. */
interface Need {
  program: string;
  packages: readonly string[];
  units: readonly string[];
}

const NEEDS = {
  docker: {
    program: 'dockerd',
    packages: ['docker.io'],
    units: ['docker.service', 'docker.socket', 'containerd.service'],
  },
  redis: { program: 'redis-server', packages: ['redis-server'], units: ['redis-server.service'] },
  git: { program: 'git', packages: ['git'], units: [] },
  compose: { program: 'docker-compose', packages: ['docker-compose'], units: [] },
  browser: {
    program: 'chromium-headless-shell',
    packages: ['chromium-headless-shell', 'fonts-dejavu-core'],
    units: [],
  },
  mmdebstrap: { program: 'mmdebstrap', packages: ['mmdebstrap'], units: [] },
} as const satisfies Record<string, Need>;

export type ProgramNeed = keyof typeof NEEDS;

/** Absolute path of a program, searched where root's programs are too; undefined when it is not installed. */
export async function findProgram(name: string): Promise<string | undefined> {
  const directories = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/usr/bin', '/sbin', '/bin'];
  for (const directory of directories.filter((entry) => path.isAbsolute(entry))) {
    const file = path.join(directory, name);
    const usable = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (usable) return file;
  }
  return undefined;
}

/** The needs whose program is not on this machine. */
export async function missingPrograms(needs: readonly ProgramNeed[]): Promise<ProgramNeed[]> {
  const found = await Promise.all(needs.map((need) => findProgram(NEEDS[need].program)));
  return needs.filter((_, index) => found[index] === undefined);
}

/**
 * The commands that install what is missing. Under systemd the packages' services are masked while they are installed and
 * disabled afterwards: this project runs its own private daemons and must not open a port or change a firewall by the way.
 */
export function installCommands(needs: readonly ProgramNeed[], systemd: boolean): string[][] {
  const packages = needs.flatMap((need) => NEEDS[need].packages);
  const units = systemd ? needs.flatMap((need) => NEEDS[need].units) : [];
  const install = [
    'env',
    'DEBIAN_FRONTEND=noninteractive',
    'apt-get',
    '-q',
    '-y',
    '--no-install-recommends',
    'install',
    ...packages,
  ];
  if (units.length === 0) return [install];
  return [
    ['systemctl', '--runtime', 'mask', ...units],
    install,
    ['systemctl', '--runtime', 'unmask', ...units],
    ['systemctl', 'disable', ...units],
  ];
}

/**
 * Installs the packages of the missing programs through apt-get, as root or through sudo.
 * Errors: `docker_unavailable` with what to install by hand, when apt-get or root is not to be had or the installation failed.
 */
export async function installPrograms(needs: readonly ProgramNeed[], signal?: AbortSignal): Promise<void> {
  const packages = needs.flatMap((need) => NEEDS[need].packages).join(' ');
  const op = 'local.installPrograms';
  if ((await findProgram('apt-get')) === undefined) {
    throw new CofferdamError('docker_unavailable', op, `install these with this system's package manager: ${packages}`);
  }
  await requireRoot(`installing ${packages}`, signal);
  await mustRun(asRoot(['apt-get', '-q', 'update']), { signal });
  for (const command of installCommands(needs, await runsSystemd())) await mustRun(asRoot(command), { signal });
  const still = await missingPrograms(needs);
  if (still.length > 0) {
    throw new CofferdamError(
      'docker_unavailable',
      op,
      `apt-get installed ${packages}, but ${still.join(', ')} is still missing`,
    );
  }
}

async function runsSystemd(): Promise<boolean> {
  return (await runCommand(['test', '-d', '/run/systemd/system'])).exitCode === 0;
}
