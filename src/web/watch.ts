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
  sealed(): boolean;
  patch(): string | null;
  /** Reads what is new; callers at the same time share the work. */
  refresh(): Promise<void>;
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
    const watched = watch(log);
    kept.set(runId, watched);
    const [oldest] = kept.keys();
    if (kept.size > KEPT && oldest !== undefined) kept.delete(oldest);
    return watched;
  }

  return {
    async open(runId) {
      let watched = kept.get(runId);
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

function watch(log: RunLog): Watched {
  const reader: AuditReader = createAuditReader({ partial: log.partial });
  const teller: StoryTeller = createStory();
  let mark = '';
  let sealed = false;
  let patch: string | null = null;
  let running: Promise<void> | undefined;

  async function read(): Promise<void> {
    for await (const piece of log.read(mark)) {
      for (const event of reader.feed(piece.bytes)) teller.take(event);
      mark = piece.mark;
    }
    const { outline } = teller.story();
    if (!sealed && outline.seal !== undefined) sealed = (await log.seal()) !== null;
    if (patch === null && outline.commit !== undefined) patch = await log.patch();
  }

  return {
    log,
    story: () => teller.story(),
    reading: () => reader.reading(),
    sealed: () => sealed,
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
