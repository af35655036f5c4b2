import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { vi } from 'vitest';
import { setStage, startProduct, type DemoStage, type RunningProduct } from '../../src/local/demo/stage.ts';
import type { Script } from '../../src/local/provider/script.ts';

// A whole run takes half a minute on a quiet machine, and some tests have three of them.
vi.setConfig({ testTimeout: 900_000, hookTimeout: 900_000 });

/** Until the end of a whole run, on whatever machine this is. */
export const WAIT = { timeoutMs: 800_000 };

/** A local GitHub, a scripted model and a repository in a directory of their own, and Cofferdam to be started on them. */
export interface Scene extends AsyncDisposable {
  stage: DemoStage;
  /** Where Cofferdam's output goes. */
  logFile: string;
  directory: string;
  /** `cofferdam start`; ends with the scene. */
  start(): Promise<RunningProduct>;
}

export async function openScene(options: { script: Script; limits?: string }): Promise<Scene> {
  await using undo = new AsyncDisposableStack();
  // Short, since sockets lie below it.
  const directory = await mkdtemp(join(tmpdir(), 'cd-'));
  undo.defer(() => rm(directory, { recursive: true, force: true }));
  const registryPrivate = process.env['COFFERDAM_TEST_REGISTRY_PRIVATE'] === 'true';
  const stage = undo.use(await setStage({ directory, registryPrivate, ...options }));
  const logFile = join(directory, 'log');
  const rest = undo.move();
  return {
    stage,
    logFile,
    directory,
    start: async () => rest.use(await startProduct({ env: stage.env, inherit: process.env, logFile })),
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  };
}

/** The worker below `cofferdam start`. */
export async function workerPid(product: RunningProduct): Promise<number> {
  for (;;) {
    const children = await readFile(`/proc/${product.pid}/task/${product.pid}/children`, 'utf8');
    for (const pid of children.trim().split(' ')) {
      const argv = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0');
      if (argv.includes('worker')) return Number(pid);
    }
    await sleep(50);
  }
}
