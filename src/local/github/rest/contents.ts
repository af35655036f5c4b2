/** Files that are written by the API, one commit each. */
import { GitHubError, notFound } from '../errors.ts';
import { commitFiles, treeAt } from '../git-content.ts';
import { commitInfo, readRef } from '../git.ts';
import { gitCommitJson } from '../json/commit.ts';
import { emailOf, movingRefs } from '../acts/pushes.ts';
import { permits } from '../tokens.ts';
import { nowMs, repositoryDir } from '../world.ts';
import { created, ok, type Call, type Handlers, type Reply } from './call.ts';
import { entryJson } from './repositories.ts';

type Put = Call<'repos/create-or-update-file-contents'>;

/** An App without the permission for workflows changes none, here as by a push. */
function checkWorkflows({ caller, path }: Put): void {
  if (!path.path.startsWith('.github/workflows/') || caller.kind !== 'installation') return;
  if (!permits(caller.token, 'workflows', 'write'))
    throw new GitHubError(403, 'Resource not accessible by integration');
}

/** Whoever changes a file names what they saw of it. */
function checkSeen(known: string | undefined, { path, body }: Put): void {
  if (known === undefined) return;
  if (body.sha === undefined) throw new GitHubError(422, `Invalid request.\n\n"sha" wasn't supplied.`);
  if (body.sha !== known) throw new GitHubError(409, `${path.path} does not match ${body.sha}`);
}

async function putContent(call: Put): Promise<Reply> {
  const { world, repository, path, body, actor } = call;
  const dir = repositoryDir(world, repository);
  const branch = body.branch ?? repository.defaultBranch;
  checkWorkflows(call);
  const { sha, known } = await movingRefs(world, repository, actor.login, async () => {
    const tip = await readRef(dir, `refs/heads/${branch}`);
    if (tip === undefined) throw new GitHubError(404, `Branch ${branch} not found`);
    const before = (await treeAt(dir, tip, path.path))?.entry?.sha;
    checkSeen(before, call);
    const made = await commitFiles(dir, {
      branch,
      message: body.message,
      files: { [path.path]: Buffer.from(body.content, 'base64') },
      author: { name: actor.login, email: emailOf(world, actor.login) },
      at: new Date(nowMs(world)),
    });
    return { sha: made, known: before };
  });
  const [commit, found] = [await commitInfo(dir, sha), await treeAt(dir, sha, path.path)];
  if (commit === undefined || found?.entry === undefined) throw notFound();
  const answer = {
    content: entryJson(world, repository, found.entry, branch),
    commit: gitCommitJson(world, repository, commit),
  };
  return known === undefined ? created(answer) : ok(answer);
}

export const contentHandlers = {
  'repos/create-or-update-file-contents': putContent,
} satisfies Partial<Handlers>;
