import type { Octokit } from '@octokit/rest';
import { z } from 'zod';
import { CommitSha } from '../domain/ids.ts';
import { repoKey, type PullHead, type ReactionTarget } from '../domain/run.ts';
import { Permission } from '../domain/trigger.ts';
import { askVerbs, type AskVerbs } from './ask.ts';
import { authorityVerbs, type AuthorityVerbs } from './authority.ts';
import { GitHubError, githubError, unless } from './failure.ts';
import { lineVerbs, type LineVerbs } from './line-comments.ts';
import { lookVerbs, type LookVerbs } from './look.ts';
import { isOurs } from './ours.ts';
import type { FailingCheck } from '../domain/review.ts';
import { checkVerbs, type CheckVerbs } from './check-run.ts';
import { configurationVerbs, type ConfigurationVerbs } from './configuration.ts';
import { failingChecks } from './failing.ts';
import { caller, type Call, type RepositoryParts } from './call.ts';
import { setStateLabel, type ThreadState } from './state-label.ts';
import { proposalVerbs, type ProposalVerbs } from './propose.ts';
import type { TokenPermissions } from './tokens.ts';

export type ReactionContent = 'eyes' | 'rocket' | 'confused';

export interface ThreadComment {
  id: number;
  author: string;
  authorId: number | undefined;
  authorType: string;
  body: string;
  createdAt: string;
  updatedAt: string;
  /** Written by this App. */
  ours: boolean;
}

export interface PullState extends PullHead {
  open: boolean;
  /** Opened by this App. */
  ours: boolean;
}

/** The few verbs of GitHub that are used on one repository. All fail with `GitHubError`. */
export interface GitHubRepository
  extends AskVerbs, AuthorityVerbs, LineVerbs, CheckVerbs, ConfigurationVerbs, LookVerbs, ProposalVerbs {
  /** Null: GitHub knows no such person, or with `id`, the name belongs to another account by now. */
  permission(login: string, id?: number): Promise<Permission | null>;
  /** A locked conversation takes none; that is no failure. */
  react(target: ReactionTarget, content: ReactionContent, thread?: number): Promise<void>;
  /** A label that is not there is no failure. */
  removeLabel(number: number, label: string): Promise<void>;
  /** Leaves exactly this state's label on the thread, or none. */
  setStateLabel(number: number, options: { label: string; state: ThreadState | undefined }): Promise<void>;
  /** Oldest first, those changed since `since` when given. */
  comments(number: number): Promise<ThreadComment[]>;
  createComment(number: number, body: string): Promise<number>;
  /** `thread`: its number, so that a refusal can be told from a locked conversation. */
  editComment(id: number, body: string, thread?: number): Promise<void>;
  /** A comment that is not there is no failure. */
  deleteComment(id: number): Promise<void>;
  pull(number: number): Promise<PullState>;
  /** Checks of others that failed on this commit. */
  failingChecks(sha: string): Promise<FailingCheck[]>;
  /** The pull request of this branch of the repository, open or not. */
  pullOf(branch: string): Promise<{ number: number; url: string } | null>;
  createPull(pull: {
    branch: string;
    base: string;
    title: string;
    body: string;
    draft: boolean;
  }): Promise<{ number: number; url: string }>;
  /** The commit that a branch points to; null: there is no such branch. */
  headOf(branch: string): Promise<CommitSha | null>;
  /** Would GitHub take workflow files from this installation? */
  mayPushWorkflows(): Promise<boolean>;
  /**
   * Value of the Authorization header for git over HTTP. With `workflows` it may also change workflow files; an installation
   * without that permission fails with `permission`.
   */
  gitAuthorization(access: 'read' | 'write', options?: { workflows?: boolean }): Promise<string>;
}

const TALK: TokenPermissions = { issues: 'write', pull_requests: 'write', metadata: 'read' };
const PULLS: TokenPermissions = { pull_requests: 'write', contents: 'read', metadata: 'read' };

const Comment = z.object({
  id: z.number(),
  body: z.string().nullish(),
  user: z.object({ login: z.string(), id: z.number(), type: z.string().optional() }).nullish(),
  created_at: z.string(),
  updated_at: z.string(),
  performed_via_github_app: z.object({ id: z.number() }).nullish(),
});

const Pull = z.object({
  number: z.number(),
  state: z.string(),
  user: z.object({ login: z.string(), type: z.string().optional() }).nullish(),
  head: z.object({
    ref: z.string(),
    sha: CommitSha,
    repo: z.object({ name: z.string(), owner: z.object({ login: z.string() }) }).nullish(),
  }),
  base: z.object({ ref: z.string() }),
});

export function createRepository(parts: RepositoryParts): GitHubRepository {
  const call = caller(parts);
  const talk = talkVerbs(call, parts);
  return {
    ...talk,
    ...askVerbs(call),
    ...authorityVerbs(call, { repository: parts.repository, permission: talk.permission }),
    ...pullVerbs(call, parts),
    ...lineVerbs(call, parts),
    setStateLabel: (number, options) => setStateLabel(call, { number, ...options }),
    ...checkVerbs(call),
    ...configurationVerbs(call),
    ...lookVerbs(call),
    ...proposalVerbs(call),
    failingChecks: (sha) => failingChecks(call, { sha, appId: parts.appId }),
    async mayPushWorkflows() {
      const octokit = await parts.tokens.asApp();
      const { owner, name: repo } = parts.repository;
      try {
        const { data } = await octokit.rest.apps.getRepoInstallation({ owner, repo });
        return data.permissions.workflows === 'write';
      } catch (thrown) {
        throw githubError(thrown, 'github.mayPushWorkflows');
      }
    },
    async gitAuthorization(access, options = {}) {
      const { repository, tokens } = parts;
      const workflows = options.workflows === true ? { workflows: 'write' as const } : {};
      const scope = { ...repository, repositoryId: repository.id, permissions: { contents: access, ...workflows } };
      const token = await tokens.get(scope).catch((thrown: unknown) => {
        const missing = options.workflows === true && thrown instanceof GitHubError && thrown.kind === 'invalid';
        if (!missing) throw thrown;
        const detail = 'the change touches workflow files; missing permission: workflows=write';
        throw new GitHubError({ kind: 'permission', op: 'github.gitAuthorization', detail, cause: thrown });
      });
      return `Basic ${Buffer.from(`x-access-token:${token}`).toString('base64')}`;
    },
  };
}

type TalkVerb = 'permission' | 'react' | 'removeLabel' | 'comments' | 'createComment' | 'editComment' | 'deleteComment';

function talkVerbs(call: Call, parts: RepositoryParts): Pick<GitHubRepository, TalkVerb> {
  return {
    async permission(login, id) {
      const answer = await unless(
        ['not_found'],
        call('github.permission', { metadata: 'read' }, (octokit, at) =>
          octokit.rest.repos.getCollaboratorPermissionLevel({ ...at, username: login }),
        ),
      );
      if (answer === null || (id !== undefined && answer.data.user?.id !== id)) return null;
      // Anything that GitHub may add is no right.
      return Permission.catch('none').parse(answer.data.permission);
    },
    async react(target, content, thread) {
      const reacting = (octokit: Octokit, at: { owner: string; repo: string }): Promise<unknown> =>
        'commentId' in target
          ? octokit.rest.reactions.createForIssueComment({ ...at, comment_id: target.commentId, content })
          : 'reviewCommentId' in target
            ? octokit.rest.reactions.createForPullRequestReviewComment({
                ...at,
                comment_id: target.reviewCommentId,
                content,
              })
            : octokit.rest.reactions.createForIssue({ ...at, issue_number: target.number, content });
      await unless(['locked'], call('github.react', TALK, reacting, thread));
    },
    async removeLabel(number, label) {
      const remove = call('github.removeLabel', TALK, (octokit, at) =>
        octokit.rest.issues.removeLabel({ ...at, issue_number: number, name: label }),
      );
      await unless(['not_found'], remove);
    },
    async comments(number) {
      const login = await parts.tokens.login();
      const listed = await call('github.comments', TALK, (octokit, at) =>
        octokit.paginate(octokit.rest.issues.listComments, { ...at, issue_number: number, per_page: 100 }),
      );
      return z
        .array(Comment)
        .parse(listed)
        .map((comment) => threadComment(comment, { appId: parts.appId, login }));
    },
    async createComment(number, body) {
      const { data } = await call(
        'github.createComment',
        TALK,
        (octokit, at) => octokit.rest.issues.createComment({ ...at, issue_number: number, body }),
        number,
      );
      return data.id;
    },
    async editComment(id, body, thread) {
      const editing = (octokit: Octokit, at: { owner: string; repo: string }): Promise<unknown> =>
        octokit.rest.issues.updateComment({ ...at, comment_id: id, body });
      await call('github.editComment', TALK, editing, thread);
    },
    async deleteComment(id) {
      const remove = call('github.deleteComment', TALK, (octokit, at) =>
        octokit.rest.issues.deleteComment({ ...at, comment_id: id }),
      );
      await unless(['not_found'], remove);
    },
  };
}

function threadComment(comment: z.infer<typeof Comment>, app: { appId: number; login: string | null }): ThreadComment {
  const author = comment.user?.login ?? 'ghost';
  const authorType = comment.user?.type ?? 'User';
  const byLogin = app.login === null ? authorType === 'Bot' : author.toLowerCase() === app.login.toLowerCase();
  return {
    id: comment.id,
    author,
    authorId: comment.user?.id,
    authorType,
    body: comment.body ?? '',
    createdAt: comment.created_at,
    updatedAt: comment.updated_at,
    // An App that acts for a person is named too: only the bot account counts.
    ours: authorType === 'Bot' && (comment.performed_via_github_app?.id === app.appId || byLogin),
  };
}

function pullVerbs(
  call: Call,
  parts: RepositoryParts,
): Pick<GitHubRepository, 'headOf' | 'pull' | 'pullOf' | 'createPull'> {
  return {
    async headOf(branch) {
      const answer = await unless(
        ['not_found'],
        call('github.headOf', { contents: 'read', metadata: 'read' }, (octokit, at) =>
          octokit.rest.repos.getBranch({ ...at, branch }),
        ),
      );
      return answer === null ? null : CommitSha.parse(answer.data.commit.sha);
    },
    async pull(number) {
      const { data } = await call('github.pull', PULLS, (octokit, at) =>
        octokit.rest.pulls.get({ ...at, pull_number: number }),
      );
      const { head, base, state, user } = Pull.parse(data);
      const login = await parts.tokens.login();
      const from =
        head.repo === null || head.repo === undefined ? null : { owner: head.repo.owner.login, name: head.repo.name };
      const sameRepository = from !== null && repoKey(from) === repoKey(parts.repository);
      const ours = isOurs(user, login);
      return { number, branch: head.ref, sha: head.sha, base: base.ref, sameRepository, open: state === 'open', ours };
    },
    async pullOf(branch) {
      const { data } = await call('github.pullOf', PULLS, (octokit, at) =>
        octokit.rest.pulls.list({ ...at, head: `${at.owner}:${branch}`, state: 'all', per_page: 10 }),
      );
      const found = data.find((pull) => pull.head.ref === branch && pull.state === 'open') ?? data[0];
      return found?.head.ref === branch ? { number: found.number, url: found.html_url } : null;
    },
    async createPull({ branch, ...pull }) {
      const { data } = await call('github.createPull', PULLS, (octokit, at) =>
        octokit.rest.pulls.create({ ...at, ...pull, head: branch }),
      );
      return { number: data.number, url: data.html_url };
    },
  };
}
