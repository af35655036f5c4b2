import { access } from 'node:fs/promises';
import { answers } from './engine.ts';
import { dockerAt, socketOf } from './docker.ts';
import { probeRuntime } from './probe.ts';
import type { Note } from './progress.ts';

/** A Docker that was here before us and can run sandboxes. */
export interface ExistingDocker {
  socket: string;
  runsc: string;
}

/** The addresses to try: the one that the user set, else Docker's default. */
export function candidateSockets(dockerHost: string | undefined): string[] {
  const set = dockerHost === undefined || dockerHost === '' ? undefined : dockerHost;
  return [set ?? 'unix:///var/run/docker.sock'];
}

/**
 * Looks for a Docker with a usable runtime. What was tried and why it was passed over is noted when the user had set it,
 * and returned for the message when nothing else can be had.
 */
export async function findExistingDocker(options: {
  dockerHost: string | undefined;
  runtime: string;
  /** Default: `required`. */
  processRecord?: 'required' | 'optional';
  work: string;
  note: Note;
  signal?: AbortSignal | undefined;
}): Promise<{ found: ExistingDocker | undefined; passedOver: string[] }> {
  const passedOver: string[] = [];
  for (const address of candidateSockets(options.dockerHost)) {
    const socket = socketOf(address);
    const why = await whyNot(socket, options);
    if (typeof why !== 'string' && socket !== undefined) return { found: { socket, runsc: why.runsc }, passedOver };
    passedOver.push(`${address}: ${typeof why === 'string' ? why : 'not usable'}`);
  }
  if (options.dockerHost !== undefined) for (const line of passedOver) options.note(`not used: ${line}`);
  return { found: undefined, passedOver };
}

async function whyNot(
  socket: string | undefined,
  options: {
    runtime: string;
    processRecord?: 'required' | 'optional';
    work: string;
    signal?: AbortSignal | undefined;
  },
): Promise<string | { runsc: string }> {
  if (socket === undefined) return 'not a Unix socket of this machine, which a sandbox needs';
  const present = await access(socket).then(
    () => true,
    () => false,
  );
  if (!present) return 'not there, or not accessible to this user';
  if (!(await answers(socket))) return 'does not answer';
  const usable = await probeRuntime({ docker: dockerAt(socket), ...options });
  return usable.usable ? { runsc: usable.runsc } : usable.why;
}
