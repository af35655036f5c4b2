import { without } from '../json/without.ts';
import { GitHubError, notFound } from '../errors.ts';
import { blob, changes, comparisonBase, diffText, treeAt, type TreeEntry } from '../git-content.ts';
import { commitInfo, distance, EMPTY_TREE, listRefs, log, resolveCommit } from '../git.ts';
import type { CommitInfo, FileChange } from '../git-format.ts';
import { commitJson, fileJson } from '../json/commit.ts';
import { urlPath, userJson } from '../json/people.ts';
import { pullSimpleJson } from '../json/pull.ts';
import { fullRepositoryJson, permissionFlags, repositoryPage, repositoryUrl } from '../json/repository.ts';
import { statusJson } from '../json/status.ts';
import type { Repository } from '../state.ts';
import { isPull, repositoryDir, roleOf, userOf, type World } from '../world.ts';
import { ok, paged, type Call, type Handlers, type Reply } from './call.ts';

/** GitHub writes `maintain` as write and `triage` as read here; the finer word is `role_name`. */
const COARSE = {
  admin: 'admin',
  maintain: 'write',
  write: 'write',
  triage: 'read',
  read: 'read',
  none: 'none',
} as const;

export async function commitOf(world: World, repository: Repository, ref: string): Promise<string> {
  const sha = await resolveCommit(repositoryDir(world, repository), ref);
  if (sha === undefined) throw new GitHubError(422, `No commit found for SHA: ${ref}`);
  return sha;
}

async function headOf(world: World, repository: Repository, ref: string | undefined): Promise<string> {
  const sha = await resolveCommit(repositoryDir(world, repository), ref ?? repository.defaultBranch);
  if (sha === undefined) throw ref === undefined ? new GitHubError(404, 'This repository is empty.') : notFound();
  return sha;
}

export function entryJson(world: World, repository: Repository, entry: TreeEntry, ref: string) {
  const api = repositoryUrl(world, repository);
  const at = urlPath(entry.path);
  const url = `${api}/contents/${at}?ref=${encodeURIComponent(ref)}`;
  const kind = entry.type === 'tree' ? 'dir' : entry.mode === '120000' ? 'symlink' : 'file';
  const git = entry.type === 'commit' ? null : `${api}/git/${entry.type}s/${entry.sha}`;
  const html = `${repositoryPage(world, repository)}/${entry.type === 'tree' ? 'tree' : 'blob'}/${urlPath(ref)}/${at}`;
  return {
    type: entry.type === 'commit' ? ('submodule' as const) : kind,
    name: entry.path.split('/').pop() ?? entry.path,
    path: entry.path,
    sha: entry.sha,
    size: entry.size,
    url,
    html_url: html,
    git_url: git,
    download_url: entry.type === 'blob' ? html.replace('/blob/', '/raw/') : null,
    _links: { self: url, git, html },
  };
}

async function getContent(call: Call<'repos/get-content'>): Promise<Reply> {
  const { world, repository, path, query, accept } = call;
  const dir = repositoryDir(world, repository);
  const ref = query.ref ?? repository.defaultBranch;
  const found = await treeAt(dir, await headOf(world, repository, query.ref), path.path);
  if (found?.children !== undefined)
    return ok(
      found.children.map((entry) => {
        const { type, ...rest } = entryJson(world, repository, entry, ref);
        // Older than submodules: a directory's list calls them files.
        return { type: type === 'submodule' ? 'file' : type, ...rest };
      }),
    );
  const entry = found?.entry;
  if (entry === undefined) throw notFound();
  const described = entryJson(world, repository, entry, ref);
  if (entry.type === 'commit') return ok({ ...described, submodule_git_url: '' });
  const content = await blob(dir, entry.sha);
  if (accept.includes('raw')) return { status: 200, raw: { type: 'application/vnd.github.raw', content } };
  if (described.type === 'symlink') return ok({ ...described, target: content.toString() });
  return ok({ ...described, encoding: 'base64', content: content.toString('base64').replace(/(.{60})/g, '$1\n') });
}

async function branchJson(world: World, repository: Repository, name: string) {
  const sha = (await listRefs(repositoryDir(world, repository), `refs/heads/${name}`)).get(`refs/heads/${name}`);
  const commit = sha === undefined ? undefined : await commitInfo(repositoryDir(world, repository), sha);
  if (commit === undefined) throw new GitHubError(404, 'Branch not found');
  const api = repositoryUrl(world, repository);
  const at = encodeURIComponent(name);
  return {
    name,
    commit: commitJson(world, repository, commit),
    _links: { self: `${api}/branches/${at}`, html: `${repositoryPage(world, repository)}/tree/${at}` },
    protected: false,
    protection: { enabled: false, required_status_checks: { enforcement_level: 'off', contexts: [], checks: [] } },
    protection_url: `${api}/branches/${at}/protection`,
  };
}

async function compare(call: Call<'repos/compare-commits-with-basehead'>): Promise<Reply> {
  const { world, repository, path, accept } = call;
  const dir = repositoryDir(world, repository);
  const at = path.basehead.indexOf('...');
  if (at < 0) throw notFound();
  const left = await resolveCommit(dir, path.basehead.slice(0, at));
  const right = await resolveCommit(dir, path.basehead.slice(at + 3));
  if (left === undefined || right === undefined) throw notFound();
  const base = await comparisonBase(dir, left, right);
  if (accept.includes('diff'))
    return { status: 200, raw: { type: 'application/vnd.github.diff', content: await diffText(dir, base, right) } };
  if (base === EMPTY_TREE) throw new GitHubError(404, 'No common ancestor between the two commits.');
  const { ahead, behind } = await distance(dir, left, right);
  const commits = (await log(dir, [`${left}..${right}`])).reverse();
  const described = async (sha: string): Promise<CommitInfo> =>
    (await commitInfo(dir, sha)) ?? Promise.reject(notFound());
  const page = `${repositoryPage(world, repository)}/compare/${urlPath(path.basehead)}`;
  return ok({
    url: call.url.href,
    html_url: page,
    permalink_url: page,
    diff_url: `${page}.diff`,
    patch_url: `${page}.patch`,
    base_commit: commitJson(world, repository, await described(left)),
    merge_base_commit: commitJson(world, repository, await described(base)),
    status: ahead > 0 && behind > 0 ? 'diverged' : ahead > 0 ? 'ahead' : behind > 0 ? 'behind' : 'identical',
    ahead_by: ahead,
    behind_by: behind,
    total_commits: commits.length,
    commits: commits.map((commit) => commitJson(world, repository, commit)),
    files: (await changes(dir, base, right)).map((file) => fileJson(world, repository, file, right)),
  });
}

async function getCommit({ world, repository, path, accept }: Call<'repos/get-commit'>): Promise<Reply> {
  const dir = repositoryDir(world, repository);
  const sha = await commitOf(world, repository, path.ref);
  const commit = await commitInfo(dir, sha);
  if (commit === undefined) throw notFound();
  const parent = commit.parents[0] ?? EMPTY_TREE;
  if (accept.includes('diff'))
    return { status: 200, raw: { type: 'application/vnd.github.diff', content: await diffText(dir, parent, sha) } };
  const files: FileChange[] = await changes(dir, parent, sha);
  const sum = (of: 'additions' | 'deletions'): number => files.reduce((total, file) => total + file[of], 0);
  const [additions, deletions] = [sum('additions'), sum('deletions')];
  return ok({
    ...commitJson(world, repository, commit),
    stats: { additions, deletions, total: additions + deletions },
    files: files.map((file) => fileJson(world, repository, file, sha)),
  });
}

async function statusesOf(world: World, repository: Repository, ref: string) {
  const sha = await commitOf(world, repository, ref);
  return { sha, statuses: world.state.statuses.filter((one) => one.repoId === repository.id && one.sha === sha) };
}

async function combinedStatus({ world, repository, path }: Call<'repos/get-combined-status-for-ref'>): Promise<Reply> {
  const { sha, statuses } = await statusesOf(world, repository, path.ref);
  const latest = [...new Map(statuses.map((one) => [one.context, one])).values()];
  const bad = latest.some((one) => one.state === 'failure' || one.state === 'error');
  const good = latest.length > 0 && latest.every((one) => one.state === 'success');
  const api = repositoryUrl(world, repository);
  return ok({
    state: bad ? 'failure' : good ? 'success' : 'pending',
    statuses: latest.map((one) => without(statusJson(world, repository, one), 'creator')),
    sha,
    total_count: latest.length,
    repository: fullRepositoryJson(world, repository),
    commit_url: `${api}/commits/${sha}`,
    url: `${api}/commits/${sha}/status`,
  });
}

export const repositoryHandlers = {
  'repos/get': ({ world, repository, caller }) =>
    ok({
      ...fullRepositoryJson(world, repository),
      ...(caller.kind === 'user' ? { permissions: permissionFlags(world, repository, caller.login) } : {}),
    }),
  'repos/get-collaborator-permission-level': ({ world, repository, path }) => {
    const { login } = userOf(world, path.username);
    const role = roleOf(world, repository, login);
    const user = { ...userJson(world, login), permissions: permissionFlags(world, repository, login), role_name: role };
    return ok({ permission: COARSE[role], user, role_name: role });
  },
  'repos/get-content': getContent,
  'repos/get-branch': async ({ world, repository, path }) => ok(await branchJson(world, repository, path.branch)),
  'repos/list-branches': async (call) => {
    const { world, repository } = call;
    const refs = [...(await listRefs(repositoryDir(world, repository), 'refs/heads'))];
    return paged(call, refs, ([ref, sha]) => ({
      name: ref.replace(/^refs\/heads\//, ''),
      commit: { sha, url: `${repositoryUrl(world, repository)}/commits/${sha}` },
      protected: false,
    }));
  },
  'repos/list-commits': async (call) => {
    const { world, repository, query } = call;
    const head = await headOf(world, repository, query.sha);
    const range = query.path === undefined ? [head] : [head, '--', query.path];
    const commits = await log(repositoryDir(world, repository), range, 1_000);
    return paged(call, commits, (commit) => commitJson(world, repository, commit));
  },
  'repos/get-commit': getCommit,
  'repos/compare-commits-with-basehead': compare,
  'repos/list-commit-statuses-for-ref': async (call) => {
    const { world, repository, path } = call;
    const { statuses } = await statusesOf(world, repository, path.ref);
    return paged(call, statuses.reverse(), (one) => statusJson(world, repository, one));
  },
  'repos/get-combined-status-for-ref': combinedStatus,
  'repos/list-pull-requests-associated-with-commit': (call) => {
    const { world, repository, path } = call;
    const pulls = world.state.threads.filter(
      (one) => isPull(one) && one.repoId === repository.id && one.pull.headSha === path.commit_sha,
    );
    return paged(call, pulls.filter(isPull), (one) => pullSimpleJson(world, one));
  },
} satisfies Partial<Handlers>;
