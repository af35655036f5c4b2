import { toRunError } from '../domain/errors.ts';
import { createDocker } from './docker.ts';
import type { Docker } from './docker.ts';
import { TOOLBOX } from './layout.ts';
import { probe, type ProbeHost } from './probe.ts';
import { kernelReports } from './kernel/runtime.ts';
import type { RuntimeEntry } from './kernel/runtime.ts';

/** One prerequisite, as `cofferdam doctor` shows it. */
export interface Prerequisite {
  name: string;
  ok: boolean;
  found: string;
  needed: string;
  fix: string;
}

type DoctorOptions = Omit<ProbeHost, 'toolboxDir'> & {
  /** Undefined when there is none yet: no probe container is started then. */
  toolboxDir: string | undefined;
  /** What to write into Docker's daemon.json, as its reader copies it. */
  runtimeEntry: string;
};

const PROBE_MS = 30_000;
const NO_FIX = '';

/**
 * Looks at the Docker host as a run would use it: the daemon answers, knows the runtime and the image, and a probe container
 * of that runtime shows gVisor. Never throws; what could not be looked at has `ok: false`.
 */
export async function checkSandboxHost(options: DoctorOptions): Promise<Prerequisite[]> {
  const docker = createDocker({ socketPath: options.dockerSocket });
  const { settings } = options;
  const daemon = await attempt(() => docker.info());
  if ('error' in daemon) {
    const fix = 'start Docker, or set DOCKER_HOST to its socket (unix:///…)';
    return [{ name: 'docker', ok: false, found: daemon.error, needed: 'a Docker daemon that answers', fix }];
  }
  const version = daemon.value.ServerVersion;
  const found: Prerequisite[] = [{ name: 'docker', ok: true, found: version, needed: 'a Docker daemon', fix: NO_FIX }];
  const registered = daemon.value.Runtimes[settings.runtime] !== undefined;
  found.push({
    name: 'runtime',
    ok: registered,
    found: Object.keys(daemon.value.Runtimes).join(', '),
    needed: settings.runtime,
    fix: registered ? NO_FIX : `add to Docker's daemon.json, with the path of your runsc: ${options.runtimeEntry}`,
  });
  const entry = daemon.value.Runtimes[settings.runtime];
  if (entry !== undefined) found.push(await processRecord(entry, options));
  const image = await attempt(() => docker.image(settings.image));
  const hasImage = 'value' in image && image.value !== undefined;
  found.push({
    name: 'image',
    ok: hasImage,
    found: 'error' in image ? image.error : (image.value?.id ?? 'none'),
    needed: settings.image,
    fix: hasImage ? NO_FIX : 'build or load the sandbox image',
  });
  const { toolboxDir } = options;
  if (!registered || !hasImage || toolboxDir === undefined || found.some(({ name, ok }) => name === RECORD && !ok)) {
    return found;
  }
  const runs = await attempt(() => probeRuntime(docker, { ...options, toolboxDir }));
  found.push({
    name: 'gvisor',
    ok: 'value' in runs && runs.value,
    found: 'error' in runs ? runs.error : runs.value ? 'a probe container runs under it' : 'another kernel',
    needed: 'a probe container that runs under gVisor',
    fix: 'value' in runs && runs.value ? NO_FIX : `let the runtime ${settings.runtime} be runsc`,
  });
  return found;
}

const RECORD = 'process record';

async function processRecord(entry: RuntimeEntry, options: DoctorOptions): Promise<Prerequisite> {
  const reports = await kernelReports(entry);
  const optional = options.settings.processRecord === 'optional';
  const ok = reports.kind === 'yes' || (reports.kind === 'no' && optional);
  return {
    name: RECORD,
    ok,
    found: reports.kind === 'yes' ? `gVisor's kernel reports to ${reports.endpoint}` : reports.why,
    needed: optional ? 'none: the policy says optional' : `a runtime whose kernel reports the processes of sandboxes`,
    fix: ok
      ? NO_FIX
      : `let the runtime be as here and restart Docker: ${options.runtimeEntry}; or set sandbox.processRecord: optional`,
  };
}

async function attempt<T>(make: () => Promise<T>): Promise<{ value: T } | { error: string }> {
  try {
    return { value: await make() };
  } catch (thrown) {
    return { error: toRunError(thrown, 'sandbox.doctor').message };
  }
}

/** A container without any way out that prints the kernel's log and ends. */
async function probeRuntime(docker: Docker, options: ProbeHost): Promise<boolean> {
  const text = await probe(docker, options, { command: () => [TOOLBOX.busybox, 'dmesg'], limitMs: PROBE_MS });
  return text.includes('Starting gVisor');
}
