import { toRunError } from '../domain/errors.ts';
import { createDocker } from './docker.ts';
import type { Docker } from './docker.ts';
import { TOOLBOX } from './layout.ts';
import { probe, type ProbeHost } from './probe.ts';

/** One prerequisite, as `cofferdam doctor` shows it. */
export interface Prerequisite {
  name: string;
  ok: boolean;
  found: string;
  needed: string;
  fix: string;
}

const PROBE_MS = 30_000;
const NO_FIX = '';

/**
 * Looks at the Docker host as a run would use it: the daemon answers, knows the runtime and the image, and a probe container
 * of that runtime shows gVisor. Never throws; what could not be looked at has `ok: false`.
 */
export async function checkSandboxHost(options: ProbeHost): Promise<Prerequisite[]> {
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
    fix: registered ? NO_FIX : `register gVisor's runsc as the runtime ${settings.runtime} in Docker's daemon.json`,
  });
  const image = await attempt(() => docker.image(settings.image));
  const hasImage = 'value' in image && image.value !== undefined;
  found.push({
    name: 'image',
    ok: hasImage,
    found: 'error' in image ? image.error : (image.value?.id ?? 'none'),
    needed: settings.image,
    fix: hasImage ? NO_FIX : 'build or load the sandbox image',
  });
  if (!registered || !hasImage) return found;
  const runs = await attempt(() => probeRuntime(docker, options));
  found.push({
    name: 'gvisor',
    ok: 'value' in runs && runs.value,
    found: 'error' in runs ? runs.error : runs.value ? 'a probe container runs under it' : 'another kernel',
    needed: 'a probe container that runs under gVisor',
    fix: 'value' in runs && runs.value ? NO_FIX : `let the runtime ${settings.runtime} be runsc`,
  });
  return found;
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
