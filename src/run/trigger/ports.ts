import type { Decision } from '../../domain/decision.ts';
import type { EventType } from '../../domain/events/events.ts';
import type { RunId } from '../../domain/ids.ts';
import type { EgressEntry } from '../../domain/policy.ts';
import type { FailingCheck, LineComment } from '../../domain/review.ts';
import type { Actor, PullHead, ReactionTarget, RunRequest, Verb } from '../../domain/run.ts';
import type { Permission, Trigger } from '../../domain/trigger.ts';
import type { BudgetFacts, HelpFacts } from '../../policy/markdown/replies.ts';
import type { KeptFacts } from '../../policy/markdown/allow.ts';
import type { ConfigurationPorts } from './configuration.ts';
import type { HeldResult, HeldResults, Published, RunRecord } from '../ports.ts';

/** What the input of a run is made of. */
export type InputRepository = Pick<TriggerRepository, 'permission' | 'comments' | 'lineComments' | 'failingChecks'>;

/** What handling a trigger needs of GitHub, on the trigger's repository. All may fail with `github`. */
export interface TriggerRepository {
  /** May this person make Cofferdam act here, now? `askers`: of those who may write, only these; absent: all. */
  authority(actor: Actor, askers: readonly string[] | undefined): Promise<Decision>;
  /** With `id`: null also where the name belongs to another account by now. */
  permission(login: string, id?: number): Promise<Permission | null>;
  react(target: ReactionTarget, content: 'eyes' | 'confused', thread?: number): Promise<void>;
  removeLabel(number: number, label: string): Promise<void>;
  comments(number: number): Promise<ThreadText[]>;
  createComment(number: number, body: string): Promise<number>;
  pull(number: number): Promise<PullHead & { open: boolean; ours: boolean }>;
  /** Comments on lines of the diff, oldest first. */
  lineComments(number: number): Promise<LineComment[]>;
  /** Checks of others that failed on this commit. */
  failingChecks(sha: string): Promise<FailingCheck[]>;
}

export interface ThreadText {
  id: number;
  author: string;
  /** The account; absent: it is gone. */
  authorId?: number | undefined;
  authorType: string;
  body: string;
  createdAt: string;
  updatedAt: string;
  /** Written by this App. */
  ours: boolean;
}

export interface TriggerRuns {
  /** Where the run would stand, and how many others of the same person in the repository are not over; nothing is begun. `known`: it is queued, or further, already. */
  preview(request: RunRequest): Promise<{ place: TriggerPlace; mine: number } | { limit: string } | { known: true }>;
  enqueue(
    request: RunRequest,
  ): Promise<{ queued: true; place: TriggerPlace } | { queued: false; limit: string | null }>;
  place(runId: RunId): Promise<TriggerPlace | null>;
  cancel(runId: RunId, stop: { by: string; keep: boolean }): Promise<'removed' | 'signalled' | 'unknown'>;
  /** Nothing that was asked for on this thread before `at` (ISO 8601) is to go on, also what is not queued yet. */
  stopBefore(
    thread: { owner: string; name: string; number: number },
    stop: { by: string; keep: boolean; at: string },
  ): Promise<void>;
  /** The newest stop on this thread, when it came after `at`. */
  stopSince(
    thread: { owner: string; name: string; number: number },
    at: string,
  ): Promise<{ by: string; keep: boolean } | null>;
  load(runId: RunId): Promise<RunRecord | null>;
  /** Newest first. */
  ofThread(thread: { owner: string; name: string; number: number }): Promise<RunRecord[]>;
  /** Runs that work, or worked, on this branch; newest first. */
  ofBranch(branch: { owner: string; name: string; branch: string }): Promise<RunRecord[]>;
}

export interface TriggerPlace {
  ahead: number;
  behind?: RunId;
}

/** Offers what was allowed for one run for all of them; `record` resolves when it is on record that this branch will be made. */
export type KeepAllowed = (wanted: {
  trigger: Trigger;
  name: string;
  entry: EgressEntry;
  record: (branch: string) => Promise<void>;
}) => Promise<KeptFacts>;

/** Held results, as far as a trigger needs them. */
export interface TriggerHeld {
  load: HeldResults['load'];
  /** Publishes for the trigger's actor, and writes branch and pull request into the run's record; safe to repeat. */
  publish(options: { record: RunRecord; kept: HeldResult; trigger: Trigger }): Promise<Published>;
  /** Has the trigger handled where the result waits; `gone`: nobody is there. `key` tells apart what one delivery hands over. */
  handOver(trigger: Trigger, to: { host: string; key: string }): Promise<'taken' | 'gone'>;
  /** Where `load` looks. */
  host: string;
}

export interface TriggerPorts {
  /** Makes this delivery the one that acts on the event; null when another one has it. */
  claim(trigger: Trigger, runIds: RunId[]): Promise<RunId[] | null>;
  repository(trigger: Trigger): TriggerRepository;
  runs: TriggerRuns;
  newRunId(): RunId;
  /** Writes the first version of the status comment. Called before the run is queued: nothing else writes it yet. */
  announce(request: RunRequest, place: TriggerPlace): Promise<void>;
  /** Ends a run that was stopped before it began, where people wait for it. */
  withdrawn(record: RunRecord, by: string): Promise<void>;
  /** Records a decision about a trigger; must have been written when it resolves. */
  audit(entry: { type: EventType; trigger: Trigger; decision: Decision; data: Record<string, unknown> }): Promise<void>;
  budget(trigger: Trigger): Promise<BudgetFacts>;
  /** Logins and teams that are obeyed of those who may write; absent: all of them. */
  askers?: readonly string[] | undefined;
  /** What people may add to a run's ways out; absent: nothing. */
  mayAdd?: readonly EgressEntry[];
  /** Absent: what is allowed is for one run, and the person is told the line that would keep it. */
  keepAllowed?: KeepAllowed;
  /** Absent: proposed configurations are not looked at. */
  configuration?: ConfigurationPorts;
  /** Absent: results cannot wait here, and `publish` is not served. */
  held?: TriggerHeld;
  help: HelpFacts;
  /** The same for the trigger's repository, as its own file narrows it. May fail with `github`. */
  helpFor?(trigger: Trigger): Promise<HelpFacts>;
  runUrl?: (runId: RunId) => string;
  /** ISO 8601. */
  now(): string;
}

/** Verbs that are answered at once. */
const ANSWERED: readonly Verb[] = ['stop', 'status', 'budget', 'publish', 'help'];

/** Verbs that begin a run. */
export const RUN_VERBS: readonly Verb[] = ['run', 'plan', 'fix', 'continue', 'retry', 'allow'];

/** What `help` lists; any other verb is answered with "not available here". */
export const SERVED_VERBS: readonly Verb[] = [...RUN_VERBS, ...ANSWERED];
