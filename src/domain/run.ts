import { z } from 'zod';
import { CommitSha, Digest, RunId } from './ids.ts';
import type { EgressPolicy, HoldSetting, Limits, PullSettings, Wire } from './policy.ts';
import type { RunError } from './errors.ts';
import type { HeldFacts } from './held.ts';
import type { EndReason, FinalState } from './final-state.ts';
import type { Steering } from './shown.ts';

export const RepoRef = z.object({
  id: z.number().int().optional(),
  owner: z.string().regex(/^[A-Za-z0-9._-]{1,100}$/),
  name: z.string().regex(/^[A-Za-z0-9._-]{1,100}$/),
  defaultBranch: z.string().min(1).max(255),
  private: z.boolean(),
});
export type RepoRef = z.infer<typeof RepoRef>;

/** `owner/name` in lower case: how repositories are compared everywhere. */
export function repoKey(repo: { owner: string; name: string }): string {
  return `${repo.owner}/${repo.name}`.toLowerCase();
}

export const Actor = z.object({ login: z.string(), id: z.number().int(), type: z.string() });
export type Actor = z.infer<typeof Actor>;

export const VERBS = [
  'run',
  'plan',
  'fix',
  'continue',
  'retry',
  'stop',
  'status',
  'budget',
  'allow',
  'publish',
  'help',
] as const;
export const Verb = z.enum(VERBS);
export type Verb = z.infer<typeof Verb>;

export const Command = z.object({
  verb: Verb,
  text: z.string(),
  flags: z.record(z.string(), z.string()),
});
export type Command = z.infer<typeof Command>;

/** One text that the agent may see, exactly as the webhook carried it. */
export const FrozenText = z.object({
  kind: z.enum(['issue', 'pull', 'comment', 'review', 'task', 'question', 'thread', 'check']),
  id: z.number().int().optional(),
  author: z.string(),
  /** The account, whatever it is called by now; absent: not known. Not part of the hash. */
  authorId: z.number().int().optional(),
  /** Had the author write access when the run was accepted? Absent: not looked up. */
  authorMayWrite: z.boolean().optional(),
  /** ISO 8601, as GitHub gave it. */
  updatedAt: z.string(),
  title: z.string().optional(),
  body: z.string(),
  sha256: Digest,
});
export type FrozenText = z.infer<typeof FrozenText>;

export const FrozenInput = z.object({ texts: z.array(FrozenText), frozenAt: z.string() });
export type FrozenInput = z.infer<typeof FrozenInput>;

/** Where a run came from and where it answers. `pull` is set when the thread is a pull request. */
export const Source = z.object({
  number: z.number().int().positive(),
  title: z.string(),
  isPull: z.boolean(),
  commentId: z.number().int().optional(),
  /** The comment on a line of a diff that asked; it counts apart from other comments. */
  reviewCommentId: z.number().int().optional(),
  url: z.string(),
});
export type Source = z.infer<typeof Source>;

/** How the branches begin that this App makes. */
export const OWN_BRANCHES = 'cofferdam/';

/** What is reacted to: a comment, a comment on a line, or the issue or pull request itself. */
export type ReactionTarget = { commentId: number } | { reviewCommentId: number } | { number: number };

/** The thing that asked. */
export function askedBy({ number, commentId, reviewCommentId }: Source): ReactionTarget {
  if (commentId !== undefined) return { commentId };
  return reviewCommentId === undefined ? { number } : { reviewCommentId };
}

/** What makes a run of itself, without a command. */
export const RunCause = z.enum(['review', 'ci']);
export type RunCause = z.infer<typeof RunCause>;

/** Head of the pull request that a follow-up works on. */
export const PullHead = z.object({
  number: z.number().int(),
  branch: z.string(),
  sha: CommitSha,
  base: z.string(),
  sameRepository: z.boolean(),
});
export type PullHead = z.infer<typeof PullHead>;

/** The branch of the repository itself that a follow-up works on. A fork's branch has at most its name in common with one. */
export function ownBranch(pull: PullHead | undefined): string | undefined {
  return pull?.sameRepository === true ? pull.branch : undefined;
}

/** A pull request from a fork that a run builds upon: its commits come along with whatever the run pushes. */
export interface ForkBase {
  /** The pull request. */
  pull: number;
  /** Where its history left that of the branch it asks to be merged into. */
  since: CommitSha;
}

/** What the worker enqueues once authority is checked and the input is frozen. */
export const RunRequest = z.object({
  runId: RunId,
  deliveryId: z.string(),
  installationId: z.number().int(),
  repo: RepoRef,
  source: Source,
  actor: Actor,
  command: Command,
  input: FrozenInput,
  cause: RunCause.optional(),
  pull: PullHead.optional(),
  requestedAt: z.string(),
});
export type RunRequest = z.infer<typeof RunRequest>;

/** The run manifest: frozen before anything starts, hashable. */
export interface RunSpec extends Steering {
  runId: RunId;
  /** `owner/name` for reports and ledgers. */
  repository: string;
  base: CommitSha;
  /** The ref that is cloned: a branch name. */
  baseRef: string;
  /** The one branch that may be pushed. */
  branch: string;
  task: string;
  title: string;
  agent: string;
  model: string | undefined;
  image: string;
  limits: Limits;
  policy: EgressPolicy;
  policyDigest: Digest;
  env: Record<string, string>;
  setup: string[];
  verify: string[];
  protectedPaths: string[];
  /** When the result waits for a person instead of being pushed. */
  hold: HoldSetting;
  /** Labels and reviewers of a new pull request; absent: none. */
  pull?: PullSettings;
  /** Set when `base` is the head of a pull request from a fork; `baseRef` is then the branch that it asks to be merged into. */
  fork?: ForkBase;
}

export interface Usage {
  /** Micro-dollars, settled. */
  cost: number;
  turns: number;
  inputTokens: number;
  outputTokens: number;
}

/** A command that the host ran and watched: a fact, never the agent's word. */
export interface CommandFact {
  command: string;
  exitCode: number;
  durationMs: number;
  /** Last part of its output, cut and neutralised. */
  tail: string;
}

/** One file of the result. */
export interface ChangedFile {
  path: string;
  status: 'added' | 'modified' | 'deleted' | 'renamed' | 'type_changed';
  additions: number;
  deletions: number;
  /** Class of protected files that it belongs to. */
  protectedClass?: string;
}

/** Egress of a run as the gateway saw it: one entry per host, port and verdict, with an exact count. */
export interface EgressEntryFact {
  host: string;
  /** 0 for a name that was refused at look-up. */
  port: number;
  allow: boolean;
  reason?: string;
  count: number;
  bytesIn: number;
  bytesOut: number;
}

/**
 * What is known of the processes in a run's sandboxes: everything that gVisor's kernel reported, that with gaps, or nothing
 * (the operator allowed runs without a record, and this host cannot keep one).
 */
export type ProcessRecord = 'complete' | 'gaps' | 'none';

/** A result that is handed over as a patch. */
export interface PatchFacts {
  /** Why it is no pull request. */
  why: string;
  /** Beginning of the patch, for people; it applies to `base`. */
  text: string;
  cut: boolean;
  base: CommitSha;
}

/** Failure has the shape of success. */
export interface RunResult {
  runId: RunId;
  state: FinalState;
  reason?: EndReason;
  head?: CommitSha;
  /** The branch that holds the result, when one was pushed or made. */
  branch?: string;
  pull?: { number: number; url: string };
  usage: Usage;
  verification: CommandFact[];
  files: ChangedFile[];
  /** The patch that was kept ends before the change does; the commit has all of it. */
  patchCut?: true;
  egress: EgressEntryFact[];
  /** Set with the state `held`. */
  held?: HeldFacts;
  /** The result itself, where it could not become a pull request. */
  patch?: PatchFacts;
  /** Absent when no sandbox was started. */
  processRecord?: ProcessRecord;
  /** What the agent said last: prose, never a fact. */
  agentSummary?: string;
  startedAt: string;
  endedAt: string;
  error?: RunError;
  auditFile?: string;
  auditHead?: Digest;
}

/** What an agent adapter needs to know about the model of the run. */
export interface ModelChoice {
  provider: string;
  model: string;
  wire: Wire;
}
