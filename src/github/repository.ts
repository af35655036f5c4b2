import { z } from 'zod';
import { CommitSha } from '../domain/ids.ts';
import { repoKey, type PullHead, type ReactionTarget } from '../domain/run.ts';
import { Permission } from '../domain/trigger.ts';
import { GitHubError, githubError } from './failure.ts';
import { failingChecks, type FailingCheck } from './failing.ts';
import { caller, type Call, type RepositoryParts } from './call.ts';
import { setStateLabel, type ThreadState } from './state-label.ts';
import type { TokenPermissions } from './tokens.ts';

export type ReactionContent = 'eyes' | 'rocket' | 'confused';

export interface ThreadComment {
  id: number;
  author: string;
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

/** A comment on a line of a pull request's diff. */
export interface LineComment {
  id: number;
  /** The first comment of its thread; absent: it is the first. */
  inReplyTo?: number | undefined;
  reviewId?: number | undefined;
  author: string;
  authorType: string;
  path: string;
  line?: number | undefined;
  hunk: string;
  body: string;
  updatedAt: string;
  ours: boolean;
}

export interface CheckOutput {
  title: string;
  /** Markdown, 65,535 characters at most. */
  summary: string;
}

export type CheckConclusion = 'success' | 'neutral' | 'failure' | 'timed_out' | 'action_required' | 'cancelled';

export interface Check {
  externalId: string;
  detailsUrl?: string | undefined;
  output: CheckOutput;
  /** Buttons, three at most; absent: none. */
  actions?: readonly { label: string; description: string; identifier: string }[] | undefined;
  /** Absent: in progress. */
  conclusion?: CheckConclusion | undefined;
}

/** The few verbs of GitHub that are used on one repository. All fail with `GitHubError`. */
export interface GitHubRepository {
  /** Null: GitHub knows no such person. */
  permission(login: string): Promise<Permission | null>;
  react(target: ReactionTarget, content: ReactionContent): Promise<void>;
  /** A label that is not there is no failure. */
  removeLabel(number: number, label: string): Promise<void>;
  /** Leaves exactly this state's label on the thread, or none. */
  setStateLabel(number: number, options: { label: string; state: ThreadState | undefined }): Promise<void>;
  /** Oldest first, those changed since `since` when given. */
  comments(number: number): Promise<ThreadComment[]>;
  createComment(number: number, body: string): Promise<number>;
  editComment(id: number, body: string): Promise<void>;
  /** A comment that is not there is no failure. */
  deleteComment(id: number): Promise<void>;
  pull(number: number): Promise<PullState>;
  /** Comments on lines of the diff, oldest first. */
  lineComments(number: number): Promise<LineComment[]>;
  /** Answers in the thread that begins with this comment. */
  answerLine(number: number, answer: { to: LineComment; sha: string; body: string }): Promise<void>;
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
  /** This App's check run of that commit with that external id. */
  findCheck(sha: string, externalId: string): Promise<number | null>;
  createCheck(sha: string, check: Check): Promise<number>;
  updateCheck(id: number, check: Check): Promise<void>;
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

const CHECK_NAME = 'Cofferdam';

const TALK: TokenPermissions = { issues: 'write', pull_requests: 'write', metadata: 'read' };
const PULLS: TokenPermissions = { pull_requests: 'write', contents: 'read', metadata: 'read' };
const CHECKS: TokenPermissions = { checks: 'write', metadata: 'read' };

const Comment = z.object({
  id: z.number(),
  body: z.string().nullish(),
  user: z.object({ login: z.string(), type: z.string().optional() }).nullish(),
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

const Line = z.object({
  id: z.number(),
  in_reply_to_id: z.number().optional(),
  pull_request_review_id: z.number().nullish(),
  user: z.object({ login: z.string(), type: z.string().optional() }).nullish(),
  path: z.string(),
  line: z.number().nullish(),
  diff_hunk: z.string(),
  body: z.string(),
  updated_at: z.string(),
});

export function createRepository(parts: RepositoryParts): GitHubRepository {
  const call = caller(parts);
  return {
    ...talkVerbs(call, parts),
    ...pullVerbs(call, parts),
    ...lineVerbs(call, parts),
    setStateLabel: (number, options) => setStateLabel(call, { number, ...options }),
    ...checkVerbs(call),
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

async function unless<T>(kinds: readonly GitHubError['kind'][], promise: Promise<T>): Promise<T | null> {
  try {
    return await promise;
  } catch (thrown) {
    if (thrown instanceof GitHubError && kinds.includes(thrown.kind)) return null;
    throw thrown;
  }
}

type TalkVerb = 'permission' | 'react' | 'removeLabel' | 'comments' | 'createComment' | 'editComment' | 'deleteComment';

function talkVerbs(call: Call, parts: RepositoryParts): Pick<GitHubRepository, TalkVerb> {
  return {
    async permission(login) {
      const answer = await unless(
        ['not_found'],
        call('github.permission', { metadata: 'read' }, (octokit, at) =>
          octokit.rest.repos.getCollaboratorPermissionLevel({ ...at, username: login }),
        ),
      );
      // Anything that GitHub may add is no right.
      return answer === null ? null : Permission.catch('none').parse(answer.data.permission);
    },
    async react(target, content) {
      await call('github.react', TALK, (octokit, at) =>
        'commentId' in target
          ? octokit.rest.reactions.createForIssueComment({ ...at, comment_id: target.commentId, content })
          : 'reviewCommentId' in target
            ? octokit.rest.reactions.createForPullRequestReviewComment({
                ...at,
                comment_id: target.reviewCommentId,
                content,
              })
            : octokit.rest.reactions.createForIssue({ ...at, issue_number: target.number, content }),
      );
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
      const { data } = await call('github.createComment', TALK, (octokit, at) =>
        octokit.rest.issues.createComment({ ...at, issue_number: number, body }),
      );
      return data.id;
    },
    async editComment(id, body) {
      await call('github.editComment', TALK, (octokit, at) =>
        octokit.rest.issues.updateComment({ ...at, comment_id: id, body }),
      );
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

function lineVerbs(call: Call, parts: RepositoryParts): Pick<GitHubRepository, 'lineComments' | 'answerLine'> {
  return {
    async lineComments(number) {
      const login = await parts.tokens.login();
      const listed = await call('github.lineComments', PULLS, (octokit, at) =>
        octokit.paginate(octokit.rest.pulls.listReviewComments, { ...at, pull_number: number, per_page: 100 }),
      );
      return z
        .array(Line)
        .parse(listed)
        .map((one) => ({
          id: one.id,
          inReplyTo: one.in_reply_to_id,
          reviewId: one.pull_request_review_id ?? undefined,
          author: one.user?.login ?? 'ghost',
          authorType: one.user?.type ?? 'User',
          path: one.path,
          line: one.line ?? undefined,
          hunk: one.diff_hunk,
          body: one.body,
          updatedAt: one.updated_at,
          ours: isOurs(one.user, login),
        }));
    },
    async answerLine(number, { to, sha, body }) {
      // The path of GitHub for answers is not open to Apps; this one is. `in_reply_to` decides, the rest is asked for by the schema.
      await call('github.answerLine', PULLS, (octokit, at) =>
        octokit.rest.pulls.createReviewComment({
          ...at,
          pull_number: number,
          commit_id: sha,
          path: to.path,
          in_reply_to: to.inReplyTo ?? to.id,
          body,
        }),
      );
    },
  };
}

/** The App's own bot account; where GitHub does not say which that is, no account is. */
function isOurs(user: { login: string; type?: string | undefined } | null | undefined, login: string | null): boolean {
  return user?.type === 'Bot' && login !== null && user.login.toLowerCase() === login.toLowerCase();
}

function checkVerbs(call: Call): Pick<GitHubRepository, 'findCheck' | 'createCheck' | 'updateCheck'> {
  return {
    async findCheck(sha, externalId) {
      const { data } = await call('github.findCheck', CHECKS, (octokit, at) =>
        octokit.rest.checks.listForRef({ ...at, ref: sha, check_name: CHECK_NAME, filter: 'all', per_page: 100 }),
      );
      return data.check_runs.find((run) => run.external_id === externalId)?.id ?? null;
    },
    async createCheck(sha, check) {
      const { data } = await call('github.createCheck', CHECKS, (octokit, at) =>
        octokit.rest.checks.create({ ...at, name: CHECK_NAME, head_sha: sha, ...checkBody(check) }),
      );
      return data.id;
    },
    async updateCheck(id, check) {
      await call('github.updateCheck', CHECKS, (octokit, at) =>
        octokit.rest.checks.update({ ...at, check_run_id: id, ...checkBody(check) }),
      );
    },
  };
}

function checkBody(check: Check) {
  return {
    external_id: check.externalId,
    ...(check.detailsUrl === undefined ? {} : { details_url: check.detailsUrl }),
    output: check.output,
    // Always sent: what is left out keeps what was there.
    actions: [...(check.actions ?? [])],
    ...(check.conclusion === undefined
      ? { status: 'in_progress' as const }
      : { status: 'completed' as const, conclusion: check.conclusion }),
  };
}
