import { once } from 'node:events';
import { access } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import type { Environment } from '../config/environment.ts';
import { CofferdamError } from '../domain/errors.ts';
import { RunId } from '../domain/ids.ts';
import { auditDirectory } from '../main/live-audit.ts';
import { serveLocalPages } from '../main/run-pages.ts';
import { createLogger } from '../telemetry/log.ts';
import { loadLinkKey, signTicket } from '../web/links.ts';

const MAX_MINUTES = 120;

/** A run, or an audit file named after one. */
function targetOf(target: string, environment: Environment): { runId: RunId; directory: string; isFile: boolean } {
  const id = RunId.safeParse(target);
  if (id.success) return { runId: id.data, directory: auditDirectory(environment.dataDir), isFile: false };
  const named = RunId.safeParse(basename(target).replace(/\.jsonl$/, ''));
  if (named.success) return { runId: named.data, directory: dirname(resolve(target)), isFile: true };
  throw new CofferdamError('usage', 'cli.open', `${target} is neither a run id nor an audit file named <run id>.jsonl`);
}

/** The address of the server that shows run pages. */
function serverUrl(environment: Environment): string {
  const { publicUrl, host, port } = environment;
  return publicUrl ?? `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/**
 * `cofferdam open`: prints a link to one run's page on the server, signed and valid for minutes. With `--serve`, or for a file, the page is
 * served on loopback by this process until it is stopped.
 */
export async function openCommand(options: {
  target: string;
  minutes?: string;
  serve?: boolean;
  environment: Environment;
  stdout: { write(text: string): unknown };
  signal: AbortSignal;
}): Promise<number> {
  const { environment, stdout, signal } = options;
  const { runId, directory, isFile } = targetOf(options.target, environment);
  if (options.serve === true || isFile) {
    await access(resolve(directory, `${runId}.jsonl`)).catch((cause: unknown) => {
      throw new CofferdamError('usage', 'cli.open', `there is no ${runId}.jsonl in ${directory}`, cause);
    });
    await using server = await serveLocalPages({
      environment,
      directory,
      log: createLogger({ level: environment.logLevel }),
    });
    stdout.write(`${server.url}/runs/${runId}\n`);
    if (!signal.aborted) await once(signal, 'abort');
    return 0;
  }
  const minutes = Number(options.minutes ?? 15);
  if (!Number.isInteger(minutes) || minutes < 1 || minutes > MAX_MINUTES)
    throw new CofferdamError('usage', 'cli.open', `--minutes: expected a whole number from 1 to ${MAX_MINUTES}`);
  const ticket = signTicket(await loadLinkKey(environment.dataDir), runId, Date.now() + minutes * 60_000);
  stdout.write(`${serverUrl(environment)}/runs/${runId}?${new URLSearchParams({ ticket }).toString()}\n`);
  return 0;
}
