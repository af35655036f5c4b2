/**
 * A server on loopback that behaves as GitHub for the Apps, repositories and people it is told about: REST judged by GitHub's
 * own OpenAPI description, git over smart HTTP, signed webhooks, and plain pages. For the demo and for tests; the product
 * reaches it only by its settings, as any other GitHub host.
 */
import { createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createRepositoryIn, ensureUserNamed, setTeamOf } from './people.ts';
import type { NewRepository } from './acts/repositories.ts';
import type { LoggedRequest, Api } from './api.ts';
import { contract } from './contract.ts';
import type { Fault } from './faults.ts';
import { createOAuth } from './oauth.ts';
import { createPages } from './pages/serve.ts';
import { readState, stateWriter } from './persistence.ts';
import { repositoryHandle, type RepositoryHandle } from './repository-handle.ts';
import { listen } from './server.ts';
import { emptyState, type App, type Delivery, type Permissions, type State, type Team, type User } from './state.ts';
import { createWebhooks, type Webhooks, type WebhookTarget } from './webhooks.ts';
import { botLogin, ensureUser, findRepository, type Violation, type World } from './world.ts';

export interface StandInOptions {
  /** Where the bare repositories (and with `keep` the state) live. */
  dir: string;
  /** Default 0: a free port. */
  port?: number;
  app?: Partial<Pick<App, 'id' | 'slug' | 'name' | 'owner' | 'permissions' | 'events'>> & {
    privateKeyPem?: string;
    clientSecret?: string;
    /** Where browsers may be sent back to after a sign-in; default: anywhere on loopback. */
    callbackUrls?: readonly string[];
  };
  webhook?: { url?: string; secret?: string };
  /** Milliseconds since the epoch; default `Date.now`. */
  clock?: () => number;
  /** Writes the state to `dir` and starts from it, so that a demo survives a restart. */
  keep?: boolean;
}

export interface StandIn {
  /** `http://127.0.0.1:PORT`; the API is below `/api/v3`. */
  readonly url: string;
  /** `127.0.0.1:PORT`, for GHE_HOST (with GHE_PROTOCOL http). */
  readonly host: string;
  readonly app: Readonly<App> & { privateKeyPem: string; webhookSecret: string; clientSecret: string; bot: string };
  /** What a real GitHub would not have accepted or answered; tests expect it to be empty. */
  readonly violations: Violation[];
  /** Every call of the API, without tokens. */
  readonly requests: LoggedRequest[];
  readonly deliveries: readonly Delivery[];
  readonly webhooks: Webhooks;
  readonly state: Readonly<State>;
  setWebhook: (target: { url: string; secret?: string }) => void;
  createUser: (login: string, more?: { name?: string; type?: User['type'] }) => User;
  createRepository: (repository: NewRepository & { fromDir?: string }) => Promise<RepositoryHandle>;
  /** A team of an organisation and its members; null deletes it. */
  setTeam: (org: string, slug: string, members: Team['members'] | null) => void;
  repo: (owner: string, name: string) => RepositoryHandle;
  /** A token of a person for git and the API. */
  userToken: (login: string) => string;
  /** A one-time code, as the manifest flow hands to its redirect. */
  manifestCode: () => string;
  fault: (fault: Fault) => void;
  /** Resolves with the first value that is neither undefined, null nor false; looked at again after every change. */
  waitFor: <T>(
    look: () => T | undefined | null | false,
    options?: { timeoutMs?: number; what?: string; signal?: AbortSignal },
  ) => Promise<T>;
  stop: () => Promise<void>;
}

const PERMISSIONS: Permissions = {
  actions: 'read',
  checks: 'write',
  contents: 'write',
  issues: 'write',
  metadata: 'read',
  pull_requests: 'write',
};

const EVENTS = [
  'check_run',
  'check_suite',
  'issue_comment',
  'issues',
  'pull_request',
  'pull_request_review',
  'pull_request_review_comment',
  'push',
];

function newApp(options: StandInOptions['app'], at: number): App {
  const slug = options?.slug ?? 'cofferdam';
  return {
    id: options?.id ?? 4_711,
    slug,
    name: options?.name ?? 'Cofferdam',
    clientId: `Iv23${slug}`,
    owner: options?.owner ?? 'octo-owner',
    permissions: options?.permissions ?? PERMISSIONS,
    events: options?.events ?? EVENTS,
    createdAt: new Date(at).toISOString().replace(/\.\d+Z$/, 'Z'),
  };
}

function newKey(): string {
  return generateKeyPairSync('rsa', { modulusLength: 2048 })
    .privateKey.export({ type: 'pkcs8', format: 'pem' })
    .toString();
}

/** One piece of work at a time per key, in order. */
function mutexes(): World['exclusively'] {
  const tails = new Map<number, Promise<unknown>>();
  return (key, work) => {
    const tail = tails.get(key) ?? Promise.resolve();
    const next = tail.then(work, work);
    tails.set(
      key,
      next.catch(() => undefined),
    );
    return next;
  };
}

interface Watchers {
  notify: () => void;
  waitFor: StandIn['waitFor'];
}

function watchers(): Watchers {
  const looks = new Set<() => void>();
  return {
    notify: () => {
      for (const look of [...looks]) queueMicrotask(look);
    },
    waitFor: <T>(
      look: () => T | undefined | null | false,
      options: { timeoutMs?: number; what?: string; signal?: AbortSignal } = {},
    ) =>
      new Promise<T>((resolve, reject) => {
        const { timeoutMs = 60_000, what = 'what was waited for', signal } = options;
        const finish = (end: () => void): void => {
          looks.delete(check);
          clearTimeout(timer);
          signal?.removeEventListener('abort', stop);
          end();
        };
        const stop = (): void => finish(() => reject(new Error(`${what}: the wait was ended`)));
        const timer = setTimeout(
          () => finish(() => reject(new Error(`${what}: not within ${timeoutMs} ms`))),
          timeoutMs,
        );
        const check = (): void => {
          try {
            const found = look();
            if (found !== undefined && found !== null && found !== false) finish(() => resolve(found));
          } catch (error) {
            finish(() => reject(error instanceof Error ? error : new Error(String(error))));
          }
        };
        signal?.addEventListener('abort', stop, { once: true });
        looks.add(check);
        if (signal?.aborted === true) stop();
        else check();
      }),
  };
}

async function prepareWorld(options: StandInOptions, notify: () => void): Promise<World> {
  const clock = options.clock ?? Date.now;
  const gitDir = join(options.dir, 'git');
  await mkdir(gitDir, { recursive: true });
  const kept = options.keep === true ? await readState(options.dir) : undefined;
  const state = kept?.state ?? emptyState(newApp(options.app, clock()));
  const privateKey = options.app?.privateKeyPem ?? kept?.privateKeyPem ?? newKey();
  const world: World = {
    state,
    gitDir,
    origin: '',
    appPrivateKey: privateKey,
    appPublicKey: createPublicKey(privateKey).export({ type: 'spki', format: 'pem' }).toString(),
    webhookSecret: options.webhook?.secret ?? kept?.webhookSecret ?? randomBytes(24).toString('hex'),
    oauth: createOAuth(options.app ?? {}),
    manifestCodes: new Set(),
    clock,
    violations: [],
    changed: notify,
    emit: () => undefined,
    exclusively: mutexes(),
  };
  ensureUser(world, state.app.owner);
  ensureUser(world, botLogin(world), 'Bot');
  return world;
}

/** Starts the stand-in; it listens when the promise resolves. */
export async function startStandIn(options: StandInOptions): Promise<StandIn> {
  const watch = watchers();
  const world = await prepareWorld(options, watch.notify);
  const target: WebhookTarget = { url: options.webhook?.url, secret: world.webhookSecret };
  const webhooks = createWebhooks({ world, contract, target });
  world.emit = webhooks.emit;
  const api: Api = { world, contract, webhooks, faults: [], requests: [] };
  const server = await listen(api, createPages(api), options.port ?? 0);
  const writer = options.keep === true ? stateWriter(options.dir, world) : undefined;
  world.changed = () => {
    watch.notify();
    writer?.schedule();
  };
  return {
    url: world.origin,
    host: new URL(world.origin).host,
    get app() {
      const { appPrivateKey: privateKeyPem, webhookSecret } = world;
      const { clientSecret } = world.oauth;
      return { ...world.state.app, privateKeyPem, webhookSecret, clientSecret, bot: botLogin(world) };
    },
    violations: world.violations,
    requests: api.requests,
    get deliveries() {
      return world.state.deliveries;
    },
    webhooks,
    state: world.state,
    setWebhook: ({ url, secret }) => {
      target.url = url;
      if (secret !== undefined) target.secret = world.webhookSecret = secret;
    },
    createUser: (login, more) => ensureUserNamed(world, login, more),
    createRepository: (repository) => createRepositoryIn(world, repository),
    setTeam: (org, slug, members) => setTeamOf(world, org, { slug, members }),
    repo: (owner, name) => {
      const found = findRepository(world, owner, name);
      if (found === undefined) throw new RangeError(`no repository ${owner}/${name}`);
      return repositoryHandle(world, found);
    },
    userToken: (login) => {
      const token = `ghp_${randomBytes(27).toString('hex').slice(0, 36)}`;
      world.state.userTokens[token] = ensureUser(world, login).login;
      return token;
    },
    manifestCode: () => {
      const code = randomBytes(20).toString('hex');
      world.manifestCodes.add(code);
      return code;
    },
    fault: (fault) => {
      api.faults.push({ ...fault });
    },
    waitFor: watch.waitFor,
    stop: async () => {
      await webhooks.stop();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await writer?.flush();
    },
  };
}
