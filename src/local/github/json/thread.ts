import type { Schemas } from '../openapi/types.ts';
import { reactionContents, type Comment, type Reaction, type ReactionSubject, type Thread } from '../state.ts';
import { associationOf, nodeId, repositoryById, type World } from '../world.ts';
import { appJson, userJson } from './people.ts';
import { labelsJson, repositoryPage, repositoryUrl } from './repository.ts';

export function rollupJson(world: World, subject: ReactionSubject, url: string): Schemas['reaction-rollup'] {
  const mine = world.state.reactions.filter(
    (one) => one.subject.kind === subject.kind && one.subject.id === subject.id,
  );
  const counts = Object.fromEntries(
    reactionContents.map((content) => [content, mine.filter((one) => one.content === content).length]),
  ) as Record<(typeof reactionContents)[number], number>;
  return { url: `${url}/reactions`, total_count: mine.length, ...counts };
}

export function reactionJson(world: World, reaction: Reaction): Schemas['reaction'] {
  return {
    id: reaction.id,
    node_id: nodeId('REA', reaction.id),
    user: userJson(world, reaction.user),
    content: reaction.content,
    created_at: reaction.createdAt,
  };
}

export function threadPage(world: World, thread: Thread): string {
  const page = repositoryPage(world, repositoryById(world, thread.repoId));
  return `${page}/${thread.pull === null ? 'issues' : 'pull'}/${thread.number}`;
}

/** What issues and pull requests have in common, in the API and in webhooks. */
export function commonJson(world: World, thread: Thread) {
  const repository = repositoryById(world, thread.repoId);
  return {
    node_id: nodeId(thread.pull === null ? 'I' : 'PR', thread.pull?.id ?? thread.id),
    html_url: threadPage(world, thread),
    number: thread.number,
    title: thread.title,
    body: thread.body,
    user: userJson(world, thread.author),
    labels: labelsJson(world, repository, thread.labels),
    assignee: thread.assignees[0] === undefined ? null : userJson(world, thread.assignees[0]),
    assignees: thread.assignees.map((login) => userJson(world, login)),
    milestone: null,
    locked: thread.locked === true,
    active_lock_reason: null,
    created_at: thread.createdAt,
    updated_at: thread.updatedAt,
    closed_at: thread.closedAt,
    author_association: associationOf(world, repository, thread.author),
  };
}

export function issueJson(world: World, thread: Thread) {
  const repository = repositoryById(world, thread.repoId);
  const api = repositoryUrl(world, repository);
  const url = `${api}/issues/${thread.number}`;
  const page = threadPage(world, thread);
  return {
    ...commonJson(world, thread),
    id: thread.id,
    url,
    repository_url: api,
    labels_url: `${url}/labels{/name}`,
    comments_url: `${url}/comments`,
    events_url: `${url}/events`,
    timeline_url: `${url}/timeline`,
    state: thread.state,
    state_reason: thread.stateReason,
    comments: world.state.comments.filter((one) => one.repoId === thread.repoId && one.number === thread.number).length,
    ...(thread.pull === null
      ? {}
      : {
          draft: thread.pull.draft,
          pull_request: {
            url: `${api}/pulls/${thread.number}`,
            html_url: page,
            diff_url: `${page}.diff`,
            patch_url: `${page}.patch`,
            merged_at: thread.pull.mergedAt,
          },
        }),
    reactions: rollupJson(world, { kind: 'issue', id: thread.id }, url),
    performed_via_github_app: thread.viaApp ? appJson(world) : null,
  } satisfies Schemas['issue'];
}

export function commentJson(world: World, comment: Comment): Schemas['issue-comment'] {
  const repository = repositoryById(world, comment.repoId);
  const api = repositoryUrl(world, repository);
  const url = `${api}/issues/comments/${comment.id}`;
  const thread = world.state.threads.find((one) => one.repoId === comment.repoId && one.number === comment.number);
  return {
    id: comment.id,
    node_id: nodeId('IC', comment.id),
    url,
    html_url: `${thread === undefined ? repositoryPage(world, repository) : threadPage(world, thread)}#issuecomment-${comment.id}`,
    issue_url: `${api}/issues/${comment.number}`,
    user: userJson(world, comment.author),
    body: comment.body,
    created_at: comment.createdAt,
    updated_at: comment.updatedAt,
    author_association: associationOf(world, repository, comment.author),
    reactions: rollupJson(world, { kind: 'comment', id: comment.id }, url),
    performed_via_github_app: comment.viaApp ? appJson(world) : null,
  };
}
