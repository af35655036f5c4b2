import { z } from 'zod';
import type { RepoRef } from '../domain/run.ts';
import type { Call } from './call.ts';
import { unless } from './failure.ts';

/** An issue or a pull request as it is now. */
export interface ThreadFacts {
  id: number;
  number: number;
  title: string;
  body: string;
  author: string;
  /** Absent: the account is gone. */
  authorId?: number | undefined;
  updatedAt: string;
  isPull: boolean;
  open: boolean;
  url: string;
}

export interface LookVerbs {
  describe(): Promise<RepoRef>;
  /** Where the repository is by now, under whatever name, and whether it is archived. */
  whereabouts(): Promise<{ id: number; owner: string; name: string; archived: boolean }>;
  /** Null: there is none with this number. */
  thread(number: number): Promise<ThreadFacts | null>;
  /** Null: GitHub knows no such account. */
  person(login: string): Promise<{ login: string; id: number; type: string } | null>;
}

const Thread = z.object({
  id: z.number(),
  number: z.number(),
  title: z.string(),
  body: z.string().nullish(),
  user: z.object({ login: z.string(), id: z.number() }).nullish(),
  updated_at: z.string(),
  state: z.string(),
  html_url: z.string(),
  pull_request: z.object({}).nullish(),
});

/** Reads what a webhook would have carried. */
export function lookVerbs(call: Call): LookVerbs {
  return {
    async describe() {
      const { data } = await call('github.describe', { metadata: 'read' }, (octokit, at) => octokit.rest.repos.get(at));
      const { id, name, owner } = data;
      return { id, owner: owner.login, name, defaultBranch: data.default_branch, private: data.private };
    },
    async whereabouts() {
      const { data } = await call('github.whereabouts', { metadata: 'read' }, (octokit, at) =>
        octokit.rest.repos.get(at),
      );
      return { id: data.id, owner: data.owner.login, name: data.name, archived: data.archived };
    },
    async thread(number) {
      const answer = await unless(
        ['not_found', 'gone'],
        call('github.thread', { issues: 'read', metadata: 'read' }, (octokit, at) =>
          octokit.rest.issues.get({ ...at, issue_number: number }),
        ),
      );
      if (answer === null) return null;
      const { id, title, body, user, state, ...rest } = Thread.parse(answer.data);
      return {
        id,
        number,
        title,
        body: body ?? '',
        author: user?.login ?? 'ghost',
        authorId: user?.id,
        updatedAt: rest.updated_at,
        isPull: rest.pull_request !== null && rest.pull_request !== undefined,
        open: state === 'open',
        url: rest.html_url,
      };
    },
    async person(login) {
      const answer = await unless(
        ['not_found'],
        call('github.person', { metadata: 'read' }, (octokit) => octokit.rest.users.getByUsername({ username: login })),
      );
      return answer === null ? null : { login: answer.data.login, id: answer.data.id, type: answer.data.type };
    },
  };
}
