/** Puts the run pages together: with Redis and GitHub behind a server, or for the files of this machine alone. */
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createFileLogs, subjectOf, type FileLogs } from '../audit/logs.ts';
import type { Environment } from '../config/environment.ts';
import { CofferdamError } from '../domain/errors.ts';
import type { Logger } from '../telemetry/log.ts';
import { loadLinkKey } from '../web/links.ts';
import { createRunPages, type RunPages } from '../web/pages.ts';
import type { RunIndex, ShortLived } from '../web/ports.ts';
import type { ListedRun } from '../web/view/list.ts';

/** Where audit files are. */
export function auditDirectory(dataDir: string): string {
  return join(dataDir, 'audit');
}

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

export function installationKey(dataDir: string): () => Promise<string | undefined> {
  return () => readFile(join(dataDir, 'keys', 'audit.pem.pub'), 'utf8').catch(() => undefined);
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
      publicKey: installationKey(environment.dataDir),
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
