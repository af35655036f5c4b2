/**
 * The only way out of a sandbox: an HTTP proxy on the run's Unix socket. Default deny, every decision recorded before it
 * takes effect.
 *
 * Trust: everything that arrives on the socket is hostile. The socket's path is the run's identity; nothing that a client
 * says about itself counts.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { AuditEntry } from '../domain/audit.ts';
import type { EgressPolicy } from '../domain/policy.ts';
import type { EgressEntryFact } from '../domain/run.ts';
import { createBudget } from './budget.ts';
import { createDialer, type Dial, type Resolve } from './dialer.ts';
import { handleDirect } from './direct.ts';
import { createForward } from './forward.ts';
import { createHttpFront } from './front.ts';
import { GATEWAY_LIMITS, type GatewayLimits } from './limits.ts';
import { createListener } from './listener.ts';
import { createNames } from './names.ts';
import { withGithubAssets } from '../policy/egress/github.ts';
import { createRecorder, type Recorder } from './recorder.ts';
import { createRedirects } from './redirects.ts';
import { secretsByHost } from './scrub.ts';
import { createServices, SELF, type Service } from './services.ts';
import { createRunAuthority } from './tls/authority.ts';
import { createTrust, type Trust } from './tls/trust.ts';
import { handleConnect, type TunnelContext } from './tunnel.ts';

export interface GatewaySettings {
  policy: EgressPolicy;
  /** Writes one audit event; the gateway waits for it before anything goes on. */
  audit: (entry: AuditEntry) => Promise<void>;
  /** First label below cofferdam.internal → handler: `git`, `llm`. */
  services?: Readonly<Record<string, Service>>;
  /** Values of the credentials that rules name, by the name of their variable. */
  credentials?: Readonly<Record<string, string>>;
  /** What upstreams are verified with; default: what this Node trusts. */
  trust?: Trust;
  /** Names the run in its authority's certificate. */
  runName?: string;
  limits?: Partial<GatewayLimits>;
  resolve?: Resolve;
  dial?: Dial;
  /** Told, not more often than every few decisions, that `egress()` has changed. */
  onEgress?: () => void;
}

export interface RunningGateway {
  /** Binds the socket, with mode 0666: the directory decides who reaches it. Errors: `gateway`, `config`. */
  listen(socketPath: string): Promise<void>;
  /** PEM of this run's authority: what the sandbox has to trust for every host that is not passed through. */
  readonly authority: string;
  egress(): EgressEntryFact[];
  /** Ends every connection and writes the last counts. */
  close(): Promise<void>;
}

/** What the tunnels' ends may take when the gateway closes: their sockets are destroyed by then. */
const LAST_WORDS_MS = 2_000;

/** Preconditions: the policy has passed `lintPolicy`. */
export async function createGateway(settings: GatewaySettings): Promise<RunningGateway> {
  const { credentials = {}, trust = createTrust() } = settings;
  const policy = withGithubAssets(settings.policy);
  const limits: GatewayLimits = { ...GATEWAY_LIMITS, ...settings.limits };
  const stop = new AbortController();
  const { onEgress } = settings;
  const recorder = createRecorder({ append: settings.audit, limits, ...(onEgress ? { onChange: onEgress } : {}) });
  const authority = await createRunAuthority({ runName: settings.runName ?? 'run', policy });
  const services = createServices({ names: () => names, limits, recorder, services: settings.services ?? {} });
  const names = createNames({ policy, limits, recorder, internal: services.hosts });
  const dialer = createDialer({ resolve: settings.resolve, dial: settings.dial, limits, signal: stop.signal });
  const budget = createBudget(limits);
  const shared = { policy, limits, recorder, names, dialer, budget };
  const secrets = secretsByHost(policy, credentials);
  const reading = { ...shared, credentials, secrets, trust, authority, redirects: createRedirects() };
  const forward = createForward(reading);
  const context: TunnelContext = { ...shared, internal: services, http: forward.tunnel };
  const direct = createHttpFront({
    limits,
    recorder,
    handlers: {
      request: (request, response) => void handleDirect({ ...reading, services, forward }, request, response),
    },
  });
  const tunnels = new Set<Promise<void>>();
  const listener = createListener({
    limits,
    recorder,
    onConnect: (call) => {
      const tunnel = handleConnect(context, call).finally(() => tunnels.delete(tunnel));
      tunnels.add(tunnel);
    },
    onRequest: (socket, opening) => void direct.take(socket, opening, { host: SELF, port: 80 }),
  });
  const flusher = flushEvery(recorder, limits.flushMs);

  return {
    listen: (socketPath) => listener.listen(socketPath),
    authority: authority.certificate,
    egress: () => recorder.egress(),
    close: async () => {
      clearInterval(flusher);
      stop.abort();
      listener.close();
      for (const front of [direct, forward, services]) front.close();
      // A connection that is cut off by the end of the run has bytes, too.
      await Promise.race([Promise.allSettled(tunnels), delay(LAST_WORDS_MS, undefined, { ref: false })]);
      await recorder.flush();
    },
  };
}

function flushEvery(recorder: Recorder, ms: number): NodeJS.Timeout {
  const timer = setInterval(() => {
    recorder.flush().catch(() => undefined);
  }, ms);
  return timer.unref();
}
