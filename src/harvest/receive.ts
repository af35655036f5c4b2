import { open } from 'node:fs/promises';
import { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { CofferdamError } from '../domain/errors.ts';
import { printable } from '../git/git.ts';
import type { ExecOptions, ExecResult } from '../run/ports.ts';
import { refused, type HarvestLimits } from './limits.ts';

const OP = 'harvest.receive';

/**
 * Runs the bundle command in the sandbox and writes its stdout to a file.
 * Errors: `harvest` when it fails, takes too long, or writes more than `limits.bundleBytes`; `cancelled`.
 */
export async function receiveBundle(options: {
  argv: string[];
  cwd: string;
  exec: (options: ExecOptions) => Promise<ExecResult>;
  file: string;
  limits: HarvestLimits;
  signal: AbortSignal;
}): Promise<number> {
  const { limits, signal } = options;
  const excess = new AbortController();
  const handle = await open(options.file, 'wx', 0o600);
  const state = { bytes: 0, failed: undefined as unknown };
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      state.bytes += chunk.length;
      // What comes after the limit is read and dropped, so that nobody waits for us while the command is being ended.
      if (state.bytes > limits.bundleBytes || state.failed !== undefined) {
        excess.abort();
        done();
        return;
      }
      // `write` may write a part only when the disk is nearly full.
      handle.appendFile(chunk).then(
        () => {
          done();
        },
        (error: unknown) => {
          state.failed = error;
          excess.abort();
          done();
        },
      );
    },
  });
  // An exec that was told to stop may still deliver; nobody listens any more.
  sink.on('error', () => undefined);
  const said = tail(4096);
  try {
    const result = await options
      .exec({
        argv: options.argv,
        user: 'agent',
        cwd: options.cwd,
        stdout: sink,
        stderr: said.sink,
        timeoutMs: limits.timeoutMs,
        signal: AbortSignal.any([signal, excess.signal]),
      })
      .catch((error: unknown) => {
        if (excess.signal.aborted) return { exitCode: -1, timedOut: false };
        throw error;
      });
    if (!excess.signal.aborted) {
      if (!sink.writableEnded) sink.end();
      await finished(sink);
    }
    if (signal.aborted) throw new CofferdamError('cancelled', OP, 'stopped while the tree was brought out');
    check(result, state, limits, said.text());
    return state.bytes;
  } finally {
    await handle.close();
  }
}

function check(
  result: ExecResult,
  state: { bytes: number; failed: unknown },
  limits: HarvestLimits,
  said: string,
): void {
  if (state.failed !== undefined) {
    throw new CofferdamError('harvest', OP, 'the result cannot be written to the data directory', state.failed);
  }
  if (state.bytes > limits.bundleBytes) throw refused(`it is larger than ${limits.bundleBytes} bytes`);
  if (result.timedOut) throw refused('bringing it out of the sandbox took too long');
  if (result.exitCode !== 0) {
    const prose = printable(said).slice(-500);
    throw refused(`git in the sandbox ended with ${result.exitCode}${prose === '' ? '' : `: ${prose}`}`);
  }
}

function tail(max: number): { sink: Writable; text: () => string } {
  let kept = Buffer.alloc(0);
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      kept = Buffer.concat([kept, chunk]).subarray(-max);
      done();
    },
  });
  return { sink, text: () => kept.toString('utf8') };
}
