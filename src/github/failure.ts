import { CofferdamError } from '../domain/errors.ts';

export type GitHubFailure =
  | 'credentials'
  | 'suspended'
  | 'permission'
  | 'limited'
  | 'not_found'
  | 'gone'
  | 'locked'
  | 'archived'
  | 'conflict'
  | 'closed'
  | 'base_gone'
  | 'invalid'
  | 'unavailable'
  | 'foreign_host'
  | 'other';

interface FailureRow {
  retry: boolean;
  /** What a person does about it. */
  advice: string;
}

const table: Record<GitHubFailure, FailureRow> = {
  credentials: { retry: false, advice: 'Check APP_ID and PRIVATE_KEY of the worker, and its clock.' },
  suspended: { retry: false, advice: "The App's installation is suspended; an owner can resume it in its settings." },
  permission: {
    retry: false,
    advice: 'An owner must grant the App this permission in its installation settings.',
  },
  limited: { retry: true, advice: 'GitHub limits the calls of this installation; it goes on by itself later.' },
  not_found: {
    retry: false,
    advice: 'It was deleted, renamed or moved, or the App is not installed on this repository.',
  },
  gone: { retry: false, advice: 'It was deleted, or the feature is switched off for this repository.' },
  locked: { retry: false, advice: 'The conversation is locked; somebody with write access can unlock it.' },
  archived: { retry: false, advice: 'The repository is archived and takes nothing; an owner can unarchive it.' },
  conflict: { retry: true, advice: 'Somebody changed it at the same time; try again.' },
  closed: { retry: false, advice: 'Reopen it, or ask anew on its issue.' },
  base_gone: {
    retry: false,
    advice: 'Open a pull request from it into another branch, or restore the one that is gone.',
  },
  invalid: { retry: false, advice: 'GitHub refused the content; please report this with the log.' },
  unavailable: { retry: true, advice: 'GitHub did not answer; it is tried again.' },
  foreign_host: { retry: false, advice: 'Only the configured GitHub host is called; check GHE_HOST.' },
  other: { retry: false, advice: 'GitHub answered with something unexpected; please report this with the log.' },
};

/** A failed call of GitHub. `kind` decides retries and wording; nothing decides on the message. */
export class GitHubError extends CofferdamError {
  readonly kind: GitHubFailure;
  readonly retry: boolean;
  readonly status: number | undefined;
  /** Milliseconds until GitHub wants to be asked again. */
  readonly retryAfterMs: number | undefined;

  constructor(options: {
    kind: GitHubFailure;
    op: string;
    detail?: string;
    status?: number | undefined;
    retryAfterMs?: number | undefined;
    cause?: unknown;
  }) {
    const { kind, status } = options;
    const about = [status === undefined ? '' : `status ${status}`, options.detail ?? ''].filter((part) => part !== '');
    const shown = about.length === 0 ? '' : ` (${about.join(', ')})`;
    super('github', options.op, `${kind.replace('_', ' ')}${shown}. ${table[kind].advice}`, options.cause);
    this.kind = kind;
    this.retry = table[kind].retry;
    this.status = status;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** What Octokit throws, as far as it is looked at. */
interface Thrown {
  status?: unknown;
  response?: { headers?: Record<string, unknown>; data?: unknown };
}

/** Any failure of a call as a `GitHubError`; `op` is `github.<verb>`. */
export function githubError(thrown: unknown, op: string): GitHubError {
  if (thrown instanceof GitHubError) return thrown;
  if (typeof thrown !== 'object' || thrown === null) return new GitHubError({ kind: 'other', op, cause: thrown });
  const cause = (thrown as { cause?: unknown }).cause;
  if (cause instanceof GitHubError) return cause;
  const { status, response } = thrown as Thrown;
  // Octokit calls a lost connection a 500 without a response.
  if (typeof status !== 'number' || response === undefined) {
    return new GitHubError({ kind: 'unavailable', op, cause: thrown });
  }
  const headers = response.headers ?? {};
  const limit = limitOf({ status, header: (name) => textOf(headers[name]), body: response.data });
  if (limit !== undefined) return new GitHubError({ kind: 'limited', op, status, retryAfterMs: limit, cause: thrown });
  const needs = textOf(headers['x-accepted-github-permissions']);
  const kind = kindOf(status);
  const detail =
    kind === 'permission' && needs !== undefined ? `missing permission: ${needs.slice(0, 200)}` : undefined;
  return new GitHubError({ kind, op, status, cause: thrown, ...(detail === undefined ? {} : { detail }) });
}

function kindOf(status: number): GitHubFailure {
  switch (status) {
    case 401:
      return 'credentials';
    case 403:
      return 'permission';
    case 404:
      return 'not_found';
    case 409:
      return 'conflict';
    case 410:
      return 'gone';
    case 422:
      return 'invalid';
    case 423:
      return 'locked';
    default:
      return status >= 500 ? 'unavailable' : 'other';
  }
}

const NO_HINT_MS = 60_000;

/** How long to wait when the answer is one of GitHub's limits; undefined when it is not. Source: GitHub's best practices for REST. */
export function limitOf(answer: {
  status: number;
  header: (name: string) => string | undefined;
  body?: unknown;
  now?: number;
}): number | undefined {
  const { status, header } = answer;
  if (status !== 403 && status !== 429) return undefined;
  const after = Number(header('retry-after'));
  if (header('retry-after') !== undefined && after >= 0) return after * 1_000;
  if (header('x-ratelimit-remaining') === '0') {
    const reset = Number(header('x-ratelimit-reset')) * 1_000 - (answer.now ?? Date.now());
    return Number.isFinite(reset) ? Math.max(reset, 0) + 1_000 : NO_HINT_MS;
  }
  if (status === 429) return NO_HINT_MS;
  const body = answer.body;
  const link =
    typeof body === 'object' && body !== null && 'documentation_url' in body ? textOf(body.documentation_url) : '';
  return /secondary-rate-limits/.test(link ?? '') ? NO_HINT_MS : undefined;
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined;
}

/** What was asked for, or null when GitHub answers with one of these. */
export async function unless<T>(kinds: readonly GitHubError['kind'][], promise: Promise<T>): Promise<T | null> {
  try {
    return await promise;
  } catch (thrown) {
    if (thrown instanceof GitHubError && kinds.includes(thrown.kind)) return null;
    throw thrown;
  }
}

/** Which kind of failure this is, for logs. */
export function failureKind(thrown: unknown): string {
  return thrown instanceof GitHubError ? thrown.kind : 'unknown';
}
