/**
 * Which writes come first. GitHub grants an installation so many writes a minute and an hour, comments, edits, labels and reactions
 * alike as far as it says; every change in a repository counts here. What only says how far a run is gives way to answers, and both
 * give way to results.
 */
import type { Logger } from '../telemetry/log.ts';
import { GitHubError } from './failure.ts';

/** `progress`: how far a run is. `answer`: to somebody who asked. `publication`: of a held result, while somebody waits. `result`: of a run. */
export type WriteKind = 'progress' | 'answer' | 'publication' | 'result';

/** Share of the limits, and the longest wait for a turn. Whoever does not get one in time fails with `limited`. */
const KINDS: Record<WriteKind, { share: number; maxWaitMs: number }> = {
  // Dropped: something newer will be shown.
  progress: { share: 0.5, maxWaitMs: 5_000 },
  // The trigger goes back into its queue, so that those behind it, a `stop` for one, are heard.
  answer: { share: 0.8, maxWaitMs: 20_000 },
  publication: { share: 1, maxWaitMs: 20_000 },
  // Never lost for want of room.
  result: { share: 1, maxWaitMs: 86_400_000 },
};

/** The count that all workers share. */
export interface WriteSlots {
  take(ask: { share: number; gapMs: number; maxWaitMs: number }): Promise<{ granted: boolean; waitMs: number }>;
  hold(ms: number): Promise<void>;
}

/** What a write passes before it is sent. */
export interface WriteGate {
  /** Milliseconds until its turn, `gapMs` after the one before; undefined: not known. Errors: `github` with the kind `limited`. */
  turn(gapMs: number): Promise<number | undefined>;
  /** GitHub has said that it is too much. */
  limited(waitMs: number): Promise<void>;
  /** Longest wait that GitHub may ask for before the write fails instead. */
  readonly patienceMs: number;
}

/** Without an answer of the count only the pace of this process holds: a result is worth more than politeness, and GitHub's no is heeded. */
export function writeGate(options: { slots: WriteSlots; kind: WriteKind; log?: Logger | undefined }): WriteGate {
  const { slots, kind, log } = options;
  const unknown = (thrown: unknown): void => {
    log?.warn({ kind: thrown instanceof Error ? thrown.name : 'unknown' }, 'writes not counted');
  };
  return {
    patienceMs: KINDS[kind].maxWaitMs,
    async turn(gapMs) {
      const taken = await slots.take({ ...KINDS[kind], gapMs }).catch(unknown);
      if (taken === undefined) return undefined;
      if (taken.granted) return taken.waitMs;
      const detail = 'the writes of this installation are used up for now';
      throw new GitHubError({ kind: 'limited', op: 'github.write', detail, retryAfterMs: taken.waitMs });
    },
    async limited(waitMs) {
      await slots.hold(waitMs).catch(unknown);
    },
  };
}
