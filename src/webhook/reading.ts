import { freezeText } from '../domain/freeze.ts';
import type { Actor, FrozenText, RepoRef, Source } from '../domain/run.ts';
import { Trigger } from '../domain/trigger.ts';
import type { IssueLabeled, Thread } from './payload.ts';

/** Why a delivery asks for nothing. */
type Ignored = 'event' | 'payload' | 'bot' | 'label' | 'no_command' | 'not_ours';

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

/** The trigger, when it is one. */
export function checked(trigger: Trigger): TriggerReading {
  const parsed = Trigger.safeParse(trigger);
  return parsed.success ? { trigger: parsed.data } : { ignored: 'payload' };
}

/** An account of a program. */
export function isProgram(person: { login: string; type: string }): boolean {
  return person.type !== 'User' || /\[bot\]$/i.test(person.login);
}

export function actionOf(payload: unknown): unknown {
  return typeof payload === 'object' && payload !== null && 'action' in payload ? payload.action : undefined;
}

export function repoOf(repository: IssueLabeled['repository']): RepoRef {
  const { id, name, owner } = repository;
  return { id, owner: owner.login, name, defaultBranch: repository.default_branch, private: repository.private };
}

export function actorOf(sender: Actor): Actor {
  return { login: sender.login, id: sender.id, type: sender.type };
}

export function sourceOf(thread: Thread, isPull: boolean): Source {
  return { number: thread.number, title: thread.title, isPull, url: thread.html_url };
}

/** Title and body, as this delivery carried them. */
export function threadText(thread: Thread, isPull: boolean): FrozenText {
  return freezeText({
    kind: isPull ? 'pull' : 'issue',
    id: thread.id,
    author: thread.user?.login ?? 'ghost',
    ...(thread.user?.id === undefined ? {} : { authorId: thread.user.id }),
    updatedAt: thread.updated_at,
    title: thread.title,
    body: thread.body ?? '',
  });
}
