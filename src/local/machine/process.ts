import { spawn } from 'node:child_process';
import { CofferdamError } from '../../domain/errors.ts';

/** What a finished command left: its exit code and both outputs, each cut to their last 256 KiB. */
export interface CommandResult {
  exitCode: number;
  stdout: string;
  stderr: string;
}

export interface CommandOptions {
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** Ends the command (TERM) after this time. */
  timeoutMs?: number;
  signal?: AbortSignal | undefined;
}

const OUTPUT_CAP = 256 * 1024;

/**
 * Runs a command to its end without a shell and with its standard input closed.
 * Errors: `internal` when the program cannot be started, `cancelled` when the signal fired; an exit code is a result, not an error.
 */
export function runCommand(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const [file, ...args] = argv;
  if (file === undefined) throw new CofferdamError('internal', 'local.runCommand', 'an empty command');
  const timeout = options.timeoutMs === undefined ? [] : [AbortSignal.timeout(options.timeoutMs)];
  const signal = AbortSignal.any([...(options.signal === undefined ? [] : [options.signal]), ...timeout]);
  return new Promise((resolve, reject) => {
    let stdout = '';
    let stderr = '';
    const child = spawn(file, args, {
      cwd: options.cwd,
      env: options.env ?? process.env,
      stdio: ['ignore', 'pipe', 'pipe'],
      signal,
    });
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout = (stdout + text).slice(-OUTPUT_CAP)));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr = (stderr + text).slice(-OUTPUT_CAP)));
    child.on('error', (cause) => {
      const code = options.signal?.aborted === true ? 'cancelled' : 'internal';
      const what = signal.aborted ? `was stopped before it ended` : `cannot be started`;
      reject(new CofferdamError(code, 'local.runCommand', `\`${argv.join(' ')}\` ${what}`, cause));
    });
    child.on('close', (code) => resolve({ exitCode: code ?? -1, stdout, stderr }));
  });
}

/** Like {@link runCommand}, but an exit code other than 0 is an error (`docker_unavailable`) that shows the last lines of output. */
export async function mustRun(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const result = await runCommand(argv, options);
  if (result.exitCode === 0) return result;
  const tail = (result.stderr.trim() || result.stdout.trim()).split('\n').slice(-8).join('\n');
  throw new CofferdamError(
    'docker_unavailable',
    'local.mustRun',
    `\`${argv.join(' ')}\` ended with exit code ${result.exitCode}:\n${tail}`,
  );
}

/** The same command as root: unchanged for root, through sudo for everybody else (which asks on the terminal if it has to). */
export function asRoot(argv: readonly string[]): string[] {
  return process.getuid?.() === 0 ? [...argv] : ['sudo', ...argv];
}

/**
 * Makes sure that {@link asRoot} will work, before anything depends on it: sudo may ask for a password on the terminal now.
 * Errors: `docker_unavailable`, with what to do, when neither root nor sudo can be had.
 */
export async function requireRoot(why: string, signal?: AbortSignal): Promise<void> {
  if (process.getuid?.() === 0) return;
  const way = `${why} needs root: run this as root, or as a user who may use sudo (on a terminal, if it asks for a password)`;
  // Without a terminal sudo must not ask; with one it asks there, not on standard input.
  const argv = process.stderr.isTTY ? ['sudo', '-v'] : ['sudo', '-n', 'true'];
  const allowed = await runCommand(argv, { signal }).then(
    (result) => result.exitCode === 0,
    (error: unknown) => {
      if (signal?.aborted === true) throw error;
      return false;
    },
  );
  if (!allowed) throw new CofferdamError('docker_unavailable', 'local.requireRoot', way);
}
