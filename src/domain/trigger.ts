import { z } from 'zod';
import { CommitSha, RunId } from './ids.ts';
import { Actor, Command, FrozenText, RepoRef, RunCause, Source } from './run.ts';

/** GitHub's delivery GUID; also part of job ids and log lines, hence the narrow alphabet. */
export const DeliveryId = z.string().regex(/^[A-Za-z0-9-]{1,64}$/);

/** A line that began with the prefix and could not be understood; answered, never run. */
export const CommandProblem = z.object({
  kind: z.enum(['unknown_verb', 'unknown_flag', 'flag_value', 'too_many']),
  /** What was written: outside text. */
  word: z.string().max(200),
  /** The nearest word that is known. */
  nearest: z.string().optional(),
});
export type CommandProblem = z.infer<typeof CommandProblem>;

/**
 * What the server hands to the worker for one delivery: somebody asked for something. Nothing in it is authorised yet.
 * `texts` are exactly what the delivery carried, so that later edits change nothing.
 */
export const Trigger = z.object({
  deliveryId: DeliveryId,
  event: z.enum([
    'issues.labeled',
    'issue_comment.created',
    'pull_request_review.submitted',
    'pull_request_review_comment.created',
    'check_suite.completed',
    'workflow_run.completed',
    'check_run.requested_action',
    'pull_request.opened',
    'pull_request.synchronize',
    'pull_request.reopened',
  ]),
  /** The event's own identity, the same for every delivery of it. */
  key: z.string().min(1).max(400),
  installationId: z.number().int().positive(),
  repo: RepoRef,
  source: Source,
  actor: Actor,
  /** The label that asked, as the repository spells it. */
  label: z.string().optional(),
  /** Set when nobody wrote a command: it counts on a pull request of this App only. */
  cause: RunCause.optional(),
  /** The review that it belongs to. */
  reviewId: z.number().int().optional(),
  commands: z.array(Command).max(10),
  problems: z.array(CommandProblem).max(10),
  /** The button of a run's check run that was clicked. */
  button: z.object({ runId: RunId, identifier: z.string().max(20) }).optional(),
  /** The commits of a pull request that somebody proposes: looked at as data, asks for nothing. */
  proposal: z.object({ head: CommitSha, base: CommitSha }).optional(),
  /** The commit that failed. */
  head: z.object({ branch: z.string(), sha: CommitSha }).optional(),
  texts: z.array(FrozenText).max(4),
  /** When the event happened, as GitHub gave it (ISO 8601): texts edited later than this are not part of the input. */
  happenedAt: z.string(),
});
export type Trigger = z.infer<typeof Trigger>;

/** Where triggers go. `duplicate`: this delivery is already known; `full`: come back later. */
export interface TriggerSink {
  enqueue(trigger: Trigger): Promise<'accepted' | 'duplicate' | 'full'>;
}

/** Rights of a person in a repository, as GitHub's permission endpoint says. */
export const Permission = z.enum(['admin', 'write', 'read', 'none']);
export type Permission = z.infer<typeof Permission>;
