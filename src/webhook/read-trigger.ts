import { freezeText } from '../domain/freeze.ts';
import { parseCommands } from '../command/parse.ts';
import type { Actor, Command, FrozenText, RepoRef, Source } from '../domain/run.ts';
import { Trigger } from '../domain/trigger.ts';
import { IssueCommentCreated, IssueLabeled } from './payload.ts';

/** Why a delivery asks for nothing. */
type Ignored = 'event' | 'payload' | 'bot' | 'label' | 'no_command';

export type TriggerReading = { trigger: Trigger } | { ignored: Ignored };

export interface TriggerWords {
  /** First word of a command, `/agent`. */
  prefix: string;
  /** Label that asks for a run, `agent`; with `:plan` behind it, for a plan. */
  label: string;
}

export interface Delivery {
  id: string;
  name: string;
  payload: unknown;
}

/** A verified delivery as a trigger, or why it is none. Pure; grants nothing: rights are looked up by the worker. */
export function readTrigger(delivery: Delivery, words: TriggerWords): TriggerReading {
  if (delivery.name === 'issues') return readLabel(delivery, words);
  if (delivery.name === 'issue_comment') return readComment(delivery, words);
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
    source: sourceOf(issue),
    actor: actorOf(sender),
    label: label.name,
    commands: [command],
    problems: [],
    texts: [threadText(issue)],
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
    updatedAt: comment.updated_at,
    body: comment.body ?? '',
  });
  return checked({
    deliveryId: delivery.id,
    event: 'issue_comment.created',
    key: `comment:${repository.id}:${comment.id}`,
    installationId: installation.id,
    repo: repoOf(repository),
    source: { ...sourceOf(issue), commentId: comment.id },
    actor: actorOf(sender),
    commands,
    problems,
    texts: [threadText(issue), text],
    happenedAt: comment.created_at,
  });
}

function checked(trigger: Trigger): TriggerReading {
  const parsed = Trigger.safeParse(trigger);
  return parsed.success ? { trigger: parsed.data } : { ignored: 'payload' };
}

function labelCommand(name: string, label: string): Command | undefined {
  const word = name.toLowerCase();
  if (word === label.toLowerCase()) return { verb: 'run', text: '', flags: {} };
  if (word === `${label.toLowerCase()}:plan`) return { verb: 'plan', text: '', flags: {} };
  return undefined;
}

function isProgram(person: { login: string; type: string }): boolean {
  return person.type !== 'User' || /\[bot\]$/i.test(person.login);
}

function actionOf(payload: unknown): unknown {
  return typeof payload === 'object' && payload !== null && 'action' in payload ? payload.action : undefined;
}

type Thread = IssueLabeled['issue'];

function repoOf(repository: IssueLabeled['repository']): RepoRef {
  const { id, name, owner } = repository;
  return { id, owner: owner.login, name, defaultBranch: repository.default_branch, private: repository.private };
}

function sourceOf(issue: Thread): Source {
  return {
    number: issue.number,
    title: issue.title,
    isPull: issue.pull_request !== null && issue.pull_request !== undefined,
    url: issue.html_url,
  };
}

function actorOf(sender: Actor): Actor {
  return { login: sender.login, id: sender.id, type: sender.type };
}

function threadText(issue: Thread): FrozenText {
  return freezeText({
    kind: sourceOf(issue).isPull ? 'pull' : 'issue',
    id: issue.id,
    author: issue.user?.login ?? 'ghost',
    updatedAt: issue.updated_at,
    title: issue.title,
    body: issue.body ?? '',
  });
}
