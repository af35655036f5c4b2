import { setTimeout as sleep } from 'node:timers/promises';
import { STATUS_MARKER } from '../policy/markdown/status.ts';
import type { Logger } from '../telemetry/log.ts';
import { failureKind, GitHubError } from './failure.ts';
import type { GitHubRepository } from './repository.ts';

type CommentVerbs = Pick<GitHubRepository, 'comments' | 'createComment' | 'editComment' | 'deleteComment'>;

export interface StatusCommentOptions {
  repository: CommentVerbs;
  /** The same, for what may be left out. */
  progress?: CommentVerbs | undefined;
  number: number;
  /** Least time between two edits while a run goes on; GitHub counts 500 writes an hour for a whole installation. */
  intervalMs: number;
  log: Logger;
  /** The comment, when it is known from before. */
  commentId?: number | undefined;
}

/** The one status comment of a thread. */
export interface StatusComment {
  /** Shows this soon, or something newer; never fails. */
  show(body: () => string): void;
  /** Shows this now; resolves with the comment. Errors: `github`. */
  put(body: string): Promise<number>;
  /** Shows this now and for good; resolves with the comment. Errors: `github`. */
  settle(body: string): Promise<number>;
}

const TRIES = 3;
const RETRY_MS = 500;

/**
 * Milliseconds between two edits: the longer a run goes on, the less often it says so. With the usual interval an hour has fewer than 100
 * edits of one run, so that four at a time leave room below the 500 writes that GitHub grants an installation.
 */
export function pauseAfter(edits: number, intervalMs: number): number {
  return intervalMs * 2 ** Math.min(3, Math.floor(edits / 20));
}

export function createStatusComment(options: StatusCommentOptions): StatusComment {
  const { repository, number, log } = options;
  let id = options.commentId;
  let shown = '';
  let next: (() => string) | undefined;
  let running: Promise<void> | undefined;
  let settled = false;
  let edits = 0;
  const wake = new AbortController();

  /** The oldest one counts: two workers that both made one agree on it. */
  async function find(): Promise<number | undefined> {
    return (await repository.comments(number)).find((one) => one.ours && one.body.startsWith(STATUS_MARKER))?.id;
  }

  async function create(by: CommentVerbs, body: string): Promise<number> {
    const made = await by.createComment(number, body);
    const first = (await find()) ?? made;
    if (first === made) return made;
    await by.deleteComment(made);
    await by.editComment(first, body, number);
    return first;
  }

  /** Edits the comment, or makes it: by the marker it is found even when a success was lost on the way. */
  async function write(by: CommentVerbs, body: string): Promise<number> {
    id ??= await find();
    if (id === undefined) {
      id = await create(by, body);
      return id;
    }
    try {
      if (body !== shown) await by.editComment(id, body, number);
      return id;
    } catch (thrown) {
      const deleted = thrown instanceof GitHubError && (thrown.kind === 'not_found' || thrown.kind === 'gone');
      if (!deleted) throw thrown;
      id = await create(by, body);
      return id;
    }
  }

  async function put(body: string): Promise<number> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const written = await write(repository, body);
        shown = body;
        return written;
      } catch (thrown) {
        if (!(thrown instanceof GitHubError) || !thrown.retry || attempt === TRIES) throw thrown;
        await sleep(RETRY_MS * attempt);
      }
    }
  }

  async function loop(): Promise<void> {
    while (next !== undefined && !settled) {
      const body = next();
      next = undefined;
      try {
        await write(options.progress ?? repository, body);
        shown = body;
      } catch (thrown) {
        log.warn({ kind: failureKind(thrown) }, 'status comment not written');
      }
      edits += 1;
      await sleep(pauseAfter(edits, options.intervalMs), undefined, { signal: wake.signal }).catch(() => undefined);
    }
    running = undefined;
  }

  return {
    show(body) {
      if (settled) return;
      next = body;
      running ??= loop();
    },
    put,
    async settle(body) {
      settled = true;
      wake.abort();
      await running;
      return put(body);
    },
  };
}
