/** One row per code: is a retry sensible, whose fault is it, and what the person on the issue or at the terminal reads. */
interface ErrorRow {
  retry: boolean;
  exitCode: number;
  /** One sentence that says what to do; the error's own message says what happened. */
  advice: string;
  /** The advice itself names the command `retry`: nothing else has to offer it. */
  namesRetry?: true;
}

const table = {
  usage: { retry: false, exitCode: 2, advice: 'See `cofferdam <command> --help`.' },
  config: { retry: false, exitCode: 2, advice: 'Correct the named setting and try again.' },
  policy: { retry: false, exitCode: 2, advice: 'Correct the policy file at the named line and try again.' },
  repository_file: { retry: false, exitCode: 2, advice: 'Correct `.github/cofferdam.yml` on the default branch.' },
  no_authority: { retry: false, exitCode: 2, advice: 'Ask somebody with write access to this repository.' },
  docker_unavailable: {
    retry: true,
    exitCode: 125,
    advice: 'The message names what is missing or cannot be reached; `cofferdam doctor` shows the state of this host.',
  },
  runtime_missing: {
    retry: false,
    exitCode: 125,
    advice: 'Register the gVisor runtime; `cofferdam doctor` shows how.',
  },
  redis_unavailable: { retry: true, exitCode: 125, advice: 'Start Redis or correct REDIS_URL.' },
  self_test: {
    retry: false,
    exitCode: 125,
    advice: 'The sandbox did not prove its isolation, so nothing ran in it; the audit file has the receipt.',
  },
  sandbox: { retry: true, exitCode: 125, advice: 'Try again; `cofferdam doctor` checks the host.' },
  oom: { retry: false, exitCode: 1, advice: 'Raise sandbox.memory or make the task smaller.' },
  disk: { retry: false, exitCode: 1, advice: 'Raise sandbox.disk or make the task smaller.' },
  gateway: { retry: true, exitCode: 125, advice: 'Try again; the audit file names what failed.' },
  clone: {
    retry: true,
    exitCode: 1,
    advice: 'Check that the repository can be read and has a default branch with a commit.',
  },
  setup: {
    retry: false,
    exitCode: 1,
    advice: 'Correct the `setup` command of `.github/cofferdam.yml`; its output is on the run page.',
  },
  agent: { retry: true, exitCode: 1, advice: 'Try again, or choose another agent or model.' },
  harvest: {
    retry: false,
    exitCode: 1,
    advice: 'The result was refused by the checks named above; nothing was pushed.',
  },
  github: {
    retry: true,
    exitCode: 1,
    advice: 'If GitHub did not answer, `/agent retry` tries again; if it refused, do first what the line above says.',
    namesRetry: true,
  },
  provider: {
    retry: true,
    exitCode: 1,
    advice: 'The model provider refused or did not answer; check its key and baseUrl.',
  },
  audit: {
    retry: false,
    exitCode: 125,
    advice: 'Free space in COFFERDAM_DATA_DIR: nothing runs without a durable record.',
  },
  timeout: { retry: false, exitCode: 124, advice: 'Raise limits.timeoutMinutes or make the task smaller.' },
  budget: { retry: false, exitCode: 126, advice: 'Raise limits.maxCostUsd or make the task smaller.' },
  cancelled: { retry: false, exitCode: 130, advice: 'Start it again with `/agent retry`.', namesRetry: true },
  internal: { retry: true, exitCode: 125, advice: 'This is a fault of Cofferdam; please report it with the log.' },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof table;

/** An error with a code from the table above, the operation (`room.function`) and its cause. Nothing matches on the message. */
export class CofferdamError extends Error {
  override readonly name = 'CofferdamError';
  readonly code: ErrorCode;
  readonly op: string;

  constructor(code: ErrorCode, op: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.op = op;
  }
}

export const ERROR_CODES = Object.keys(table) as ErrorCode[];

/** The row of a code: retry, exit code, advice. */
export function errorRow(code: ErrorCode): ErrorRow {
  return table[code];
}

/** Is another try sensible? An error may know better than the row of its code: what GitHub refuses for good is its own kind. */
export function mayHelpAgain(error: CofferdamError & { readonly retry?: unknown }): boolean {
  return typeof error.retry === 'boolean' ? error.retry : errorRow(error.code).retry;
}

/** The shape of a failure inside a result: what `RunResult.error` and JSON outputs carry. */
export interface RunError {
  code: ErrorCode;
  op: string;
  message: string;
  cause?: string;
}

/** Any thrown value as a `RunError`; an unknown one is `internal`. */
export function toRunError(thrown: unknown, op: string): RunError {
  if (thrown instanceof CofferdamError) {
    const cause = thrown.cause instanceof Error ? thrown.cause.message : undefined;
    return { code: thrown.code, op: thrown.op, message: thrown.message, ...(cause === undefined ? {} : { cause }) };
  }
  return { code: 'internal', op, message: thrown instanceof Error ? thrown.message : String(thrown) };
}
