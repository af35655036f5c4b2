import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createFileLogs } from '../../src/audit/logs.ts';
import type { RunId } from '../../src/domain/ids.ts';
import { keysOnDisk, localRuns } from '../../src/main/run-pages.ts';
import type { RunRecord } from '../../src/run/ports.ts';
import { createLogger } from '../../src/telemetry/log.ts';
import type { AccessMode } from '../../src/web/access.ts';
import { createRunPages } from '../../src/web/pages.ts';
import type { RunLogs, ShortLived } from '../../src/web/ports.ts';
import type { Directory } from '../audit/run-log.ts';

export const LINK_KEY = Buffer.alloc(32, 7);

export interface PagesStage extends AsyncDisposable {
  url: string;
  get: (path: string, headers?: Record<string, string>) => Promise<Response>;
  /** What the queue knows; tests put records in. */
  records: RunRecord[];
  store: Map<string, string>;
}

/** Values in memory, as the store of the product keeps them in Redis. */
function memoryStore(values: Map<string, string>): ShortLived {
  return {
    put: (key, value) => Promise.resolve(void values.set(key, value)),
    get: (key) => Promise.resolve(values.get(key) ?? null),
    take: (key) => {
      const value = values.get(key) ?? null;
      values.delete(key);
      return Promise.resolve(value);
    },
    remove: (key) => Promise.resolve(void values.delete(key)),
  };
}

/** The pages over the audit files of a directory, behind a real server on loopback. */
export async function pagesStage(
  dir: Directory,
  options: { mode?: AccessMode; logs?: RunLogs; githubUrl?: string; announced?: () => Promise<string[]> } = {},
): Promise<PagesStage> {
  const records: RunRecord[] = [];
  const store = new Map<string, string>();
  const logs = createFileLogs(dir.audit);
  const server = createServer((request, response) => {
    void pages(request, response).then((answered) => {
      if (!answered) response.writeHead(404).end('somebody else');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const pages = createRunPages({
    runs: {
      load: (runId: RunId) => Promise.resolve(records.find((one) => one.request.runId === runId) ?? null),
      newest: () => Promise.resolve([...records]),
      place: () => Promise.resolve({ ahead: 2 }),
    },
    logs: options.logs ?? logs,
    localRuns: localRuns(logs),
    mode: options.mode ?? { kind: 'local' },
    store: memoryStore(store),
    linkKey: LINK_KEY,
    publicUrl: url,
    githubUrl: options.githubUrl ?? 'https://github.example',
    sealKeys: { disk: () => keysOnDisk(dir.path), announced: options.announced ?? (() => Promise.resolve([])) },
    log: createLogger({ level: 'silent' }),
  });
  return {
    url,
    records,
    store,
    get: (path, headers = {}) => fetch(url + path, { redirect: 'manual', headers }),
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** A record as the queue keeps it. */
export function record(runId: RunId, patch: Partial<RunRecord> = {}, name = 'kettle'): RunRecord {
  return {
    request: {
      runId,
      deliveryId: 'd1',
      installationId: 1,
      repo: { id: 42, owner: 'octo', name, defaultBranch: 'main', private: true },
      source: {
        number: 12,
        title: 'parseTime does not understand "1h 30m"',
        isPull: false,
        url: `https://github.example/octo/${name}/issues/12`,
      },
      actor: { login: 'alice', id: 7, type: 'User' },
      command: { verb: 'run', text: '', flags: {} },
      input: { texts: [], frozenAt: '2026-11-25T08:59:00Z' },
      requestedAt: '2026-11-25T08:59:00Z',
    },
    installation: 'i',
    step: 'spec',
    state: 'running',
    worker: 'w',
    updatedAt: '2026-11-25T08:59:00Z',
    ...patch,
  };
}
