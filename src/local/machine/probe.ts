import { spawn } from 'node:child_process';
import { copyFile, mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import type Docker from 'dockerode';
import { z } from 'zod';
import { CofferdamError } from '../../domain/errors.ts';
import { createKernelRecorder } from '../../main/kernel-client.ts';
import { kernelReports } from '../../sandbox/kernel/runtime.ts';
import type { KernelReports, RuntimeEntry } from '../../sandbox/kernel/runtime.ts';
import { followToEnd, imageId } from './docker.ts';
import { findProgram } from './packages.ts';
import { inspectRunsc, isRecentRunsc, OLDEST_RUNSC, parseRunscVersion } from './runsc.ts';
import { librariesOf } from './toolbox-inputs.ts';

const PROBE_IMAGE = 'cofferdam/probe:latest';

/** Whether a daemon's runtime can be used for sandboxes, or why not. */
export type Usable = { usable: true; runsc: string } | { usable: false; why: string };

const Info = z.object({
  Runtimes: z.record(z.string(), z.object({ path: z.string().optional(), runtimeArgs: z.array(z.string()).nullish() })),
});

/**
 * Asks a daemon whether it has the runtime, and then a container of that runtime whether it is gVisor: registration alone
 * proves nothing. Never throws for what the daemon is or lacks.
 */
export async function probeRuntime(options: ProbeOptions): Promise<Usable> {
  const { docker, runtime } = options;
  try {
    const info = Info.parse(await docker.info());
    const entry = info.Runtimes[runtime];
    if (entry === undefined) return { usable: false, why: `it has no runtime named ${runtime}` };
    const flags = entry.runtimeArgs ?? [];
    // Without this flag the sandbox could not reach its one socket. The other flags have safe defaults or are checked in each sandbox.
    if (!flags.some((flag) => /^--?host-uds=(open|all)$/.test(flag))) {
      return { usable: false, why: `its runtime ${runtime} lacks the argument --host-uds=open` };
    }
    const local = entry.path === undefined ? undefined : await inspectRunsc(entry.path, options.signal);
    const reports = await kernelReports(entry);
    if (reports.kind === 'broken' || (reports.kind === 'no' && options.processRecord !== 'optional')) {
      return { usable: false, why: `its runtime ${runtime} gives no record of processes: ${reports.why}` };
    }
    const probe = { ...options, entry, reports };
    const { output, unreported } = await runProbe({ ...probe, argv: DMESG, binds: [] });
    if (unreported !== undefined && output.includes('gVisor')) return { usable: false, why: unreported };
    if (!output.includes('gVisor'))
      return { usable: false, why: `a container of its runtime ${runtime} does not run under gVisor` };
    const version = local?.version ?? (await askInside(entry.path, probe));
    if (version === undefined) return { usable: false, why: `its runtime ${runtime} does not say its version` };
    if (!isRecentRunsc(version)) return { usable: false, why: `its runsc ${version} is older than ${OLDEST_RUNSC}` };
    return { usable: true, runsc: version };
  } catch (error) {
    if (options.signal?.aborted === true) throw error;
    return { usable: false, why: error instanceof Error ? error.message : String(error) };
  }
}

interface ProbeOptions {
  docker: Docker;
  runtime: string;
  /** Whether it must report its sandboxes' processes; default: `required`. */
  processRecord?: 'required' | 'optional';
  work: string;
  signal?: AbortSignal | undefined;
}

interface ReportedProbe extends ProbeOptions {
  entry: RuntimeEntry;
  reports: KernelReports;
}

/**
 * The version of a runsc that lies on the Docker host and not here, as for a worker in a container: a container of that very
 * runtime runs it. Undefined when it does not answer.
 */
async function askInside(runsc: string | undefined, options: ReportedProbe): Promise<string | undefined> {
  const name = runsc ?? 'runsc';
  // dockerd looks a bare name up on its own PATH.
  const places = path.isAbsolute(name) ? [name] : [`/usr/local/bin/${name}`, `/usr/bin/${name}`];
  const mount = '/bin/runsc';
  for (const Source of places) {
    const binds = [{ Type: 'bind' as const, Source, Target: mount, ReadOnly: true }];
    const said = await runProbe({ ...options, argv: [mount, '--version'], binds }).catch(() => undefined);
    const version = parseRunscVersion(said?.output ?? '');
    if (version !== undefined) return version;
  }
  return undefined;
}

const DMESG = ['/lib/loader', '--library-path', '/lib', '/bin/dmesg'];

/** What a command says in a container of the runtime, and why its kernel did not report although it should. */
async function runProbe(
  options: ReportedProbe & { argv: string[]; binds: Docker.MountSettings[] },
): Promise<{ output: string; unreported: string | undefined }> {
  const { docker } = options;
  if ((await imageId(docker, PROBE_IMAGE)) === undefined) await importProbeImage(options);
  const container = await docker.createContainer({
    Image: PROBE_IMAGE,
    Cmd: options.argv,
    Labels: { 'cofferdam.role': 'probe' },
    NetworkDisabled: true,
    HostConfig: {
      Runtime: options.runtime,
      NetworkMode: 'none',
      Mounts: options.binds,
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges'],
      LogConfig: { Type: 'json-file', Config: { 'max-size': '1m' } },
    },
  });
  try {
    const limit = AbortSignal.timeout(30_000);
    const abortSignal = options.signal === undefined ? limit : AbortSignal.any([limit, options.signal]);
    const unreported = await startReported({
      ...options,
      container: container.id,
      start: () => container.start({ abortSignal }),
    });
    await container.wait({ abortSignal });
    const output = (await container.logs({ stdout: true, stderr: true, abortSignal })).toString('utf8');
    return { output, unreported };
  } finally {
    await container.remove({ force: true }).catch(() => undefined);
  }
}

/** Starts the container with a collector that its kernel can report to. Gives why it did not, if it started all the same. */
async function startReported(options: {
  entry: RuntimeEntry;
  reports: KernelReports;
  container: string;
  start: () => Promise<unknown>;
}): Promise<string | undefined> {
  const { entry, reports, container } = options;
  if (reports.kind !== 'yes') {
    await options.start();
    return undefined;
  }
  const progress = { started: false };
  const start = async (): Promise<void> => {
    await options.start();
    progress.started = true;
  };
  const recorder = createKernelRecorder();
  try {
    const record = { container, endpoint: reports.endpoint, runsc: entry.path, start, onLine: () => undefined };
    await (await recorder.record(record)).finish();
    return undefined;
  } catch (error) {
    if (!progress.started) throw error;
    return error instanceof Error ? error.message : String(error);
  } finally {
    await recorder.close();
  }
}

/** An image of two files and some libraries, made from the host's own `dmesg`. */
async function importProbeImage(options: {
  docker: Docker;
  work: string;
  signal?: AbortSignal | undefined;
}): Promise<void> {
  const dmesg = await findProgram('dmesg');
  if (dmesg === undefined) {
    throw new CofferdamError(
      'docker_unavailable',
      'local.importProbeImage',
      'dmesg is not installed: apt-get install util-linux',
    );
  }
  const root = path.join(options.work, `probe-${process.pid}`);
  try {
    await mkdir(path.join(root, 'lib'), { recursive: true });
    await mkdir(path.join(root, 'bin'));
    const { libraries, loader } = await librariesOf(dmesg, options.signal);
    await copyFile(dmesg, path.join(root, 'bin/dmesg'));
    await copyFile(loader, path.join(root, 'lib/loader'));
    for (const library of libraries) await copyFile(library.file, path.join(root, 'lib', library.name));
    const tar = spawn('tar', ['-C', root, '--owner=0', '--group=0', '-c', '.'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [repo, tag] = PROBE_IMAGE.split(':');
    const stream = await options.docker.importImage(tar.stdout, { repo, tag });
    await followToEnd(options.docker, stream, 'local.importProbeImage', () => undefined);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}
