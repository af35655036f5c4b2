import { CofferdamError } from '../domain/errors.ts';
import type { SandboxSettings } from '../domain/policy.ts';
import { AGENT, LABEL, PROXY_PORT, SOCKET_MOUNT, TOOLBOX, WORKSPACE } from './layout.ts';

/** What a container is made from. Nothing here is read from the repository but the image, and that through the daemon. */
export interface SpecInput {
  installation: string;
  runId: string;
  role: string;
  settings: SandboxSettings;
  /** Absent for the probe container, which has no way out at all. */
  socketDir: string | undefined;
  toolboxDir: string;
  image: ImageFacts;
  /** Processors of the Docker host: a larger quota is refused by the daemon. */
  hostCpus: number;
  /** Arguments of the init process; the portal's, or a probe's. */
  command: readonly string[];
}

/** What the daemon says about an image. */
export interface ImageFacts {
  /** `sha256:…`: the container is made from the id, so that a tag that moves changes nothing. */
  id: string;
  /** `NAME=value` lines. */
  env: string[];
  volumes: string[];
}

/** The part of Docker's container creation that is used. */
export interface ContainerSpec {
  Image: string;
  Entrypoint: string[];
  Cmd: string[];
  Env: string[];
  User: string;
  WorkingDir: string;
  Hostname: string;
  Labels: Record<string, string>;
  Healthcheck: { Test: string[] };
  Tty: boolean;
  OpenStdin: boolean;
  AttachStdin: boolean;
  AttachStdout: boolean;
  AttachStderr: boolean;
  StopSignal: string;
  HostConfig: {
    Runtime: string;
    NetworkMode: string;
    IpcMode: string;
    CapDrop: string[];
    SecurityOpt: string[];
    Privileged: boolean;
    Init: boolean;
    ReadonlyRootfs: boolean;
    Mounts: BindMount[];
    Tmpfs: Record<string, string>;
    Dns: string[];
    DnsSearch: string[];
    DnsOptions: string[];
    Memory: number;
    MemorySwap: number;
    NanoCpus: number;
    PidsLimit: number;
    ShmSize: number;
    Ulimits: { Name: string; Soft: number; Hard: number }[];
    LogConfig: { Type: string; Config: Record<string, string> };
    RestartPolicy: { Name: string };
    AutoRemove: boolean;
  };
}

interface BindMount {
  Type: 'bind';
  Source: string;
  Target: string;
  ReadOnly: boolean;
  BindOptions: { NonRecursive: boolean; Propagation: 'rprivate' };
}

/** The daemon's wall around a sandbox. gVisor's kernel has more host tasks than guest processes, and dies when it meets this wall. */
export function pidsLimit(processes: number): number {
  return 2 * processes + 512;
}

/** The portal's arguments: an environment would be inherited by every command. `deadline` is milliseconds since the epoch. */
export function portalCommand(options: { deadline: number; ports: readonly number[] }): string[] {
  const ports = [...new Set(options.ports)].sort((a, b) => a - b);
  return [
    ...TOOLBOX.node,
    TOOLBOX.portal,
    `--ports=${ports.join(',')}`,
    `--proxy=${PROXY_PORT}`,
    `--deadline=${options.deadline}`,
  ];
}

/**
 * The whole container as data. Sizes are bytes, as in the settings.
 * Errors: `sandbox` when the image declares volumes (they would be host directories that no limit covers), `config` when a
 * path cannot be mounted.
 */
export function containerSpec(input: SpecInput): ContainerSpec {
  const { settings, image } = input;
  if (image.volumes.length > 0) {
    const list = image.volumes.join(', ');
    throw new CofferdamError(
      'sandbox',
      'sandbox.containerSpec',
      `the image declares volumes (${list}), which are refused`,
    );
  }
  return {
    Image: image.id,
    Entrypoint: [...TOOLBOX.init],
    Cmd: [...input.command],
    Env: cleanEnvironment(image.env),
    User: '0:0',
    WorkingDir: '/',
    Hostname: 'cofferdam',
    Labels: { [LABEL.installation]: input.installation, [LABEL.run]: input.runId, [LABEL.role]: input.role },
    Healthcheck: { Test: ['NONE'] },
    Tty: false,
    OpenStdin: false,
    AttachStdin: false,
    AttachStdout: true,
    AttachStderr: true,
    StopSignal: 'SIGKILL',
    HostConfig: {
      Runtime: settings.runtime,
      NetworkMode: 'none',
      IpcMode: 'private',
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges:true'],
      Privileged: false,
      Init: false,
      ReadonlyRootfs: settings.diskMode === 'tmpfs',
      Mounts: mounts(input),
      Dns: ['127.0.0.1'],
      DnsSearch: ['.'],
      DnsOptions: [],
      ...resources(settings, input.hostCpus),
      LogConfig: { Type: 'none', Config: {} },
      RestartPolicy: { Name: 'no' },
      AutoRemove: false,
    },
  };
}

function resources(settings: SandboxSettings, hostCpus: number) {
  // Exact disk is memory: both are what the container may have together. Swap would make the memory limit a wish.
  const memory = settings.memory + (settings.diskMode === 'tmpfs' ? settings.disk : 0);
  return {
    Tmpfs: tmpfs(settings),
    Memory: memory,
    MemorySwap: memory,
    NanoCpus: Math.round(Math.min(settings.cpus, hostCpus) * 1e9),
    PidsLimit: pidsLimit(settings.processes),
    ShmSize: 64 * 2 ** 20,
    Ulimits: [
      // gVisor holds this one for root, too, since the container's root has no capability.
      { Name: 'nproc', Soft: settings.processes, Hard: settings.processes },
      { Name: 'nofile', Soft: 16384, Hard: 16384 },
      { Name: 'fsize', Soft: settings.disk, Hard: settings.disk },
      { Name: 'core', Soft: 0, Hard: 0 },
    ],
  };
}

/**
 * In `watched` mode only /tmp: gVisor puts an unlimited file system in memory there anyway, and a full one should say so
 * (ENOSPC) instead of ending the run for want of memory. In `tmpfs` mode every writable place, sharing out `disk` exactly.
 */
function tmpfs(settings: SandboxSettings): Record<string, string> {
  const owned = `uid=${AGENT.uid},gid=${AGENT.gid},mode=0755`;
  const mount = (size: number, mode: string) => `rw,exec,nosuid,nodev,size=${Math.floor(size)},${mode}`;
  if (settings.diskMode === 'watched') return { '/tmp': mount(settings.memory / 2, 'mode=1777') };
  const { disk } = settings;
  return {
    [WORKSPACE]: mount(disk / 2, owned),
    [AGENT.home]: mount(disk / 4, owned),
    '/tmp': mount((disk * 3) / 16, 'mode=1777'),
    '/var/tmp': mount(disk / 16, 'mode=1777'),
  };
}

function mounts(input: SpecInput): BindMount[] {
  const sources = [
    ...(input.socketDir === undefined ? [] : [{ source: input.socketDir, target: SOCKET_MOUNT }]),
    { source: input.toolboxDir, target: TOOLBOX.mount },
  ];
  return sources.map(({ source, target }) => {
    if (!source.startsWith('/') || source === '/') {
      throw new CofferdamError('config', 'sandbox.containerSpec', `not an absolute directory to mount: ${source}`);
    }
    return {
      Type: 'bind',
      Source: source,
      Target: target,
      ReadOnly: true,
      BindOptions: { NonRecursive: true, Propagation: 'rprivate' },
    };
  });
}

/** A name without a value takes the image's variable away; without that, an image could load code into the portal. */
function cleanEnvironment(imageEnv: readonly string[]): string[] {
  const own = new Map([
    ['PATH', '/opt/cofferdam/bin'],
    ['LANG', 'C.UTF-8'],
  ]);
  const removed = imageEnv.map(variableName).filter((name) => name !== '' && !own.has(name));
  return [...[...own].map(([name, value]) => `${name}=${value}`), ...new Set(removed)];
}

function variableName(line: string): string {
  const end = line.indexOf('=');
  return end < 0 ? line : line.slice(0, end);
}
