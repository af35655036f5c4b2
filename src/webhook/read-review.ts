import { parseCommands } from '../command/parse.ts';
import { OWN_BRANCHES } from '../domain/run.ts';
import { freezeText } from '../domain/freeze.ts';
import type { Command } from '../domain/run.ts';
import { ReviewCommentCreated, ReviewSubmitted } from './payload.ts';
import {
  actionOf,
  actorOf,
  checked,
  isProgram,
  repoOf,
  sourceOf,
  threadText,
  type Delivery,
  type TriggerReading,
  type TriggerWords,
} from './reading.ts';

type Pull = ReviewSubmitted['pull_request'];

/** A review asks when it holds a command, or when it wants changes of a pull request that may be one of ours. */
export function readReview(delivery: Delivery, words: TriggerWords): TriggerReading {
  const parsed = ReviewSubmitted.safeParse(delivery.payload);
  if (!parsed.success) return { ignored: actionOf(delivery.payload) === 'submitted' ? 'payload' : 'event' };
  const { pull_request: pull, review, sender, repository, installation } = parsed.data;
  const { commands, problems } = parseCommands(review.body ?? '', { prefix: words.prefix });
  const spoken = commands.length + problems.length > 0;
  if (!spoken && review.state.toLowerCase() !== 'changes_requested') return { ignored: 'no_command' };
  if (!spoken && !mayBeOurs(pull)) return { ignored: 'not_ours' };
  if (isProgram(sender) || isProgram(review.user) || review.user.id !== sender.id) return { ignored: 'bot' };
  const text = freezeText({
    kind: 'review',
    id: review.id,
    author: review.user.login,
    authorId: review.user.id,
    updatedAt: review.submitted_at,
    body: review.body ?? '',
  });
  return checked({
    deliveryId: delivery.id,
    event: 'pull_request_review.submitted',
    key: reviewKey(repository.id, review.id),
    installationId: installation.id,
    repo: repoOf(repository),
    source: sourceOf(pull, true),
    actor: actorOf(sender),
    ...(spoken ? {} : { cause: 'review' as const }),
    reviewId: review.id,
    commands: spoken ? commands : [FOLLOW_UP],
    problems,
    texts: [threadText(pull, true), ...(text.body === '' ? [] : [text])],
    happenedAt: review.submitted_at,
  });
}

/** A comment on a line asks when it holds a command. */
export function readReviewComment(delivery: Delivery, words: TriggerWords): TriggerReading {
  const parsed = ReviewCommentCreated.safeParse(delivery.payload);
  if (!parsed.success) return { ignored: actionOf(delivery.payload) === 'created' ? 'payload' : 'event' };
  const { pull_request: pull, comment, sender, repository, installation } = parsed.data;
  const { commands, problems } = parseCommands(comment.body, { prefix: words.prefix });
  if (commands.length + problems.length === 0) return { ignored: 'no_command' };
  if (isProgram(sender) || isProgram(comment.user) || comment.user.id !== sender.id) return { ignored: 'bot' };
  const review = comment.pull_request_review_id;
  return checked({
    deliveryId: delivery.id,
    event: 'pull_request_review_comment.created',
    // What was sent as one review is answered as one: its comments come as deliveries of their own.
    key:
      typeof review === 'number' ? reviewKey(repository.id, review) : `review-comment:${repository.id}:${comment.id}`,
    installationId: installation.id,
    repo: repoOf(repository),
    source: { ...sourceOf(pull, true), reviewCommentId: comment.id },
    actor: actorOf(sender),
    ...(typeof review === 'number' ? { reviewId: review } : {}),
    commands,
    problems,
    texts: [threadText(pull, true)],
    happenedAt: comment.created_at,
  });
}

const FOLLOW_UP: Command = { verb: 'fix', text: '', flags: {} };

/** Only the worker can tell for certain; most pull requests of people end here. */
function mayBeOurs(pull: Pull): boolean {
  return pull.head.ref.startsWith(OWN_BRANCHES) && pull.user?.type === 'Bot';
}

function reviewKey(repositoryId: number, reviewId: number): string {
  return `review:${repositoryId}:${reviewId}`;
}
