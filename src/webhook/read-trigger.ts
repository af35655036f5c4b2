import { freezeText } from '../domain/freeze.ts';
import { parseCommands } from '../command/parse.ts';
import type { Command } from '../domain/run.ts';
import { IssueCommentCreated, IssueLabeled } from './payload.ts';
import { readButton } from './read-button.ts';
import { readSuite, readWorkflowRun } from './read-ci.ts';
import { readProposal } from './read-proposal.ts';
import { readReview, readReviewComment } from './read-review.ts';
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

/** A verified delivery as a trigger, or why it is none. Pure; grants nothing: rights are looked up by the worker. */
export function readTrigger(delivery: Delivery, words: TriggerWords): TriggerReading {
  if (delivery.name === 'issues') return readLabel(delivery, words);
  if (delivery.name === 'issue_comment') return readComment(delivery, words);
  if (delivery.name === 'pull_request_review') return readReview(delivery, words);
  if (delivery.name === 'pull_request_review_comment') return readReviewComment(delivery, words);
  if (delivery.name === 'check_suite') return readSuite(delivery);
  if (delivery.name === 'workflow_run') return readWorkflowRun(delivery);
  if (delivery.name === 'check_run') return readButton(delivery);
  if (delivery.name === 'pull_request') return readProposal(delivery);
  return { ignored: 'event' };
}

function readLabel(delivery: Delivery, words: TriggerWords): TriggerReading {
  const parsed = IssueLabeled.safeParse(delivery.payload);
  if (!parsed.success) return { ignored: actionOf(delivery.payload) === 'labeled' ? 'payload' : 'event' };
  const { issue, label, sender, repository, installation } = parsed.data;
  const command = labelCommand(label.name, words.label);
  if (command === undefined) return { ignored: 'label' };
  if (isProgram(sender)) return { ignored: 'bot' };
  return checked({
    deliveryId: delivery.id,
    event: 'issues.labeled',
    // A label can be put on again: the time at which the issue changed tells the two apart.
    key: `label:${repository.id}:${issue.number}:${label.name.toLowerCase()}:${issue.updated_at}`,
    installationId: installation.id,
    repo: repoOf(repository),
    source: sourceOf(issue, isPull(issue)),
    actor: actorOf(sender),
    label: label.name,
    commands: [command],
    problems: [],
    texts: [threadText(issue, isPull(issue))],
    happenedAt: issue.updated_at,
  });
}

function readComment(delivery: Delivery, words: TriggerWords): TriggerReading {
  const parsed = IssueCommentCreated.safeParse(delivery.payload);
  if (!parsed.success) return { ignored: actionOf(delivery.payload) === 'created' ? 'payload' : 'event' };
  const { issue, comment, sender, repository, installation } = parsed.data;
  const { commands, problems } = parseCommands(comment.body ?? '', { prefix: words.prefix });
  if (commands.length + problems.length === 0) return { ignored: 'no_command' };
  const viaApp = comment.performed_via_github_app !== null && comment.performed_via_github_app !== undefined;
  if (isProgram(sender) || isProgram(comment.user) || viaApp || comment.user.id !== sender.id)
    return { ignored: 'bot' };
  const text = freezeText({
    kind: 'comment',
    id: comment.id,
    author: comment.user.login,
    authorId: comment.user.id,
    updatedAt: comment.updated_at,
    body: comment.body ?? '',
  });
  return checked({
    deliveryId: delivery.id,
    event: 'issue_comment.created',
    key: `comment:${repository.id}:${comment.id}`,
    installationId: installation.id,
    repo: repoOf(repository),
    source: { ...sourceOf(issue, isPull(issue)), commentId: comment.id },
    actor: actorOf(sender),
    commands,
    problems,
    texts: [threadText(issue, isPull(issue)), text],
    happenedAt: comment.created_at,
  });
}

function labelCommand(name: string, label: string): Command | undefined {
  const word = name.toLowerCase();
  if (word === label.toLowerCase()) return { verb: 'run', text: '', flags: {} };
  if (word === `${label.toLowerCase()}:plan`) return { verb: 'plan', text: '', flags: {} };
  return undefined;
}

function isPull(issue: IssueLabeled['issue']): boolean {
  return issue.pull_request !== null && issue.pull_request !== undefined;
}
