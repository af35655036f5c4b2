import { z } from 'zod';
import { mustRun, asRoot } from './process.ts';
import { startEngine, stopEngine } from './engine.ts';
import type { EngineOptions } from './engine.ts';

/*
 * The steps that need root. Root takes them directly; anybody else runs this file through sudo, so that the rest of the
 * set-up, and everything that later faces the network, stays with the user's own rights.
 */

const EngineRequest = z.discriminatedUnion('step', [
  z.strictObject({
    step: z.literal('start'),
    directory: z.string(),
    socket: z.string(),
    dockerd: z.string(),
    runsc: z.string(),
    runtime: z.string(),
    session: z.string(),
    uid: z.int(),
    gid: z.int(),
  }),
  z.strictObject({ step: z.literal('stop'), directory: z.string(), socket: z.string() }),
]);
type EngineRequest = z.infer<typeof EngineRequest>;

/** {@link startEngine} with root's rights. */
export function startEngineAsRoot(options: EngineOptions, signal?: AbortSignal): Promise<void> {
  return perform({ step: 'start', ...options }, signal);
}

/** {@link stopEngine} with root's rights. */
export function stopEngineAsRoot(options: { directory: string; socket: string }): Promise<void> {
  return perform({ step: 'stop', ...options });
}

async function perform(request: EngineRequest, signal?: AbortSignal): Promise<void> {
  if (process.getuid?.() === 0) return direct(request);
  const argv = [process.execPath, import.meta.filename, JSON.stringify(request)];
  await mustRun(asRoot(argv), { signal });
}

async function direct(request: EngineRequest): Promise<void> {
  if (request.step === 'start') await startEngine(request);
  else await stopEngine(request);
}

if (import.meta.main) {
  try {
    await direct(EngineRequest.parse(JSON.parse(process.argv[2] ?? '')));
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}
