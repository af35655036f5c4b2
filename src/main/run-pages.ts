/** Puts the run pages together: with Redis and GitHub behind a server, or for the files of this machine alone. */
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Redis } from 'ioredis';
import { createFileLogs, subjectOf, type FileLogs } from '../audit/logs.ts';
import { pinnedKey } from '../audit/seal.ts';
import type { Environment } from '../config/environment.ts';
import { CofferdamError, toRunError } from '../domain/errors.ts';
import type { Logger } from '../telemetry/log.ts';
import { createLogin } from '../github/login.ts';
import { createAnnouncedKeys } from '../queue/announced-keys.ts';
import { createRunEvents } from '../queue/events.ts';
import { createRunRecords } from '../queue/records.ts';
import { createRunQueue } from '../queue/runs.ts';
import { createShortLived } from '../queue/short-lived.ts';
import type { AccessMode } from '../web/access.ts';
import { loadLinkKey } from '../web/links.ts';
import { createRunPages, type RunPages } from '../web/pages.ts';
import type { RunIndex, RunLogs, ShortLived } from '../web/ports.ts';
import type { ListedRun } from '../web/view/list.ts';
import { auditDirectory } from './live-audit.ts';
import { QUEUE_PREFIX } from './worker.ts';

/** The runs that have an audit file here; the logs of workers are none. */
export function localRuns(logs: FileLogs): (limit: number) => Promise<ListedRun[]> {
  return async (limit) => {
    const runs: ListedRun[] = [];
    for (const { runId, changedMs } of (await logs.list()).slice(0, limit)) {
      const log = await logs.open(runId);
      const title = log === null ? undefined : await subjectOf(log);
      if (title !== undefined) runs.push({ runId, record: null, at: new Date(changedMs).toISOString(), title });
    }
    return runs;
  };
}

/** The keys that seals of files on this disk are checked with. */
export async function keysOnDisk(dataDir: string): Promise<string[]> {
  const key = await pinnedKey(dataDir);
  return key === undefined ? [] : [key];
}

const NO_QUEUE: RunIndex = {
  load: () => Promise.resolve(null),
  newest: () => Promise.resolve([]),
  place: () => Promise.resolve(null),
};
/** Nobody signs in where no login is asked for. */
const NO_STORE: ShortLived = {
  put: () => Promise.resolve(),
  get: () => Promise.resolve(null),
  take: () => Promise.resolve(null),
  remove: () => Promise.resolve(),
};

/** A server on loopback for the audit files of this machine: no queue, no login, this machine only. */
export async function serveLocalPages(options: {
  environment: Environment;
  directory: string;
  log: Logger;
}): Promise<{ url: string } & AsyncDisposable> {
  const { environment, directory, log } = options;
  const logs = createFileLogs(directory);
  // Its own address is part of what the pages are made with.
  const ready = Promise.withResolvers<RunPages>();
  const server = createServer((request, response) => {
    void ready.promise.then(async (pages) => {
      const answered = await pages(request, response);
      if (!answered) response.writeHead(302, { location: '/runs' }).end();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      reject(new CofferdamError('config', 'main.serveLocalPages', 'cannot listen on loopback', cause));
    });
    server.listen(0, '127.0.0.1', resolve);
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  ready.resolve(
    createRunPages({
      runs: NO_QUEUE,
      logs,
      localRuns: localRuns(logs),
      mode: { kind: 'local' },
      store: NO_STORE,
      linkKey: await loadLinkKey(environment.dataDir),
      publicUrl: url,
      githubUrl: environment.github.webUrl,
      sealKeys: { disk: () => keysOnDisk(environment.dataDir), announced: () => Promise.resolve([]) },
      log,
    }),
  );
  return {
    url,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const LOOPBACK = /^(?:127(?:\.\d{1,3}){3}|::1|localhost)$/;

/** Who may look. Errors: `config` when pages without login would be reachable from elsewhere. */
function accessMode(environment: Environment): AccessMode {
  const { pages, host, publicUrl, github, clientId, clientSecret } = environment;
  if (pages === 'local') {
    const named = publicUrl === undefined ? host : new URL(publicUrl).hostname.replace(/^\[|\]$/g, '');
    if (!LOOPBACK.test(host) || !LOOPBACK.test(named))
      throw new CofferdamError(
        'config',
        'main.accessMode',
        `COFFERDAM_PAGES=local shows every run to whoever reaches this server, so HOST and COFFERDAM_PUBLIC_URL must be loopback addresses; they are ${host} and ${publicUrl ?? 'not set'}`,
      );
    return { kind: 'local' };
  }
  if (clientId === undefined || clientSecret === undefined) return { kind: 'github', github: undefined };
  return { kind: 'github', github: createLogin({ ...github, clientId, clientSecret }) };
}

/** Where this process has no directory of its own, links of operators do not open anything; all else works. */
async function linkKey(dataDir: string, log: Logger): Promise<Buffer> {
  return loadLinkKey(dataDir).catch((thrown: unknown) => {
    log.warn(
      { dataDir, code: toRunError(thrown, 'main.linkKey').code },
      'no links for operators: the key cannot be kept',
    );
    return randomBytes(32);
  });
}

/** The audit's own file where this process can read it; else what the worker sent to the stream. */
function firstOf(files: FileLogs, stream: RunLogs): RunLogs {
  return {
    open: async (runId) => (await files.open(runId)) ?? stream.open(runId),
    removed: (runId) => files.removed(runId),
  };
}

/** The pages of a server that shares Redis with its workers. Errors: `config`. */
export async function serverPages(options: {
  environment: Environment;
  redis: Redis;
  prefix: string;
  log: Logger;
  undo: AsyncDisposableStack;
}): Promise<RunPages> {
  const { environment, redis, log, undo } = options;
  const { dataDir, github, host, port } = environment;
  const shared = { redis, prefix: QUEUE_PREFIX };
  const records = createRunRecords(shared);
  const queue = createRunQueue({ ...shared, records, installation: '', log });
  undo.defer(() => queue.close());
  const files = createFileLogs(auditDirectory(dataDir));
  return createRunPages({
    runs: {
      load: (runId) => records.load(runId),
      newest: (limit) => records.newest(limit),
      place: (runId) => queue.place(runId),
    },
    logs: firstOf(files, createRunEvents({ ...shared, log })),
    localRuns: localRuns(files),
    mode: accessMode(environment),
    store: createShortLived(shared),
    linkKey: await linkKey(dataDir, log),
    publicUrl: environment.publicUrl ?? `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    githubUrl: github.webUrl,
    sealKeys: { disk: () => keysOnDisk(dataDir), announced: () => createAnnouncedKeys(shared).all() },
    prefix: options.prefix,
    log,
  });
}
