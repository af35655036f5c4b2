/** Sends webhooks to the App, keeps the delivery log, and lets a test hold, reorder, duplicate and redeliver them. */
import { createHmac, randomUUID } from 'node:crypto';
import type { Contract } from './contract.ts';
import { GitHubError } from './errors.ts';
import { userJson } from './json/people.ts';
import { repositoryJson } from './json/repository.ts';
import type { Delivery, Installation } from './state.ts';
import { findUser, installationFor, nextId, nodeId, now, type OutgoingEvent, type World } from './world.ts';

/** GitHub gives a receiver ten seconds. */
const TIMEOUT_MS = 10_000;
const LOG_LENGTH = 1_000;

export interface WebhookTarget {
  /** Undefined: nothing is sent, but everything is logged and can be redelivered. */
  url: string | undefined;
  secret: string;
}

interface ReleaseOptions {
  order?: 'sent' | 'reversed';
  /** How often each held delivery is sent; more than one makes duplicates with the same GUID. */
  copies?: number;
}

export interface Webhooks {
  emit: (event: OutgoingEvent) => void;
  /** Sends a logged delivery again, with its GUID. */
  redeliver: (id: number) => Delivery;
  /** What GitHub sends when a webhook is set up. */
  ping: () => void;
  hold: () => void;
  release: (options?: ReleaseOptions) => void;
  /** Resolves when everything that may be sent has been answered. */
  idle: () => Promise<void>;
  stop: () => Promise<void>;
}

/** Always sent to the App, subscribed or not. */
const UNCONDITIONAL = new Set(['ping', 'installation', 'installation_repositories']);

function envelope(world: World, event: OutgoingEvent, installation: Installation | undefined): Record<string, unknown> {
  const { repository } = event;
  const owner = repository === null ? undefined : findUser(world, repository.owner);
  return {
    ...(event.action === null ? {} : { action: event.action }),
    ...event.payload,
    ...(repository === null ? {} : { repository: { ...repositoryJson(world, repository), custom_properties: {} } }),
    ...(owner?.type === 'Organization' ? { organization: organizationJson(world, owner.login) } : {}),
    sender: userJson(world, event.sender),
    ...(installation === undefined || 'installation' in event.payload
      ? {}
      : { installation: { id: installation.id, node_id: nodeId('INS', installation.id) } }),
  };
}

function organizationJson(world: World, login: string) {
  const { id, avatar_url } = userJson(world, login);
  const api = `${world.origin}/api/v3/orgs/${login}`;
  return {
    login,
    id,
    node_id: nodeId('O', Number(id)),
    url: api,
    repos_url: `${api}/repos`,
    events_url: `${api}/events`,
    hooks_url: `${api}/hooks`,
    issues_url: `${api}/issues`,
    members_url: `${api}/members{/member}`,
    public_members_url: `${api}/public_members{/member}`,
    avatar_url,
    description: null,
  };
}

export function schemaName(name: string, action: string | null): string {
  return [name, action]
    .filter((part) => part !== null)
    .join('-')
    .replaceAll('_', '-');
}

async function post(world: World, target: WebhookTarget, delivery: Delivery, signal: AbortSignal): Promise<void> {
  if (target.url === undefined) {
    delivery.status = 'no webhook URL';
    return;
  }
  const started = performance.now();
  try {
    const response = await fetch(target.url, {
      method: 'POST',
      redirect: 'manual',
      signal: AbortSignal.any([AbortSignal.timeout(TIMEOUT_MS), signal]),
      headers: {
        'content-type': 'application/json',
        'user-agent': 'GitHub-Hookshot/stand-in',
        'x-github-event': delivery.event,
        'x-github-delivery': delivery.guid,
        'x-github-hook-id': String(world.state.app.id),
        'x-github-hook-installation-target-id': String(world.state.app.id),
        'x-github-hook-installation-target-type': 'integration',
        'x-hub-signature-256': `sha256=${createHmac('sha256', target.secret).update(delivery.request).digest('hex')}`,
      },
      body: delivery.request,
    });
    delivery.response = (await response.text()).slice(0, 4_096);
    delivery.statusCode = response.status;
    delivery.status = response.ok ? 'OK' : `Invalid HTTP Response: ${response.status}`;
  } catch (error) {
    const timedOut = error instanceof Error && error.name === 'TimeoutError';
    delivery.status = timedOut ? 'timed out' : 'failed to connect to host';
  }
  delivery.duration = Math.round(performance.now() - started) / 1000;
}

/** The sender; deliveries go out one after the other in the order of their events. */
export function createWebhooks(options: { world: World; contract: Contract; target: WebhookTarget }): Webhooks {
  const { world, contract, target } = options;
  const queue: Delivery[] = [];
  let held = false;
  const ending = new AbortController();
  let pumping: Promise<void> = Promise.resolve();

  async function pump(): Promise<void> {
    while (!held && !ending.signal.aborted) {
      const next = queue.shift();
      if (next === undefined) return;
      next.deliveredAt = now(world);
      await post(world, target, next, ending.signal);
      world.changed();
    }
  }

  function enqueue(delivery: Delivery): void {
    world.state.deliveries.push(delivery);
    world.state.deliveries.splice(0, world.state.deliveries.length - LOG_LENGTH);
    queue.push(delivery);
    pumping = pumping.then(pump);
    world.changed();
  }

  function emit(event: OutgoingEvent): void {
    const installation = event.repository === null ? undefined : installationFor(world, event.repository);
    if (event.repository !== null && (installation === undefined || installation.suspendedAt !== null)) return;
    if (!UNCONDITIONAL.has(event.name) && !world.state.app.events.includes(event.name)) return;
    const payload = envelope(world, event, installation);
    const name = schemaName(event.name, event.action);
    const problems = contract.checkWebhook(name, payload);
    if (problems.length > 0) world.violations.push({ kind: 'webhook', where: name, details: problems });
    enqueue({
      id: nextId(world),
      guid: randomUUID(),
      event: event.name,
      action: event.action,
      deliveredAt: now(world),
      redelivery: false,
      installationId: installation?.id ?? null,
      repositoryId: event.repository?.id ?? null,
      duration: 0,
      status: 'pending',
      statusCode: 0,
      request: JSON.stringify(payload),
      response: '',
    });
  }

  return {
    emit,
    ping: () => {
      const { app } = world.state;
      const hook = {
        type: 'App',
        id: app.id,
        name: 'web',
        active: true,
        events: app.events,
        app_id: app.id,
        config: { content_type: 'json', insecure_ssl: '0', secret: '********', url: target.url ?? world.origin },
        created_at: app.createdAt,
        updated_at: app.createdAt,
      };
      const payload = { zen: 'Keep it logically awesome.', hook_id: app.id, hook };
      emit({ name: 'ping', action: null, repository: null, sender: app.owner, payload });
    },
    redeliver: (id) => {
      const first = world.state.deliveries.find((one) => one.id === id);
      if (first === undefined) throw new GitHubError(404, 'Not Found');
      const again = { ...first, id: nextId(world), redelivery: true, status: 'pending', statusCode: 0, response: '' };
      enqueue(again);
      return again;
    },
    hold: () => {
      held = true;
    },
    release: ({ order = 'sent', copies = 1 } = {}) => {
      held = false;
      const waiting = queue.splice(0);
      if (order === 'reversed') waiting.reverse();
      for (const delivery of waiting) for (let copy = 0; copy < copies; copy += 1) queue.push(delivery);
      pumping = pumping.then(pump);
    },
    idle: async () => {
      let seen;
      do {
        seen = pumping;
        await seen;
      } while (seen !== pumping);
    },
    stop: async () => {
      ending.abort();
      await pumping;
    },
  };
}
