/** What follows when branches move, by a push, by the API or by a merge. */
import { without } from '../json/without.ts';
import { instant, type CommitInfo } from '../git-format.ts';
import { changes } from '../git-content.ts';
import { EMPTY_TREE, fetchCommit, isAncestor, listRefs, log, writeRef, ZERO } from '../git.ts';
import { repositoryPage } from '../json/repository.ts';
import { suiteJson } from '../json/check.ts';
import type { Push, Repository } from '../state.ts';
import { isPull, now, repositoryById, repositoryDir, userOf, type PullThread, type World } from '../world.ts';
import { ensureSuite } from './suites.ts';
import { emitThread } from './threads.ts';

/** Runs `work` alone on a repository's refs, then handles every branch that it moved. */
export async function movingRefs<T>(
  world: World,
  repository: Repository,
  actor: string,
  work: () => Promise<T>,
): Promise<T> {
  return world.exclusively(repository.id, async () => {
    const dir = repositoryDir(world, repository);
    const before = await listRefs(dir, 'refs/heads');
    const result = await work();
    const after = await listRefs(dir, 'refs/heads');
    for (const ref of new Set([...before.keys(), ...after.keys()])) {
      const move = { ref, before: before.get(ref) ?? ZERO, after: after.get(ref) ?? ZERO };
      if (move.before !== move.after) await branchMoved(world, repository, { ...move, actor });
    }
    return result;
  });
}

async function branchMoved(
  world: World,
  repository: Repository,
  move: { ref: string; before: string; after: string; actor: string },
): Promise<void> {
  const dir = repositoryDir(world, repository);
  const { before, after } = move;
  const forced = before !== ZERO && after !== ZERO && !(await isAncestor(dir, before, after));
  const push: Push = { ...move, repoId: repository.id, forced, at: now(world) };
  world.state.pushes.push(push);
  repository.pushedAt = push.at;
  await emitPush(world, repository, push);
  if (after !== ZERO) await emitSuite(world, repository, push);
  const branch = move.ref.replace(/^refs\/heads\//, '');
  for (const thread of world.state.threads) {
    if (!isPull(thread) || thread.state !== 'open') continue;
    if (thread.pull.headRepoId === repository.id && thread.pull.headRef === branch)
      await headMoved(world, thread, push);
    if (thread.repoId === repository.id && thread.pull.baseRef === branch && after !== ZERO)
      await baseMoved(world, thread, push);
  }
  world.changed();
}

async function headMoved(world: World, thread: PullThread, push: Push): Promise<void> {
  thread.updatedAt = now(world);
  if (push.after === ZERO) {
    thread.state = 'closed';
    thread.closedAt = thread.updatedAt;
    await emitThread(world, thread, { action: 'closed', sender: push.actor });
    return;
  }
  thread.pull.headSha = push.after;
  await publishHead(world, thread);
  const extra = { before: push.before, after: push.after };
  await emitThread(world, thread, { action: 'synchronize', sender: push.actor, extra });
}

/** GitHub keeps a pull request's head under `refs/pull/N/head` of the base repository, also when it lives in a fork. */
export async function publishHead(world: World, thread: PullThread): Promise<void> {
  const base = repositoryDir(world, repositoryById(world, thread.repoId));
  const ref = `refs/pull/${thread.number}/head`;
  if (thread.pull.headRepoId === thread.repoId) await writeRef(base, ref, thread.pull.headSha);
  else {
    const head = repositoryDir(world, repositoryById(world, thread.pull.headRepoId));
    await fetchCommit(base, head, thread.pull.headSha, ref);
  }
}

/** A pull request whose head is in the base branch now is merged, however that came about. */
async function baseMoved(world: World, thread: PullThread, push: Push): Promise<void> {
  const dir = repositoryDir(world, repositoryById(world, thread.repoId));
  if (await isAncestor(dir, thread.pull.headSha, push.after)) {
    thread.state = 'closed';
    thread.closedAt = thread.updatedAt = now(world);
    thread.pull.mergedAt = thread.updatedAt;
    thread.pull.mergedBy = push.actor;
    thread.pull.mergeCommitSha = push.after;
    await emitThread(world, thread, { action: 'closed', sender: push.actor });
  } else thread.pull.baseSha = push.after;
}

async function emitSuite(world: World, repository: Repository, push: Push): Promise<void> {
  const branch = push.ref.replace(/^refs\/heads\//, '');
  if (!world.state.app.events.includes('check_suite')) return;
  const suite = ensureSuite(world, repository, { app: world.state.app.slug, sha: push.after, branch });
  const described = without(await suiteJson(world, suite), 'repository');
  const payload = { check_suite: described };
  world.emit({ name: 'check_suite', action: 'requested', repository, sender: push.actor, payload });
}

function person(signature: CommitInfo['author']) {
  return { name: signature.name, email: signature.email, date: signature.date };
}

async function commitJson(world: World, repository: Repository, commit: CommitInfo) {
  const dir = repositoryDir(world, repository);
  const files = await changes(dir, commit.parents[0] ?? EMPTY_TREE, commit.sha);
  const named = (status: string[]): string[] =>
    files.filter((file) => status.includes(file.status)).map((file) => file.filename);
  return {
    id: commit.sha,
    tree_id: commit.tree,
    distinct: true,
    message: commit.message,
    timestamp: commit.author.date,
    url: `${repositoryPage(world, repository)}/commit/${commit.sha}`,
    author: person(commit.author),
    committer: person(commit.committer),
    added: named(['added', 'renamed']),
    removed: named(['removed']),
    modified: named(['modified', 'changed']),
  };
}

/** What a push brought: for a new branch, what no other branch has. */
async function newCommits(dir: string, push: Push): Promise<string[]> {
  if (push.before !== ZERO) return [`${push.before}..${push.after}`];
  const others = [...(await listRefs(dir, 'refs/heads'))].filter(([ref]) => ref !== push.ref);
  return [push.after, ...others.map(([, sha]) => `^${sha}`)];
}

async function emitPush(world: World, repository: Repository, push: Push): Promise<void> {
  const dir = repositoryDir(world, repository);
  const commits = push.after === ZERO ? [] : await log(dir, await newCommits(dir, push), 20);
  const described = [];
  for (const commit of commits.reverse()) described.push(await commitJson(world, repository, commit));
  const [tip] = push.after === ZERO ? [] : await log(dir, [push.after], 1);
  const page = repositoryPage(world, repository);
  world.emit({
    name: 'push',
    action: null,
    repository,
    sender: push.actor,
    payload: {
      ref: push.ref,
      before: push.before,
      after: push.after,
      created: push.before === ZERO,
      deleted: push.after === ZERO,
      forced: push.forced,
      base_ref: null,
      compare: `${page}/compare/${push.before.slice(0, 12)}...${push.after.slice(0, 12)}`,
      commits: described,
      head_commit: tip === undefined ? null : await commitJson(world, repository, tip),
      pusher: { name: push.actor, email: emailOf(world, push.actor), date: instant(push.at) },
    },
  });
}

/** The address GitHub gives to people who hide theirs. */
export function emailOf(world: World, login: string): string {
  return `${userOf(world, login).id}+${login}@users.noreply.github.com`;
}
