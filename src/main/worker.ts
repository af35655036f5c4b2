import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import type { Redis } from 'ioredis';
import { pinnedKey } from '../audit/seal.ts';
import type { Environment } from '../config/environment.ts';
import type { LoadedPolicy } from '../config/policy-file.ts';
import { CofferdamError } from '../domain/errors.ts';
import type { GitHub } from '../github/github.ts';
import { createGitHub } from '../github/github.ts';
import { createHeldResults } from '../harvest/held.ts';
import { createAnnouncedKeys } from '../queue/announced-keys.ts';
import type { RunEvents } from '../queue/events.ts';
import { createRunRecords, type RedisRunRecords } from '../queue/records.ts';
import { startRunWorker } from '../queue/run-worker.ts';
import { createRunQueue, type RunQueue } from '../queue/runs.ts';
import { createHosts, type Hosts } from '../queue/hosts.ts';
import { createTriggerQueue, type TriggerQueue } from '../queue/triggers.ts';
import { createWriteSlots } from '../queue/write-slots.ts';
import type { Ledger } from '../run/ledger.ts';
import type { HeldResults } from '../run/ports.ts';
import { handleTrigger } from '../run/trigger/handle.ts';
import type { Logger } from '../telemetry/log.ts';
import { newRunId, type Host } from './host.ts';
import { sweepHost } from './leftovers.ts';
import { auditDirectory } from './live-audit.ts';
import { placed } from './held-place.ts';
import { endLostRun } from './lost-runs.ts';
import { startRedelivery } from './redelivery.ts';
import { retentionOf, startRetention } from './retention.ts';
import { executeRequest, publisherFor } from './worker-run.ts';
import { createUntold, type Untold } from './untold.ts';
import { triggerPorts } from './worker-triggers.ts';

/** First part of every key in Redis; server and worker agree on it. */
export const QUEUE_PREFIX = 'cofferdam';

export interface WorkerOptions {
  environment: Environment & { appId: number; privateKey: string };
  policy: LoadedPolicy;
  host: Host;
  redis: Redis;
  ledger: Ledger;
  /** Where the lines of runs are handed on to; the host's audit writes into the same. */
  events: RunEvents;
  log: Logger;
}

/** What the parts of a worker share. */
export interface WorkerParts extends WorkerOptions {
  github: GitHub;
  records: RedisRunRecords;
  triggers: TriggerQueue;
  queue: RunQueue;
  hosts: Hosts;
  /** Results that wait for a person. */
  held: HeldResults;
  /** Ends of runs that GitHub could not be told yet. */
  untold: Untold;
  /** Who pays for runs, the same for all workers of this App. */
  payer: string;
  /** The App's own login; null where GitHub does not say. */
  bot: string | null;
}

export interface RunningWorker extends AsyncDisposable {
  /** This process's name in the queue. */
  readonly name: string;
}

/** How often the host is looked over for what dead runs left. */
const SWEEP_HOST_MS = 300_000;

/**
 * The process that acts: it takes triggers and runs from the queue, asks GitHub, and opens sandboxes.
 * Errors: `config` when GitHub does not know this App or does not answer.
 */
export async function startWorker(options: WorkerOptions): Promise<RunningWorker> {
  const { environment, policy, host, redis, log } = options;
  const { appId, privateKey } = environment;
  const slots = createWriteSlots({ redis, prefix: QUEUE_PREFIX });
  const github = createGitHub({ baseUrl: environment.github.apiUrl, appId, privateKey, slots, log });
  const bot = await introduce(github, policy, log);
  await using undo = new AsyncDisposableStack();
  const records = createRunRecords({ redis, prefix: QUEUE_PREFIX });
  const triggers = createTriggerQueue({ redis, prefix: QUEUE_PREFIX, log });
  undo.defer(() => triggers.close());
  const queue = createRunQueue({ redis, prefix: QUEUE_PREFIX, records, installation: host.installation, log });
  undo.defer(() => queue.close());
  const hosts = createHosts({ redis, prefix: QUEUE_PREFIX, log });
  undo.defer(() => hosts.close());
  const held = placed(createHeldResults({ dataDir: environment.dataDir }), { records, host: host.installation });
  const untold = createUntold({
    dataDir: environment.dataDir,
    publisherFor: (request) => publisherFor(parts, request),
    superseded: async ({ runId, repo, source }) => {
      const [newest] = await records.ofThread({ ...repo, number: source.number });
      return newest !== undefined && newest.request.runId !== runId;
    },
    log,
  });
  // Servers that do not see this disk check seals with it.
  const key = await pinnedKey(environment.dataDir);
  if (key !== undefined) await createAnnouncedKeys({ redis, prefix: QUEUE_PREFIX }).announce(host.installation, key);
  const rooms = { github, records, triggers, queue, hosts, held, untold };
  const parts: WorkerParts = { ...options, ...rooms, payer: `app-${appId}`, bot };
  const name = `${hostname()}-${process.pid}-${randomBytes(3).toString('hex')}`;
  await sweepHost(parts);
  const decisions = await host.openAudit(newRunId());
  undo.defer(async () => {
    await decisions.seal({ worker: name });
    await decisions.close();
  });
  await decisions.append({ zone: 'worker', type: 'worker.start', data: { worker: name, ...host.manifest } });
  const retention = retentionOf(policy.policy.audit);
  if (retention !== null)
    undo.use(startRetention({ directory: auditDirectory(environment.dataDir), retention, audit: decisions, log }));
  const runs = await startRunWorker({
    queue,
    worker: name,
    concurrency: policy.policy.limits.concurrentRuns,
    execute: (request, control) => executeRequest(parts, request, control),
    finalise: (record, why) => endLostRun(parts, record, why),
    gone: goneHere,
  });
  undo.defer(() => runs.close({ stop: true }));
  await runs.sweep();
  const ports = triggerPorts(parts, decisions);
  const asking = triggers.work((trigger) => handleTrigger(ports, trigger));
  undo.defer(() => asking.close());
  const here = triggers.work((trigger) => handleTrigger(ports, trigger), { host: host.installation });
  undo.defer(() => here.close());
  undo.use(await hosts.present(host.installation, name));
  const timer = setInterval(() => {
    sweepHost(parts).catch((thrown: unknown) => log.warn({ code: codeOf(thrown) }, 'host not swept'));
    void untold.tell();
  }, SWEEP_HOST_MS).unref();
  undo.defer(() => clearInterval(timer));
  void untold.tell();
  undo.use(startRedelivery({ github, log }));
  log.info({ worker: name, concurrency: policy.policy.limits.concurrentRuns }, 'worker started');
  const rest = undo.move();
  return { name, [Symbol.asyncDispose]: () => rest.disposeAsync() };
}

/** A worker of this host whose process is no more. In a container every worker may be process 1: then its signs of life decide. */
function goneHere(worker: string): boolean {
  const [, host, pid] = /^(.*)-(\d+)-[0-9a-f]{6}$/.exec(worker) ?? [];
  if (host !== hostname() || pid === undefined) return false;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ESRCH';
  }
}

/** Wrong credentials are said at the start, not at the first run. */
async function introduce(github: GitHub, { policy }: LoadedPolicy, log: Logger): Promise<string | null> {
  try {
    const { slug, permissions } = await github.check();
    log.info({ app: slug, permissions }, 'known to GitHub');
    const teams = policy.askers?.filter((asker) => asker.includes('/')) ?? [];
    if (teams.length > 0 && permissions['members'] === undefined) {
      log.warn(
        { teams, missing: 'members: read' },
        'the App may not see who is in the teams of askers: they let nobody in',
      );
    }
    return slug === '' ? null : `${slug}[bot]`;
  } catch (thrown) {
    if (thrown instanceof CofferdamError && thrown.code === 'config') throw thrown;
    throw new CofferdamError(
      'config',
      'main.introduce',
      `GitHub does not know this App or cannot be reached (${thrown instanceof Error ? thrown.message : String(thrown)}); check APP_ID, PRIVATE_KEY, GHE_HOST and GHE_PROTOCOL`,
      thrown,
    );
  }
}

function codeOf(thrown: unknown): string {
  return thrown instanceof CofferdamError ? thrown.code : 'internal';
}
