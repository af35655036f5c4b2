import { GitHubError, notFound } from '../errors.ts';
import { changes } from '../git-content.ts';
import { commitInfo, EMPTY_TREE, isAncestor, listRefs, objectType, readRef, validRef, writeRef, ZERO } from '../git.ts';
import { gitCommitJson } from '../json/commit.ts';
import { urlPath } from '../json/people.ts';
import { repositoryUrl } from '../json/repository.ts';
import { movingRefs } from '../acts/pushes.ts';
import type { Repository } from '../state.ts';
import { permits, type Caller } from '../tokens.ts';
import { nodeId, repositoryDir, type World } from '../world.ts';
import { created, NO_CONTENT, ok, paged, type Call, type Handlers, type Reply } from './call.ts';

async function refJson(world: World, repository: Repository, ref: string, sha: string) {
  const api = repositoryUrl(world, repository);
  const type = (await objectType(repositoryDir(world, repository), sha)) ?? 'commit';
  return {
    ref,
    node_id: nodeId('REF', repository.id),
    url: `${api}/git/${urlPath(ref)}`,
    object: { type, sha, url: `${api}/git/${type}s/${sha}` },
  };
}

async function refOf(call: Call<'git/update-ref' | 'git/delete-ref'>): Promise<{ ref: string; sha: string }> {
  const ref = `refs/${call.path.ref}`;
  const sha = await readRef(repositoryDir(call.world, call.repository), ref);
  if (sha === undefined) throw new GitHubError(422, 'Reference does not exist');
  return { ref, sha };
}

async function checkObject(dir: string, sha: string): Promise<void> {
  if ((await objectType(dir, sha)) === undefined) throw new GitHubError(422, 'Object does not exist');
}

/** The API refuses workflow changes of an App without the permission just as a push does. */
async function checkWorkflows(
  caller: Caller,
  dir: string,
  move: { from: string | undefined; to: string },
): Promise<void> {
  if (caller.kind !== 'installation' || permits(caller.token, 'workflows', 'write') || move.from === undefined) return;
  const files = await changes(dir, move.from === '' ? EMPTY_TREE : move.from, move.to);
  if (files.some((file) => file.filename.startsWith('.github/workflows/')))
    throw new GitHubError(403, 'Resource not accessible by integration');
}

async function createRef(call: Call<'git/create-ref'>): Promise<Reply> {
  const { world, repository, body, actor } = call;
  const dir = repositoryDir(world, repository);
  if (!body.ref.startsWith('refs/') || body.ref.split('/').length < 3 || !(await validRef(dir, body.ref)))
    throw new GitHubError(422, `Reference name must start with 'refs/' and have at least two slashes.`);
  await checkObject(dir, body.sha);
  await movingRefs(world, repository, actor.login, async () => {
    if ((await readRef(dir, body.ref)) !== undefined) throw new GitHubError(422, 'Reference already exists');
    await writeRef(dir, body.ref, body.sha);
  });
  return created(await refJson(world, repository, body.ref, body.sha));
}

async function updateRef(call: Call<'git/update-ref'>): Promise<Reply> {
  const { world, repository, body, actor, caller } = call;
  const dir = repositoryDir(world, repository);
  const { ref } = await refOf(call);
  await checkObject(dir, body.sha);
  await movingRefs(world, repository, actor.login, async () => {
    const from = await readRef(dir, ref);
    if (body.force !== true && (from === undefined || !(await isAncestor(dir, from, body.sha))))
      throw new GitHubError(422, 'Update is not a fast forward');
    await checkWorkflows(caller, dir, { from, to: body.sha });
    await writeRef(dir, ref, body.sha);
  });
  return ok(await refJson(world, repository, ref, body.sha));
}

export const gitHandlers = {
  'git/get-ref': async ({ world, repository, path }) => {
    const ref = `refs/${path.ref}`;
    const sha = await readRef(repositoryDir(world, repository), ref);
    if (sha === undefined) throw notFound();
    return ok(await refJson(world, repository, ref, sha));
  },
  'git/list-matching-refs': async (call) => {
    const { world, repository, path } = call;
    const all = [...(await listRefs(repositoryDir(world, repository), 'refs'))];
    const matching = all.filter(([ref]) => ref.startsWith(`refs/${path.ref}`));
    return paged(call, matching, ([ref, sha]) => refJson(world, repository, ref, sha));
  },
  'git/create-ref': createRef,
  'git/update-ref': updateRef,
  'git/delete-ref': async (call) => {
    const { world, repository, actor } = call;
    const { ref } = await refOf(call);
    if (ref === `refs/heads/${repository.defaultBranch}`)
      throw new GitHubError(422, 'Cannot delete the default branch');
    await movingRefs(world, repository, actor.login, () => writeRef(repositoryDir(world, repository), ref, ZERO));
    return NO_CONTENT;
  },
  'git/get-commit': async ({ world, repository, path }) => {
    const commit = await commitInfo(repositoryDir(world, repository), path.commit_sha);
    if (commit?.sha !== path.commit_sha) throw notFound();
    return ok(gitCommitJson(world, repository, commit));
  },
} satisfies Partial<Handlers>;
