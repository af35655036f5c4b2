import type { RepositoryRef } from './call.ts';
import { createRepository, type GitHubRepository } from './repository.ts';
import { githubError, unless } from './failure.ts';
import { createTokens } from './tokens.ts';
import { createTransport, type Clock, type Transport } from './transport.ts';
import { writeGate, type WriteKind, type WriteSlots } from './writes.ts';
import type { Logger } from '../telemetry/log.ts';

export interface GitHubOptions {
  /** `https://api.github.com` or `<protocol>://<host>/api/v3`; no other host is ever called. */
  baseUrl: string;
  appId: number;
  privateKey: string;
  fetch?: typeof globalThis.fetch;
  /** Between two writes; GitHub asks for a second. */
  writeGapMs?: number;
  backoffMs?: number;
  maxWaitMs?: number;
  clock?: Clock;
  /** The count of an installation's writes that all workers share; absent: only this process's pace holds. */
  slots?: (installationId: number) => WriteSlots;
  log?: Logger;
}

export interface GitHub {
  /** `writes`: what its writes are for, which decides who goes first; default `result`. */
  repository(repository: RepositoryRef, options?: { writes?: WriteKind }): GitHubRepository;
  /** Asks GitHub who this App is. Errors: `github`, `config`. */
  check(): Promise<{ slug: string; permissions: Record<string, string>; events: string[] }>;
  /** The installation on this repository; null: there is none. Errors: `github`. */
  installationOf(repository: { owner: string; name: string }): Promise<number | null>;
  /** Asks GitHub to send deliveries again that failed since then; how many. */
  redeliverFailed(since: Date): Promise<number>;
}

/** Most deliveries that one sweep looks at. */
const PAGES = 10;

/** GitHub as one App sees it. */
export function createGitHub(options: GitHubOptions): GitHub {
  const { baseUrl, appId, privateKey } = options;
  const transport = createTransport({
    baseUrl,
    writeGapMs: options.writeGapMs ?? 1_000,
    backoffMs: options.backoffMs ?? 1_000,
    maxWaitMs: options.maxWaitMs ?? 120_000,
    clock: options.clock,
    ...(options.fetch === undefined ? {} : { fetch: options.fetch }),
  });
  const tokens = createTokens({ baseUrl, appId, privateKey, transport });
  return {
    repository(repository, { writes: kind = 'result' } = {}) {
      const slots = options.slots?.(repository.installationId);
      const gate = slots === undefined ? undefined : writeGate({ slots, kind, log: options.log });
      const counted: Transport = (url, init) => transport(url, init, gate);
      return createRepository({ repository, baseUrl, appId, transport: counted, tokens });
    },
    async check() {
      const octokit = await tokens.asApp();
      try {
        const { data } = await octokit.rest.apps.getAuthenticated();
        const permissions = Object.entries(data?.permissions ?? {}).filter(
          (entry): entry is [string, string] => typeof entry[1] === 'string',
        );
        return { slug: data?.slug ?? '', permissions: Object.fromEntries(permissions), events: data?.events ?? [] };
      } catch (thrown) {
        throw githubError(thrown, 'github.check');
      }
    },
    async installationOf({ owner, name: repo }) {
      const octokit = await tokens.asApp();
      const asked = octokit.rest.apps.getRepoInstallation({ owner, repo });
      const answer = await unless(
        ['not_found'],
        asked.catch((thrown: unknown) => {
          throw githubError(thrown, 'github.installationOf');
        }),
      );
      return answer?.data.id ?? null;
    },
    async redeliverFailed(since) {
      const octokit = await tokens.asApp();
      try {
        return await redeliver(octokit, since);
      } catch (thrown) {
        throw githubError(thrown, 'github.redeliverFailed');
      }
    },
  };
}

/** A delivery counts as failed when no attempt of it succeeded; each GUID is asked for once. */
async function redeliver(
  octokit: Awaited<ReturnType<ReturnType<typeof createTokens>['asApp']>>,
  since: Date,
): Promise<number> {
  const succeeded = new Set<string>();
  const failed = new Map<string, number>();
  let page = 0;
  for await (const { data } of octokit.paginate.iterator(octokit.rest.apps.listWebhookDeliveries, { per_page: 100 })) {
    page += 1;
    for (const delivery of data) {
      if (delivery.status_code >= 200 && delivery.status_code < 300) succeeded.add(delivery.guid);
      else if (Date.parse(delivery.delivered_at) >= since.getTime()) failed.set(delivery.guid, delivery.id);
    }
    const last = data.at(-1);
    if (page >= PAGES || last === undefined || Date.parse(last.delivered_at) < since.getTime()) break;
  }
  const again = [...failed].filter(([guid]) => !succeeded.has(guid));
  for (const [, id] of again) await octokit.rest.apps.redeliverWebhookDelivery({ delivery_id: id });
  return again.length;
}
