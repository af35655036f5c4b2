import type { AuditEntry } from '../../src/domain/audit.ts';
import { CofferdamError } from '../../src/domain/errors.ts';
import { CommitSha, Digest, RunId } from '../../src/domain/ids.ts';
import { SandboxSettings } from '../../src/domain/policy.ts';
import type { ChangedFile, RunResult, RunSpec } from '../../src/domain/run.ts';
import type { EndReason } from '../../src/domain/final-state.ts';
import type { HeldFacts } from '../../src/domain/held.ts';
import type {
  AgentOutcome,
  ExecOptions,
  ExecResult,
  Gateway,
  Harvest,
  HeldLater,
  RunJob,
  RunPorts,
  RunProgress,
  Sandbox,
} from '../../src/run/ports.ts';

const RUN = RunId.parse('r0123456789ab');
const BASE = CommitSha.parse('a'.repeat(40));
const HEAD = CommitSha.parse('b'.repeat(40));
const DIGEST = Digest.parse(`sha256:${'c'.repeat(64)}`);

const SELF_TEST = { host: 'self-test.invalid', port: 0, allow: false, count: 3, bytesIn: 0, bytesOut: 0 };
const REACHED = { host: 'a.test', port: 443, allow: true, count: 1, bytesIn: 1, bytesOut: 1 };

export const SPEC: RunSpec = {
  runId: RUN,
  repository: 'acme/widgets',
  base: BASE,
  baseRef: 'main',
  branch: 'cofferdam/1-x-abc',
  task: 'do it',
  title: 'fix: it',
  agent: 'opencode',
  model: 'anthropic/claude-sonnet-4-5',
  image: 'img',
  limits: {
    maxCost: 1_000_000,
    repositoryDailyCost: 1e7,
    installationDailyCost: 1e7,
    timeoutMs: 60_000,
    maxTurns: 10,
    stepMs: 60_000,
    idleMs: 60_000,
  },
  policy: { rules: [], deny: [], gitRepositories: [] },
  policyDigest: DIGEST,
  env: {},
  setup: [],
  verify: ['npm test'],
  protectedPaths: [],
  hold: 'protected',
};

export const JOB: RunJob = {
  runId: RUN,
  repository: 'acme/widgets',
  title: 'fix: it',
  task: 'do it',
  branch: 'cofferdam/1-x-abc',
  flags: {},
  requester: { login: 'mona', id: 7 },
  account: { repository: 'acme/widgets', installation: '1' },
  origin: {},
};

/** What a test may change about an otherwise successful run. */
export interface Scene {
  spec?: Partial<RunSpec>;
  agent?: (signal: AbortSignal) => Promise<AgentOutcome>;
  changed?: boolean;
  /** Files of the change. */
  files?: ChangedFile[];
  /** What a push would make CI do. */
  ci?: Harvest['ci'];
  /** Nothing can wait here. */
  noHeld?: boolean;
  exec?: (options: ExecOptions) => Promise<ExecResult>;
  selfTestOk?: boolean;
  /** The cap that is reached while the agent works. */
  caps?: EndReason;
  sandboxEnded?: Promise<{ reason: EndReason; message: string }>;
  publish?: () => Promise<never>;
  failing?: 'mirror' | 'plan' | 'gateway' | 'sandbox' | 'harvest' | 'finish';
  error?: Error;
  /** From this line on nothing can be recorded. */
  auditFailsAt?: number;
}

export interface World {
  ports: RunPorts;
  /** What is open now: must be empty when a run has ended. */
  open: Set<string>;
  audit: AuditEntry[];
  sealed: number;
  steps: RunProgress[];
  finished: RunResult[];
  published: RunResult[];
  execs: string[][];
  kept: HeldFacts[];
  noted: HeldLater[];
}

const never = <T>(): Promise<T> => new Promise<T>(() => undefined);

/** Ports that keep books instead of doing anything: they show which step runs after which outcome. */
export function world(scene: Scene = {}): World {
  const w: World = {
    ports: null as never,
    open: new Set(),
    audit: [],
    sealed: 0,
    steps: [],
    finished: [],
    published: [],
    execs: [],
    kept: [],
    noted: [],
  };
  const fail = (at: Scene['failing']): void => {
    if (scene.failing === at) throw scene.error ?? new Error(`${at ?? ''} failed`);
  };
  const unwritable = (): boolean => w.audit.length >= (scene.auditFailsAt ?? Infinity);
  const acquire = (name: string): string => {
    w.open.add(name);
    return name;
  };
  let count = 0;
  let reach: (reason: EndReason) => void = () => undefined;
  const capped = new Promise<EndReason>((resolve) => (reach = resolve));
  const gateway = (name: string, llm: boolean, looks = 0): Gateway => ({
    socketDir: '/nowhere',
    closed: never(),
    capped: llm ? capped : never(),
    refreshEgress: () => Promise.resolve(),
    egress: () => (looks++ === 0 ? [SELF_TEST] : [SELF_TEST, REACHED]),
    usage: () => ({ cost: 10, turns: 1, inputTokens: 1, outputTokens: 1 }),
    closeModel: () => Promise.resolve(),
    runAgent: ({ signal }) => {
      if (scene.caps !== undefined) reach(scene.caps);
      return scene.agent ? scene.agent(signal) : Promise.resolve({ stop: 'end_turn', summary: 'done' });
    },
    close: () => Promise.resolve(void w.open.delete(name)),
  });
  const sandbox = (name: string): Sandbox => ({
    id: name,
    ended: scene.sandboxEnded ?? never(),
    processRecord: () => 'complete',
    selfTest: () =>
      Promise.resolve({
        ok: scene.selfTestOk ?? true,
        checks: [{ name: 'gvisor', ok: scene.selfTestOk ?? true, observed: 'x' }],
      }),
    exec: (options) => {
      w.execs.push(options.argv);
      return scene.exec ? scene.exec(options) : Promise.resolve({ exitCode: 0, timedOut: false });
    },
    destroy: () => Promise.resolve(void w.open.delete(name)),
  });
  const harvest: Harvest = {
    repository: '/q',
    commit: HEAD,
    tree: 't',
    files: scene.files ?? [{ path: 'a', status: 'modified', additions: 1, deletions: 0 }],
    patch: '',
    patchTruncated: false,
    diffHash: DIGEST,
    ci: scene.ci ?? { exposure: 'none', reasons: [] },
    dispose: () => Promise.resolve(void w.open.delete('quarantine')),
  };
  w.ports = {
    repositories: {
      mirror: () => {
        fail('mirror');
        return Promise.resolve({ path: '/m', base: BASE, baseRef: 'main', defaultBranch: 'main' });
      },
    },
    planner: {
      plan: () => {
        fail('plan');
        return Promise.resolve({ spec: { ...SPEC, ...scene.spec }, sandbox: SandboxSettings.parse({}), manifest: {} });
      },
    },
    gateways: {
      open: ({ llm }) => {
        fail('gateway');
        count += 1;
        return Promise.resolve(gateway(acquire(`gateway-${count}`), llm));
      },
    },
    sandboxes: {
      create: () => {
        fail('sandbox');
        return Promise.resolve(sandbox(acquire(`sandbox-${count}`)));
      },
    },
    agents: { launch: () => ({ argv: ['agent'], env: {}, files: [], protocol: 'acp' }) },
    harvester: {
      harvest: async ({ message }) => {
        fail('harvest');
        if (scene.changed === false) return null;
        acquire('quarantine');
        await message({ tree: 't', files: harvest.files }).catch((thrown: unknown) => {
          w.open.delete('quarantine');
          throw thrown;
        });
        return harvest;
      },
    },
    publisher: {
      progress: (p) => w.steps.push(p),
      publish: ({ result }) => {
        w.published.push(result);
        return scene.publish
          ? scene.publish()
          : Promise.resolve({ branch: SPEC.branch, head: HEAD, pull: { number: 2, url: 'u' } });
      },
      finish: ({ result }) => {
        fail('finish');
        w.finished.push(result);
        return Promise.resolve();
      },
    },
    ...(scene.noHeld === true
      ? {}
      : {
          held: {
            keep: ({ held }) => Promise.resolve(void w.kept.push(held)),
            note: (_runId, later) => Promise.resolve(void w.noted.push(later)),
            load: () => Promise.resolve(null),
          },
        }),
    openAudit: () =>
      Promise.resolve({
        file: '/audit',
        append: (entry) => {
          if (w.sealed > 0) return Promise.reject(new Error('sealed'));
          if (unwritable()) return Promise.reject(new CofferdamError('audit', 'test', 'no space left'));
          w.audit.push(entry);
          return Promise.resolve();
        },
        head: () => DIGEST,
        seal: () => {
          if (unwritable()) return Promise.reject(new CofferdamError('audit', 'test', 'no space left'));
          w.sealed += 1;
          return Promise.resolve({ count: w.audit.length, head: DIGEST });
        },
        close: () => Promise.resolve(),
      }),
  };
  return w;
}
