import type { Readable, Writable } from 'node:stream';
import type { AuditEntry } from '../domain/audit.ts';
import type { CommitSha, Digest, RunId } from '../domain/ids.ts';
import type { CiLook } from '../policy/diff/ci.ts';
import type { EgressPolicy, Limits, SandboxSettings } from '../domain/policy.ts';
import type {
  ChangedFile,
  EgressEntryFact,
  PatchFacts,
  ProcessRecord,
  RunRequest,
  RunResult,
  RunSpec,
  Usage,
} from '../domain/run.ts';
import type { EndReason, FinalState } from '../domain/final-state.ts';
import type { HeldFacts } from '../domain/held.ts';
import type { Step } from '../domain/step.ts';

/** The single writer of one run's audit file. `append` writes before it returns, and resolves when the line is as durable as it has to be (synced for `DURABLE_EVENTS`). */
export interface AuditLog {
  readonly file: string;
  append(entry: AuditEntry): Promise<void>;
  /** Hash of the last line written: what a trailer carries. */
  head(): Digest;
  /** Writes the last line and the signed seal beside the file; later events go to `<file>.seal`. */
  seal(data: Record<string, unknown>): Promise<{ count: number; head: Digest }>;
  close(): Promise<void>;
}

/** Git mirrors and quarantine, on the host. */
export interface Repositories {
  /**
   * Fetches (or makes) the bare mirror of the repository and resolves a ref.
   * Errors: `clone` when it is empty, has no such ref or cannot be read; `github` when the token was refused.
   */
  mirror(options: {
    repository: string;
    ref?: string;
    /** The head of a pull request from a fork: exactly this commit of `ref`, to be merged into the branch `onto`. */
    fork?: { commit: CommitSha; onto: string };
    signal: AbortSignal;
  }): Promise<Mirror>;
}

export interface Mirror {
  /** Directory of the bare repository. */
  path: string;
  base: CommitSha;
  baseRef: string;
  defaultBranch: string;
  /** With `fork`: where its history left that of `onto`. */
  since?: CommitSha;
}

/** What the gateway of one run is opened with. Credentials never appear here: the composition root adds them. */
export interface GatewayOptions {
  runId: RunId;
  policy: EgressPolicy;
  /** `owner/name` lower-case → directory of a bare repository served read-only. */
  git: Record<string, string>;
  /** False for verification and for runs without a provider. */
  llm: boolean;
  limits: Limits;
  /** Where the ledger charges. */
  account: { repository: string; installation: string };
  audit: AuditLog;
  signal: AbortSignal;
}

export interface Gateways {
  open(options: GatewayOptions): Promise<Gateway>;
}

/** A running gateway process. */
export interface Gateway {
  /** Host directory holding only `gateway.sock` and `ca.pem`; mounted read-only into the sandbox. */
  readonly socketDir: string;
  /** Resolves when the process is gone, with the reason when that was not asked for. */
  readonly closed: Promise<{ expected: boolean; message: string }>;
  /** Resolves with the cap that ended model access (`max_cost` or `max_turns`); never when none is reached. */
  readonly capped: Promise<EndReason>;
  /** As the gateway last told, a few times a second. */
  egress(): EgressEntryFact[];
  /** Resolves when `egress()` shows everything up to now, or the process is gone. */
  refreshEgress(): Promise<void>;
  usage(): Usage;
  /** Ends model access; everything else stays. */
  closeModel(reason: EndReason): Promise<void>;
  /**
   * Speaks the agent's protocol over its standard streams, inside the gateway process (it is hostile input).
   * Resolves when the agent is done; never rejects for what the agent does.
   */
  runAgent(options: AgentRun): Promise<AgentOutcome>;
  close(): Promise<void>;
}

export interface AgentRun {
  /** Raw standard streams of the agent's process in the sandbox. */
  stdin: Writable;
  stdout: Readable;
  agent: string;
  /** As it was launched. */
  configured?: boolean | undefined;
  cwd: string;
  prompt: string;
  onMessage: (message: AgentMessage) => void;
  /** Ends it with `idle` after so long without a message. */
  idleMs: number;
  signal: AbortSignal;
}

/** What the agent says while it works: prose and hints, for the audit and the live view. */
export type AgentMessage =
  | { kind: 'text'; text: string }
  | { kind: 'thought'; text: string }
  | { kind: 'tool'; id: string; title: string; status: string; toolKind?: string; input?: string; output?: string }
  | { kind: 'plan'; entries: { content: string; status: string }[] };

export interface AgentOutcome {
  /** `end_turn` and its kin, or `error`, `idle`, `cancelled`, `lost` (the streams ended). Says nothing about the work: the diff does. */
  stop: string;
  summary: string;
  error?: string;
  /** Messages beyond the caps and lines that were not the protocol's: read, but not reported. */
  dropped?: number;
}

export interface SandboxOptions {
  runId: RunId;
  /** Distinguishes the containers of one run: `agent`, `verify`. */
  role: string;
  settings: SandboxSettings;
  /** Directory with `gateway.sock`, mounted at `/run/cofferdam`. */
  socketDir: string;
  /** Wall-clock end, milliseconds since the epoch, also enforced by the portal. */
  deadline: number;
  /** Ports on which the portal listens for connections to any address. */
  ports: number[];
  /** What the sandbox's kernel reports, in order: hints. */
  onRecord?: (entry: AuditEntry) => void;
  signal: AbortSignal;
}

export interface Sandboxes {
  /** Creates and starts the container, sets the address, waits for the portal. Errors: `docker_unavailable`, `runtime_missing`, `sandbox`. */
  create(options: SandboxOptions): Promise<Sandbox>;
}

export interface ExecOptions {
  argv: string[];
  user: 'agent' | 'root';
  cwd?: string;
  env?: Record<string, string>;
  stdin?: Readable;
  stdout?: Writable;
  stderr?: Writable;
  /** Ends the command (not the sandbox) after this time; `timedOut` is set. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

export interface ExecResult {
  exitCode: number;
  timedOut: boolean;
}

export interface SandboxReceipt {
  ok: boolean;
  checks: { name: string; ok: boolean; observed: string }[];
}

export interface Sandbox {
  readonly id: string;
  /** Resolves with the reason when the container ends, or is being ended, without `destroy`: before any command fails because of it. */
  readonly ended: Promise<{ reason: EndReason | 'exited'; message: string }>;
  /** gVisor banner, blocked name, raw address, metadata address, foreign resolver, second socket. */
  selfTest(signal: AbortSignal): Promise<SandboxReceipt>;
  /** What `onRecord` was given so far is worth; final after `destroy`. */
  processRecord(): ProcessRecord;
  exec(options: ExecOptions): Promise<ExecResult>;
  /** Kills from outside and removes; safe to call twice; records what was left when it cannot. */
  destroy(): Promise<void>;
}

/** How the agent's process is started in the sandbox. Files are written before the start, below the agent's home. */
export interface AgentLaunch {
  argv: string[];
  env: Record<string, string>;
  files: { path: string; content: string }[];
  /** `acp`: `Gateway.runAgent` speaks with it; `command`: its output is the summary. */
  protocol: 'acp' | 'command';
}

export interface Agents {
  /** Errors: `config` for an agent that is not known. */
  launch(options: {
    agent: string;
    model: string | undefined;
    prompt: string;
    cwd: string;
    /** The repository's own configuration of the agent is read. */
    configured?: boolean | undefined;
  }): AgentLaunch;
}

export interface Harvester {
  /**
   * Streams a git bundle of the sandbox's tree out, checks it in quarantine and makes the one commit.
   * Errors: `harvest` with what was refused. Null when nothing changed.
   */
  harvest(options: {
    spec: RunSpec;
    mirror: Mirror;
    exec: (options: ExecOptions) => Promise<ExecResult>;
    workspace: string;
    /** Called once the tree is known and has passed every check; what it records is the checkpoint that the trailer names. */
    message: (facts: { tree: string; files: ChangedFile[] }) => Promise<CommitMessage>;
    signal: AbortSignal;
  }): Promise<Harvest | null>;
}

export interface CommitMessage {
  title: string;
  body: string;
  trailers: [string, string][];
}

export interface Harvest {
  /** Bare quarantine repository that holds `commit` (and, through alternates, the mirror). */
  repository: string;
  commit: CommitSha;
  tree: string;
  files: ChangedFile[];
  /** Unified diff, capped. */
  patch: string;
  patchTruncated: boolean;
  /** Hash of the whole diff: what `/agent publish` names. */
  diffHash: Digest;
  /** What a push would make the repository's CI do. */
  ci: CiLook;
  /** Of a run upon a pull request from a fork: all that a push would bring into the repository, the fork's commits included. */
  incoming?: Incoming;
  dispose(): Promise<void>;
}

/** A whole difference, of which a run's own change is only the last part. */
export interface Incoming {
  files: ChangedFile[];
  /** Unified diff, capped. */
  patch: string;
  patchTruncated: boolean;
}

/** Results that wait for a person, on this host. */
export interface HeldResults {
  /** Takes the harvest's repository over; it survives this process. Older results may have to go. Errors: `harvest`. */
  keep(options: { spec: RunSpec; harvest: Harvest; result: RunResult; held: HeldFacts }): Promise<void>;
  /** Adds what came later. A result that is not there is no failure. */
  note(runId: RunId, later: HeldLater): Promise<void>;
  /** Null: nothing of this run is kept, or not any more. */
  load(runId: RunId): Promise<HeldResult | null>;
}

export interface HeldLater {
  seal?: { count: number; head: Digest };
  receipt?: SandboxReceipt;
  /** Once it is published only the note of it is kept. */
  published?: Published;
}

export interface HeldResult extends HeldLater {
  spec: RunSpec;
  harvest: Harvest;
  /** As it would have been, had it been pushed at once. */
  result: RunResult;
  held: HeldFacts;
  /** ISO 8601. */
  keptAt: string;
}

export interface Published {
  /** Absent: nothing could be pushed, and `patch` is the result. */
  branch?: string;
  head: CommitSha;
  patch?: PatchFacts;
  pull?: { number: number; url: string };
  /** The base branch has moved since the run began. */
  baseMoved?: boolean;
}

/** Where the result goes: GitHub, or a local repository. */
export interface Publisher {
  /** The step that is running, for the status comment or the terminal; coalesced, never fails the run. */
  progress(progress: RunProgress): void;
  /** What the agent says, for a live view; optional. */
  message?(message: AgentMessage): void;
  /** Pushes the one branch and opens or updates the pull request. Errors: `github`, `no_authority`. */
  publish(options: {
    spec: RunSpec;
    harvest: Harvest;
    result: RunResult;
    audit: Pick<AuditLog, 'append'>;
    signal: AbortSignal;
  }): Promise<Published>;
  /** Final comment, reaction, check run. Called once per run, after the seal; idempotent. */
  finish(options: {
    result: RunResult;
    seal: { count: number; head: Digest };
    receipt: SandboxReceipt | undefined;
  }): Promise<void>;
}

export interface RunProgress {
  runId: RunId;
  step: Step;
  state: 'started' | 'done' | 'failed';
  /** Milliseconds since the run's start. */
  atMs: number;
  durationMs?: number;
  detail?: string;
  usage: Usage;
  egress: EgressEntryFact[];
}

/** Persisted state of a run, written at each step: what a sweeper or another worker needs to finish it. */
export interface RunRecord {
  request: RunRequest;
  installation: string;
  step: Step;
  state: FinalState | 'queued' | 'running';
  branch?: string;
  pull?: { number: number; url: string };
  checkRunId?: number;
  commentId?: number;
  /** Micro-dollars that it may cost; set when that is settled. */
  maxCost?: number;
  /** What the agent asked, in the state `needs_input`. */
  question?: string;
  /** Hosts that it was refused and that people may add: what its buttons stand for. */
  denied?: string[];
  /** Where the result waits, in the state `held`: only the workers of that host can publish it. */
  held?: { host: string; diffHash: string; files: number; keptAt: string };
  worker: string;
  updatedAt: string;
}

/** What is to be done, before the repository was looked at. */
export interface RunJob {
  runId: RunId;
  /** `owner/name`, or the path of a local repository. */
  repository: string;
  /** Branch, or `refs/pull/N/head`; default: the default branch. */
  ref?: string;
  /** Set when `ref` is the head of a pull request from a fork: its number, the commit that was asked about, where it is to be merged. */
  fork?: { pull: number; commit: CommitSha; onto: string };
  /** Title of the commit and of the pull request. */
  title: string;
  /** The frozen task text. */
  task: string;
  /** The one branch that may be pushed. */
  branch: string;
  /** `--max-cost`, `--timeout`, `--max-turns`, `--agent`, `--model` as the person wrote them. */
  flags: Record<string, string>;
  requester?: { login: string; id: number };
  /** Domain of addresses that name an account and reach nobody; default: github.com's. */
  noreply?: string;
  account: { repository: string; installation: string };
  /** What the manifest says of where the run came from. */
  origin: Record<string, unknown>;
}

/** Settles the operator's policy, the repository's file and the command's flags into the frozen spec. */
export interface Planner {
  /** Errors: `repository_file`, `policy`, `config`, `usage`. */
  plan(job: RunJob, mirror: Mirror, signal: AbortSignal): Promise<RunPlan>;
}

export interface RunPlan {
  spec: RunSpec;
  sandbox: SandboxSettings;
  /** Versions, price table, config: what the manifest records besides the spec. */
  manifest: Record<string, unknown>;
}

export interface RunPorts {
  repositories: Repositories;
  planner: Planner;
  gateways: Gateways;
  sandboxes: Sandboxes;
  agents: Agents;
  harvester: Harvester;
  publisher: Publisher;
  /** Absent: nothing can wait, so that a result that must is refused. */
  held?: HeldResults;
  openAudit: (runId: RunId) => Promise<AuditLog>;
}

export interface RunRecords {
  save(record: RunRecord): Promise<void>;
  load(runId: RunId): Promise<RunRecord | null>;
}
