/** Stories of runs, shared by everybody who looks: each is read once and grows with its log. */
import { createAuditReader, type AuditReader, type Reading } from '../audit/read.ts';
import { createStory, type RunStory, type StoryTeller } from '../audit/story/story.ts';
import type { RunId } from '../domain/ids.ts';
import type { RunLog, RunLogs } from './ports.ts';

/** A run's log as far as it is read. */
export interface Watched {
  readonly log: RunLog;
  story(): RunStory;
  reading(): Reading;
  /** The text of the seal, once it is written. A file that is whole has as many lines as it says. */
  seal(): string | null;
  patch(): string | null;
  /** Reads what is new; callers at the same time share the work. */
  refresh(): Promise<void>;
  /** What was read is not there any more: the file is shorter than it was. */
  stale(): Promise<boolean>;
  /** Waits until there may be something new. */
  changed(signal: AbortSignal): Promise<void>;
}

export interface Watch {
  /** Null: there is no log (yet). The story is read to its present end. */
  open(runId: RunId): Promise<Watched | null>;
}

/** Stories that are kept in memory; those looked at longest ago go first. */
const KEPT = 12;

export function createWatch(logs: RunLogs): Watch {
  const kept = new Map<string, Watched>();
  const opening = new Map<string, Promise<Watched | null>>();

  async function find(runId: RunId): Promise<Watched | null> {
    const log = await logs.open(runId);
    if (log === null) return null;
    const watched = watch(runId, log);
    kept.set(runId, watched);
    const [oldest] = kept.keys();
    if (kept.size > KEPT && oldest !== undefined) kept.delete(oldest);
    return watched;
  }

  return {
    async open(runId) {
      let watched = kept.get(runId);
      if (watched !== undefined && (await watched.stale())) {
        kept.delete(runId);
        watched = undefined;
      }
      if (watched === undefined) {
        const known = opening.get(runId) ?? find(runId).finally(() => opening.delete(runId));
        opening.set(runId, known);
        watched = (await known) ?? undefined;
      }
      if (watched === undefined) return null;
      kept.delete(runId);
      kept.set(runId, watched);
      await watched.refresh();
      return watched;
    },
  };
}

function watch(runId: RunId, log: RunLog): Watched {
  const reader: AuditReader = createAuditReader({ partial: log.partial, runId });
  const teller: StoryTeller = createStory();
  let mark = '';
  let seal: string | null = null;
  let patch: string | null = null;
  let running: Promise<void> | undefined;

  async function read(): Promise<void> {
    // Before the lines: a seal that was there before them is of all of them. A stream carries both, in no certain order.
    if (!log.partial) seal ??= await log.seal();
    for await (const piece of log.read(mark)) {
      for (const event of reader.feed(piece.bytes)) teller.take(event);
      mark = piece.mark;
    }
    const { outline } = teller.story();
    if (outline.seal !== undefined) seal ??= await log.seal();
    if (patch === null && outline.commit !== undefined) patch = await log.patch();
  }

  return {
    log,
    story: () => teller.story(),
    reading: () => reader.reading(),
    seal: () => seal,
    stale: async () => (await log.shorter?.(mark)) ?? false,
    patch: () => patch,
    refresh() {
      running ??= read().finally(() => {
        running = undefined;
      });
      return running;
    },
    changed: (signal) => log.changed(mark, signal),
  };
}
