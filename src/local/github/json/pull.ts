import { changes, comparisonBase } from '../git-content.ts';
import { distance, git, isAncestor } from '../git.ts';
import type { Schemas } from '../openapi/types.ts';
import type { Repository, Review, ReviewComment } from '../state.ts';
import { associationOf, nodeId, repositoryById, repositoryDir, type PullThread, type World } from '../world.ts';
import { teamJson, userJson } from './people.ts';
import { repositoryJson, repositoryUrl } from './repository.ts';
import { commonJson, rollupJson, threadPage } from './thread.ts';

function branchJson(world: World, repository: Repository, ref: string, sha: string) {
  return {
    label: `${repository.owner}:${ref}`,
    ref,
    sha,
    user: userJson(world, repository.owner),
    repo: repositoryJson(world, repository),
  };
}

function linksJson(world: World, thread: PullThread) {
  const api = repositoryUrl(world, repositoryById(world, thread.repoId));
  const url = `${api}/pulls/${thread.number}`;
  const page = threadPage(world, thread);
  return {
    url,
    diff_url: `${page}.diff`,
    patch_url: `${page}.patch`,
    issue_url: `${api}/issues/${thread.number}`,
    commits_url: `${url}/commits`,
    review_comments_url: `${url}/comments`,
    review_comment_url: `${api}/pulls/comments{/number}`,
    comments_url: `${api}/issues/${thread.number}/comments`,
    statuses_url: `${api}/statuses/${thread.pull.headSha}`,
    _links: {
      self: { href: url },
      html: { href: page },
      issue: { href: `${api}/issues/${thread.number}` },
      comments: { href: `${api}/issues/${thread.number}/comments` },
      review_comments: { href: `${url}/comments` },
      review_comment: { href: `${api}/pulls/comments{/number}` },
      commits: { href: `${url}/commits` },
      statuses: { href: `${api}/statuses/${thread.pull.headSha}` },
    },
  };
}

export function pullSimpleJson(world: World, thread: PullThread): Schemas['pull-request-simple'] {
  const { pull } = thread;
  const base = repositoryById(world, thread.repoId);
  const common = commonJson(world, thread);
  return {
    ...common,
    ...linksJson(world, thread),
    id: pull.id,
    labels: common.labels.map((label) => ({ ...label, description: label.description ?? '' })),
    state: thread.state,
    draft: pull.draft,
    merged_at: pull.mergedAt,
    merge_commit_sha: pull.mergeCommitSha,
    auto_merge: null,
    requested_reviewers: pull.requestedReviewers.map((login) => userJson(world, login)),
    requested_teams: (pull.requestedTeams ?? []).map((slug) => teamJson(world, base.owner, slug)),
    head: branchJson(world, repositoryById(world, pull.headRepoId), pull.headRef, pull.headSha),
    base: branchJson(world, base, pull.baseRef, pull.baseSha),
  };
}

/** The full form, with counts that git knows. */
export async function pullJson(world: World, thread: PullThread) {
  const { pull } = thread;
  const dir = repositoryDir(world, repositoryById(world, thread.repoId));
  const files = await changes(dir, await comparisonBase(dir, pull.baseSha, pull.headSha), pull.headSha);
  const { ahead } = await distance(dir, pull.baseSha, pull.headSha);
  const mergeable = thread.state === 'open' ? await isMergeable(dir, pull.baseSha, pull.headSha) : null;
  return {
    ...pullSimpleJson(world, thread),
    labels: commonJson(world, thread).labels,
    user: userJson(world, thread.author),
    head: { ...branchJson(world, repositoryById(world, pull.headRepoId), pull.headRef, pull.headSha) },
    base: { ...branchJson(world, repositoryById(world, thread.repoId), pull.baseRef, pull.baseSha) },
    state: thread.state,
    draft: pull.draft,
    merged: pull.mergedAt !== null,
    mergeable,
    rebaseable: mergeable,
    mergeable_state: mergeable === null ? 'unknown' : mergeable ? (pull.draft ? 'draft' : 'clean') : 'dirty',
    merged_by: pull.mergedBy === null ? null : userJson(world, pull.mergedBy),
    comments: world.state.comments.filter((one) => one.repoId === thread.repoId && one.number === thread.number).length,
    review_comments: world.state.reviewComments.filter(
      (one) => one.repoId === thread.repoId && one.number === thread.number,
    ).length,
    maintainer_can_modify: pull.maintainerCanModify,
    commits: ahead,
    additions: files.reduce((sum, file) => sum + file.additions, 0),
    deletions: files.reduce((sum, file) => sum + file.deletions, 0),
    changed_files: files.length,
  } satisfies Schemas['pull-request'];
}

async function isMergeable(dir: string, base: string, head: string): Promise<boolean> {
  if (await isAncestor(dir, base, head)) return true;
  return git(dir, ['merge-tree', '--write-tree', '--no-messages', base, head]).then(
    () => true,
    () => false,
  );
}

export function reviewJson(world: World, review: Review): Schemas['pull-request-review'] {
  const repository = repositoryById(world, review.repoId);
  const pull = `${repositoryUrl(world, repository)}/pulls/${review.number}`;
  const page = `${world.origin}/${repository.owner}/${repository.name}/pull/${review.number}#pullrequestreview-${review.id}`;
  return {
    id: review.id,
    node_id: nodeId('PRR', review.id),
    user: userJson(world, review.author),
    body: review.body,
    state: review.state,
    html_url: page,
    pull_request_url: pull,
    _links: { html: { href: page }, pull_request: { href: pull } },
    submitted_at: review.submittedAt,
    commit_id: review.commitId,
    author_association: associationOf(world, repository, review.author),
  };
}

export function reviewCommentJson(world: World, comment: ReviewComment): Schemas['pull-request-review-comment'] {
  const repository = repositoryById(world, comment.repoId);
  const api = repositoryUrl(world, repository);
  const url = `${api}/pulls/comments/${comment.id}`;
  const pull = `${api}/pulls/${comment.number}`;
  const page = `${world.origin}/${repository.owner}/${repository.name}/pull/${comment.number}#discussion_r${comment.id}`;
  const line = comment.line ?? 1;
  return {
    id: comment.id,
    node_id: nodeId('PRRC', comment.id),
    url,
    html_url: page,
    pull_request_url: pull,
    pull_request_review_id: comment.reviewId,
    diff_hunk: comment.diffHunk,
    path: comment.path,
    position: line,
    original_position: line,
    line,
    original_line: line,
    start_line: comment.startLine,
    original_start_line: comment.startLine,
    start_side: comment.startLine === null ? null : comment.side,
    side: comment.side,
    subject_type: comment.subjectType,
    commit_id: comment.commitId,
    original_commit_id: comment.commitId,
    ...(comment.inReplyTo === null ? {} : { in_reply_to_id: comment.inReplyTo }),
    user: userJson(world, comment.author),
    body: comment.body,
    created_at: comment.createdAt,
    updated_at: comment.updatedAt,
    author_association: associationOf(world, repository, comment.author),
    reactions: rollupJson(world, { kind: 'review_comment', id: comment.id }, url),
    _links: { self: { href: url }, html: { href: page }, pull_request: { href: pull } },
  };
}
