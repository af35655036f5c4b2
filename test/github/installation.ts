import { createServer } from 'node:http';
import { join } from 'node:path';
import type { AddressInfo } from 'node:net';
import { hiddenContentNotes } from '../../src/command/notes.ts';
import { parsePolicy } from '../../src/config/policy-file.ts';
import { checkRepositoryFile } from '../../src/config/repository-file.ts';
import { allow, type Decision } from '../../src/domain/decision.ts';
import type { Actor, RunRequest, RunResult } from '../../src/domain/run.ts';
import { placed } from '../../src/main/held-place.ts';
import { keepAllowed } from '../../src/main/keep-allowed.ts';
import { createPublisher, type GitHubPublisher } from '../../src/github/publisher.ts';
import { allowableHosts } from '../../src/policy/authority/buttons.ts';
import { createRunRecords } from '../../src/queue/records.ts';
import { startRunWorker, type RunWorkerOptions } from '../../src/queue/run-worker.ts';
import { createRunQueue, type RunQueue } from '../../src/queue/runs.ts';
import { createHosts } from '../../src/queue/hosts.ts';
import { createTriggerQueue } from '../../src/queue/triggers.ts';
import { createHeldResults } from '../../src/harvest/held.ts';
import { publishHeld } from '../../src/run/held.ts';
import type { HeldResults } from '../../src/run/ports.ts';
import { endedWithoutWorker } from '../../src/run/trigger/ended.ts';
import { handleTrigger } from '../../src/run/trigger/handle.ts';
import type { HelpFacts } from '../../src/policy/markdown/replies.ts';
import { SERVED_VERBS, type TriggerPorts } from '../../src/run/trigger/ports.ts';
import { createLogger } from '../../src/telemetry/log.ts';
import { createWebhookHandler } from '../../src/webhook/handler.ts';
import { eventually, startRedisServer } from '../queue/redis-server.ts';
import { newRunId } from '../queue/requests.ts';
import { whereOf } from './held.ts';
import { harvestOf, memoryAudit, pushTo, resultOf, settings, specOf } from './run.ts';
import { stage, type Stage } from './stage.ts';

const SECRET = 'a secret of the test';

/** What help says of an installation, before a repository's own file is looked at. */
export const HELP: HelpFacts = {
  prefix: '/agent',
  label: 'agent',
  verbs: SERVED_VERBS,
  maxCost: 5_000_000,
  timeoutMinutes: 30,
  agent: 'opencode',
};

export interface AuditedDecision {
  type: string;
  decision: Decision;
  data: Record<string, unknown>;
}

/** Server and worker on a stand-in and a Redis of the test's own; only what a run does in its sandbox is replaced. */
export interface Installation extends AsyncDisposable {
  here: Stage;
  url: string;
  secret: string;
  queue: RunQueue;
  audited: AuditedDecision[];
  /** Requests whose run began. */
  begun: RunRequest[];
  held: HeldResults;
  /** Another host: a worker with a disk of its own takes the triggers from now on, and this host only what is handed over to it. */
  moveTriggers: () => Promise<void>;
  /** No worker of the first host is there any more. */
  leave: () => Promise<void>;
  comeBack: () => Promise<void>;
  publisherOf: (request: RunRequest, approvedBy?: Actor) => GitHubPublisher;
  /** Waits until nothing is on its way any more. */
  settle: () => Promise<void>;
}

export type Execute = (
  request: RunRequest,
  publisher: GitHubPublisher,
  signal: AbortSignal,
) => ReturnType<RunWorkerOptions['execute']>;

export async function install(
  options: {
    execute?: Execute;
    concurrency?: number;
    permissions?: Record<string, 'read' | 'write'>;
    mayAdd?: TriggerPorts['mayAdd'];
    askers?: TriggerPorts['askers'];
    /** The operator's policy, as far as proposed configurations are measured by it. */
    policy?: string;
    /** What stands between the App and GitHub. */
    fetch?: typeof globalThis.fetch;
  } = {},
): Promise<Installation> {
  const staged = await stage(options.permissions);
  const { installationId, shop } = staged;
  const at = { installationId, owner: 'octo-owner', name: 'shop', id: shop.repository.id };
  const github = options.fetch === undefined ? staged.github : staged.connect({ fetch: options.fetch });
  const here: Stage = { ...staged, github, repository: github.repository(at) };
  const redisServer = await startRedisServer();
  const redis = await redisServer.open();
  const log = createLogger({ level: 'silent' });
  const records = createRunRecords({ redis, prefix: 'c' });
  const triggers = createTriggerQueue({ redis, prefix: 'c', log });
  const queue = createRunQueue({ redis, prefix: 'c', records, installation: 'i', log });
  const handler = await createWebhookHandler({ secret: SECRET, prefix: '/agent', label: 'agent', sink: triggers, log });
  const server = createServer((request, response) => void handler(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/api/github/webhooks`;
  here.standIn.setWebhook({ url, secret: SECRET });
  const policy = parsePolicy(options.policy ?? 'egress: { allow: [] }', 'policy.yml');
  const audited: AuditedDecision[] = [];
  const begun: RunRequest[] = [];
  const memory = memoryAudit();
  const hosts = createHosts({ redis, prefix: 'c', log });
  const held = placed(createHeldResults({ dataDir: join(here.dir, 'data') }), { records, host: 'first' });
  const publisherOf = (request: RunRequest, approvedBy?: Actor): GitHubPublisher =>
    createPublisher({
      repository: here.repository,
      request,
      push: pushTo(here),
      settings,
      hidden: hiddenContentNotes(request.input),
      approvedBy,
      askers: options.askers,
      ...(options.mayAdd === undefined ? {} : { mayAdd: options.mayAdd }),
      intervalMs: 0,
      log,
    });
  const portsOf = (host: string, held: HeldResults): TriggerPorts => ({
    claim: (trigger, runIds) => triggers.claim(trigger, runIds),
    repository: () => here.repository,
    runs: {
      ...queue,
      load: (runId) => records.load(runId),
      ofThread: (thread) => records.ofThread(thread),
      ofBranch: (branch) => records.ofBranch(branch),
    },
    newRunId,
    announce: (request, place) => publisherOf(request).queued(place),
    withdrawn: (record) =>
      publisherOf(record.request).finish({
        result: endedWithoutWorker(record, { why: 'cancelled', now: new Date().toISOString() }),
      }),
    audit: ({ type, decision, data }) => (audited.push({ type, decision, data }), Promise.resolve()),
    configuration: {
      claim: (trigger, runIds) => triggers.claim(trigger, runIds),
      repository: () => here.repository,
      check: (text) => checkRepositoryFile(text, { policy, agents: ['opencode'] }),
    },
    held: {
      host,
      handOver: (trigger, to) => hosts.handOver(trigger, to),
      load: (runId) => held.load(runId),
      publish: async ({ record, kept, trigger }) => {
        const published = await publishHeld({
          store: held,
          kept,
          publisher: publisherOf(record.request, trigger.actor),
          audit: {
            append: (entry) => {
              audited.push({
                type: entry.type,
                decision: entry.decision ?? allow('no decision'),
                data: entry.data ?? {},
              });
              return memory.append(entry);
            },
          },
          signal: new AbortController().signal,
        });
        await records.update(record.request.runId, { state: kept.result.state, ...whereOf(published) });
        return published;
      },
    },
    askers: options.askers,
    ...(options.mayAdd === undefined ? {} : { mayAdd: options.mayAdd }),
    keepAllowed: keepAllowed({
      repository: () => here.repository,
      installation: {
        policy: {
          ...policy,
          policy: { ...policy.policy, egress: { ...policy.policy.egress, mayAdd: [...(options.mayAdd ?? [])] } },
        },
        agents: ['opencode'],
      },
    }),
    budget: () => Promise.resolve({ maxCost: 1, repository: { spent: 0, cap: 1 }, installation: { spent: 0, cap: 1 } }),
    help: HELP,
    now: () => new Date().toISOString(),
  });
  let handling = 0;
  const handle =
    (ports: TriggerPorts): Parameters<typeof triggers.work>[0] =>
    async (trigger) => {
      handling += 1;
      await handleTrigger(ports, trigger).finally(() => (handling -= 1));
    };
  const first = portsOf('first', held);
  let triggerWorker = triggers.work(handle(first));
  const come = async (): Promise<() => Promise<void>> => {
    const handedOver = triggers.work(handle(first), { host: 'first' });
    const present = await hosts.present('first', 'w');
    return async () => {
      await present[Symbol.asyncDispose]();
      await handedOver.close();
    };
  };
  let leave = await come();
  const execute = options.execute ?? oneCommit(here);
  const runWorker = await startRunWorker({
    queue,
    worker: 'w',
    concurrency: options.concurrency ?? 2,
    stopPollMs: 50,
    execute: (request, { signal }) => {
      begun.push(request);
      return execute(request, publisherOf(request), signal);
    },
    finalise: async (record, why) => {
      const result = endedWithoutWorker(record, { why, now: new Date().toISOString() });
      await publisherOf(record.request).finish({ result });
      return result.state;
    },
  });
  return {
    here,
    url,
    secret: SECRET,
    queue,
    audited,
    begun,
    held,
    async leave() {
      await leave();
      leave = () => Promise.resolve();
    },
    async comeBack() {
      leave = await come();
    },
    async moveTriggers() {
      await triggerWorker.close();
      const other = createHeldResults({ dataDir: join(here.dir, 'other') });
      triggerWorker = triggers.work(handle(portsOf('second', other)));
    },
    publisherOf,
    async settle() {
      await here.standIn.webhooks.idle();
      await eventually(
        async () => {
          await here.standIn.webhooks.idle();
          const waiting = await redis.llen('c:triggers:wait');
          const active = (await redis.llen('c:triggers:active')) + (await redis.zcard('c:triggers:delayed'));
          const handed = (await redis.llen('c:triggers-first:active')) + (await redis.llen('c:triggers-first:wait'));
          return handed + waiting + active + handling === 0 && (await queue.line.open()).length === 0;
        },
        'everything is done',
        // What failed is tried again for half a minute by itself.
        240_000,
      );
      await here.standIn.webhooks.idle();
    },
    [Symbol.asyncDispose]: async () => {
      await triggerWorker.close();
      await leave();
      await hosts.close();
      await runWorker.close({ stop: true });
      await triggers.close();
      await queue.close();
      server.closeAllConnections();
      server.close();
      await redisServer.stop();
      await here[Symbol.asyncDispose]();
    },
  };
}

let contents = 0;

/** A run that ends like this, without a change. */
export async function ended(
  request: RunRequest,
  publisher: GitHubPublisher,
  patch: Pick<RunResult, 'state' | 'agentSummary'>,
): ReturnType<Execute> {
  const result = resultOf(request, { files: [], verification: [], ...patch });
  await publisher.finish({ result });
  const { state, agentSummary: question } = result;
  return { state, ...(state === 'needs_input' && question !== undefined ? { question } : {}) };
}

/** A run that changes one file and publishes it. */
export function oneCommit(here: Stage, patch: Partial<RunResult> = {}): Execute {
  return async (request, publisher, signal) => {
    contents += 1;
    const from = request.pull?.branch ?? 'main';
    using harvest = harvestOf(here, { from, content: `exports.add = (a, b) => a + b; // ${contents}\n` });
    const branch = request.pull?.branch ?? `cofferdam/${request.source.number}-x-${request.runId.slice(1, 5)}`;
    const audit = memoryAudit();
    const usage = { cost: 0, turns: 0, inputTokens: 0, outputTokens: 0 };
    publisher.progress({ runId: request.runId, step: 'agent', state: 'started', atMs: 1, usage, egress: [] });
    const result = resultOf(request, patch);
    const published = await publisher.publish({
      spec: specOf(request, harvest, { branch, baseRef: from }),
      harvest,
      result,
      audit,
      signal,
    });
    await publisher.finish({ result: { ...result, ...published }, seal: await audit.seal({}) });
    return {
      state: result.state,
      denied: allowableHosts(result.egress, [{ host: '*.docs.test' }]),
      ...whereOf(published),
    };
  };
}
