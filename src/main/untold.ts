/**
 * Ends of runs that GitHub could not be told: `<dataDir>/untold/<run>.json`. They are told again until that works, or until nobody
 * waits for them any more.
 */
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { CofferdamError, mayHelpAgain } from '../domain/errors.ts';
import { RunId } from '../domain/ids.ts';
import { RunRequest } from '../domain/run.ts';
import type { GitHubPublisher, RunSettings, Seen } from '../github/publisher.ts';
import type { Logger } from '../telemetry/log.ts';

/** An installation that is suspended for longer has other worries. */
const MAX_AGE_MS = 7 * 86_400_000;

type End = Parameters<GitHubPublisher['finish']>[0];

/** Our own file in a directory that only we may enter: what it holds beyond the request is what we wrote. */
const Stored = z.object({
  version: z.literal(1),
  request: RunRequest,
  end: z.looseObject({ result: z.looseObject({ runId: RunId }) }),
  settings: z.looseObject({}).optional(),
  seen: z.looseObject({}).optional(),
});

interface StoredEnd {
  version: 1;
  request: RunRequest;
  end: End;
  settings?: RunSettings | undefined;
  /** What the publisher saw of the run that had it from the beginning. */
  seen?: Seen | undefined;
}

export interface UntoldOptions {
  dataDir: string;
  publisherFor: (request: RunRequest) => Pick<GitHubPublisher, 'describe' | 'finish'>;
  /** Has a later run the thread by now? Then its comment and labels are that one's. */
  superseded: (request: RunRequest) => Promise<boolean>;
  log: Logger;
}

export interface Untold {
  /** Keeps the end when another try may help; never fails. */
  keep(end: Omit<StoredEnd, 'version'>, failure: unknown): Promise<void>;
  /** Tells what is kept; how many it told. Never fails. */
  tell(): Promise<number>;
}

export function createUntold({ dataDir, publisherFor, superseded, log }: UntoldOptions): Untold {
  const root = join(dataDir, 'untold');
  const fileOf = (runId: RunId): string => join(root, `${runId}.json`);

  async function tellOne(runId: RunId): Promise<boolean> {
    const file = fileOf(runId);
    const stored = await read(file);
    const since = await stat(file);
    if (stored === null || Date.now() - since.mtimeMs > MAX_AGE_MS) {
      await rm(file, { force: true });
      log.warn({ runId }, 'the end of a run could not be told to GitHub, and is given up');
      return false;
    }
    const { request, end, settings, seen } = stored;
    const publisher = publisherFor(request);
    if (settings !== undefined) publisher.describe(settings);
    try {
      await publisher.finish({ ...end, seen, superseded: await superseded(request) });
    } catch (thrown) {
      if (worthAnotherTry(thrown)) return false;
      log.warn({ runId, ...kindOf(thrown) }, 'the end of a run was not taken by GitHub');
      await rm(file, { force: true });
      return false;
    }
    await rm(file, { force: true });
    log.info({ runId }, 'the end of a run was told to GitHub later');
    return true;
  }

  return {
    async keep(end, failure) {
      if (!worthAnotherTry(failure)) return;
      const { runId } = end.request;
      const stored: StoredEnd = { version: 1, ...end };
      try {
        await mkdir(root, { recursive: true, mode: 0o700 });
        await writeFile(`${fileOf(runId)}.new`, JSON.stringify(stored), { mode: 0o600, flush: true });
        await rename(`${fileOf(runId)}.new`, fileOf(runId));
      } catch (thrown) {
        log.warn({ runId, ...kindOf(thrown) }, 'the end of a run could not be kept for later');
      }
    },
    async tell() {
      let told = 0;
      for (const name of await readdir(root).catch(() => [])) {
        const runId = RunId.safeParse(name.replace(/\.json$/, ''));
        if (!runId.success || !name.endsWith('.json')) continue;
        const done = await tellOne(runId.data).catch((thrown: unknown) => {
          log.warn({ runId: runId.data, ...kindOf(thrown) }, 'the end of a run was not told');
          return false;
        });
        told += done ? 1 : 0;
      }
      return told;
    },
  };
}

async function read(file: string): Promise<StoredEnd | null> {
  try {
    const parsed = Stored.safeParse(JSON.parse(await readFile(file, 'utf8')));
    return parsed.success ? (parsed.data as unknown as StoredEnd) : null;
  } catch {
    return null;
  }
}

/** Nobody answered, or the installation is suspended: that passes. What GitHub refuses for good does not. */
function worthAnotherTry(thrown: unknown): boolean {
  if (!(thrown instanceof CofferdamError) || thrown.code !== 'github') return false;
  return mayHelpAgain(thrown) || ('kind' in thrown && thrown.kind === 'suspended');
}

function kindOf(thrown: unknown): { kind: string } {
  if (thrown instanceof CofferdamError) return { kind: 'kind' in thrown ? String(thrown.kind) : thrown.code };
  return { kind: thrown instanceof Error ? thrown.name : 'unknown' };
}
