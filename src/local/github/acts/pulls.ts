/** Opening, changing and merging pull requests. */
import { GitHubError, invalid } from '../errors.ts';
import { mergeCommit } from '../git-content.ts';
import { distance, mergeBase, readRef, writeRef } from '../git.ts';
import { userJson } from '../json/people.ts';
import type { Repository } from '../state.ts';
import {
  associationOf,
  findRepository,
  findUser,
  nextId,
  now,
  repositoryById,
  repositoryDir,
  sameName,
  type PullThread,
  type World,
} from '../world.ts';
import { emailOf, movingRefs, publishHead } from './pushes.ts';
import { checkBody, checkTitle, emitThread, type Actor } from './threads.ts';

export interface NewPull {
  title: string;
  body: string | null;
  /** `branch` or `owner:branch`. */
  head: string;
  base: string;
  draft: boolean;
  maintainerCanModify?: boolean;
}

function refused(message: string): GitHubError {
  return invalid({ resource: 'PullRequest', code: 'custom', message });
}

interface Sides {
  headRepo: Repository;
  headRef: string;
  headSha: string;
  baseSha: string;
}

async function sidesOf(world: World, repository: Repository, wanted: NewPull): Promise<Sides> {
  const [owner, headRef] = wanted.head.includes(':')
    ? [wanted.head.slice(0, wanted.head.indexOf(':')), wanted.head.slice(wanted.head.indexOf(':') + 1)]
    : [repository.owner, wanted.head];
  const headRepo =
    owner.toLowerCase() === repository.owner.toLowerCase()
      ? repository
      : (world.state.repositories.find((one) => one.forkOf === repository.id && one.owner === owner) ??
        findRepository(world, owner, repository.name));
  if (headRepo === undefined) throw invalid({ resource: 'PullRequest', field: 'head', code: 'invalid' });
  const headSha = await readRef(repositoryDir(world, headRepo), `refs/heads/${headRef}`);
  if (headSha === undefined) throw invalid({ resource: 'PullRequest', field: 'head', code: 'invalid' });
  const baseSha = await readRef(repositoryDir(world, repository), `refs/heads/${wanted.base}`);
  if (baseSha === undefined) throw invalid({ resource: 'PullRequest', field: 'base', code: 'invalid' });
  return { headRepo, headRef, headSha, baseSha };
}

function checkUnique(world: World, repository: Repository, sides: Sides, base: string): void {
  const twin = world.state.threads.find(
    ({ repoId, state, pull }) =>
      repoId === repository.id &&
      state === 'open' &&
      pull?.headRepoId === sides.headRepo.id &&
      pull.headRef === sides.headRef &&
      pull.baseRef === base,
  );
  if (twin !== undefined) throw refused(`A pull request already exists for ${sides.headRepo.owner}:${sides.headRef}.`);
}

async function checkCommits(dir: string, sides: Sides, names: { base: string; head: string }): Promise<void> {
  if ((await mergeBase(dir, sides.baseSha, sides.headSha)) === undefined)
    throw refused(`The ${names.head} branch has no history in common with ${names.base}`);
  const { ahead } = await distance(dir, sides.baseSha, sides.headSha);
  if (ahead === 0) throw refused(`No commits between ${names.base} and ${names.head}`);
}

export async function openPull(
  world: World,
  repository: Repository,
  actor: Actor,
  wanted: NewPull,
): Promise<PullThread> {
  checkTitle('PullRequest', wanted.title);
  checkBody('PullRequest', wanted.body);
  if (wanted.draft && !repository.drafts)
    throw new GitHubError(422, 'Draft pull requests are not supported in this repository.');
  return world.exclusively(repository.id, async () => {
    const sides = await sidesOf(world, repository, wanted);
    checkUnique(world, repository, sides, wanted.base);
    const thread = newThread(world, repository, actor, { ...wanted, ...sides });
    await publishHead(world, thread);
    try {
      await checkCommits(repositoryDir(world, repository), sides, { base: wanted.base, head: sides.headRef });
    } catch (error) {
      await writeRef(repositoryDir(world, repository), `refs/pull/${thread.number}/head`, '0'.repeat(40));
      throw error;
    }
    repository.nextNumber += 1;
    world.state.threads.push(thread);
    await emitThread(world, thread, { action: 'opened', sender: actor.login });
    world.changed();
    return thread;
  });
}

function newThread(world: World, repository: Repository, actor: Actor, wanted: NewPull & Sides): PullThread {
  const at = now(world);
  return {
    id: nextId(world),
    repoId: repository.id,
    number: repository.nextNumber,
    title: wanted.title,
    body: wanted.body,
    author: actor.login,
    viaApp: actor.viaApp,
    state: 'open',
    stateReason: null,
    labels: [],
    assignees: [],
    createdAt: at,
    updatedAt: at,
    closedAt: null,
    pull: {
      id: nextId(world),
      headRepoId: wanted.headRepo.id,
      headRef: wanted.headRef,
      headSha: wanted.headSha,
      baseRef: wanted.base,
      baseSha: wanted.baseSha,
      draft: wanted.draft,
      mergedAt: null,
      mergedBy: null,
      mergeCommitSha: null,
      maintainerCanModify: wanted.maintainerCanModify ?? false,
      requestedReviewers: [],
    },
  };
}

export async function setDraft(world: World, thread: PullThread, actor: Actor, draft: boolean): Promise<void> {
  if (thread.pull.draft === draft) return;
  thread.pull.draft = draft;
  thread.updatedAt = now(world);
  await emitThread(world, thread, { action: draft ? 'converted_to_draft' : 'ready_for_review', sender: actor.login });
  world.changed();
}

export async function changeBase(world: World, thread: PullThread, actor: Actor, base: string): Promise<void> {
  if (base === thread.pull.baseRef) return;
  const sha = await readRef(repositoryDir(world, repositoryById(world, thread.repoId)), `refs/heads/${base}`);
  if (sha === undefined) throw invalid({ resource: 'PullRequest', field: 'base', code: 'invalid' });
  const changes = { base: { ref: { from: thread.pull.baseRef }, sha: { from: thread.pull.baseSha } } };
  thread.pull.baseRef = base;
  thread.pull.baseSha = sha;
  thread.updatedAt = now(world);
  await emitThread(world, thread, { action: 'edited', sender: actor.login, extra: { changes } });
}

const NOT_COLLABORATOR =
  'Reviews may only be requested from collaborators. One or more of the users or teams you specified is not a collaborator of the repository.';

export async function requestReviewers(
  world: World,
  thread: PullThread,
  actor: Actor,
  who: { reviewers: readonly string[]; teams: readonly string[] },
): Promise<void> {
  const repository = repositoryById(world, thread.repoId);
  const users = who.reviewers.map((wanted) => findUser(world, wanted));
  if (users.some((user) => user?.login === thread.author))
    throw new GitHubError(422, 'Review cannot be requested from pull request author.');
  const teams = who.teams.map((slug) =>
    world.state.teams.find((team) => sameName(team.org, repository.owner) && sameName(team.slug, slug)),
  );
  // One who is no collaborator, and nobody is asked.
  const strangers = users.some((user) => user === undefined || associationOf(world, repository, user.login) === 'NONE');
  if (strangers || teams.includes(undefined)) throw new GitHubError(422, NOT_COLLABORATOR);
  for (const team of teams) {
    const slugs = (thread.pull.requestedTeams ??= []);
    if (team === undefined || slugs.includes(team.slug)) continue;
    slugs.push(team.slug);
    thread.updatedAt = now(world);
  }
  for (const { login } of users.filter((user) => user !== undefined)) {
    if (thread.pull.requestedReviewers.includes(login)) continue;
    thread.pull.requestedReviewers.push(login);
    thread.updatedAt = now(world);
    const extra = { requested_reviewer: userJson(world, login) };
    await emitThread(world, thread, { action: 'review_requested', sender: actor.login, extra });
  }
  world.changed();
}

/** Merges with a merge commit, as a person with write access does on the page. */
export async function mergePull(world: World, thread: PullThread, actor: Actor): Promise<void> {
  const repository = repositoryById(world, thread.repoId);
  const dir = repositoryDir(world, repository);
  if (thread.state !== 'open') throw new GitHubError(405, 'Pull Request is not mergeable');
  if (thread.pull.draft) throw new GitHubError(405, 'Pull Request is still a draft');
  await movingRefs(world, repository, actor.login, async () => {
    const made = await mergeCommit(dir, {
      base: thread.pull.baseSha,
      head: thread.pull.headSha,
      message: `Merge pull request #${thread.number} from ${thread.pull.headRef}\n\n${thread.title}`,
      author: { name: actor.login, email: emailOf(world, actor.login) },
    });
    if (made === undefined) throw new GitHubError(405, 'Pull Request is not mergeable');
    await writeRef(dir, `refs/heads/${thread.pull.baseRef}`, made);
  });
}
