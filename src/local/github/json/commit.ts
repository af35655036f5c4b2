import type { CommitInfo, FileChange } from '../git-format.ts';
import type { Schemas } from '../openapi/types.ts';
import type { Repository, User } from '../state.ts';
import { nodeId, type World } from '../world.ts';
import { urlPath, userJson } from './people.ts';
import { repositoryPage, repositoryUrl } from './repository.ts';

/** `ID+login@users.noreply…` names an account; other addresses match nobody here. */
function accountOf(world: World, email: string): User | undefined {
  const login = /^(?:\d+\+)?([^@]+)@users\.noreply\.[\w.-]+$/i.exec(email)?.[1]?.toLowerCase();
  return world.state.users.find((one) => one.login.toLowerCase() === login);
}

function unsigned() {
  return { verified: false, reason: 'unsigned', signature: null, payload: null, verified_at: null };
}

export function commitJson(world: World, repository: Repository, commit: CommitInfo): Schemas['commit'] {
  const api = repositoryUrl(world, repository);
  const page = repositoryPage(world, repository);
  const account = (email: string) => {
    const user = accountOf(world, email);
    return user === undefined ? null : userJson(world, user.login);
  };
  return {
    sha: commit.sha,
    node_id: nodeId('C', parseInt(commit.sha.slice(0, 10), 16)),
    url: `${api}/commits/${commit.sha}`,
    html_url: `${page}/commit/${commit.sha}`,
    comments_url: `${api}/commits/${commit.sha}/comments`,
    commit: {
      url: `${api}/git/commits/${commit.sha}`,
      message: commit.message,
      author: commit.author,
      committer: commit.committer,
      tree: { sha: commit.tree, url: `${api}/git/trees/${commit.tree}` },
      comment_count: 0,
      verification: unsigned(),
    },
    author: account(commit.author.email),
    committer: account(commit.committer.email),
    parents: commit.parents.map((sha) => ({
      sha,
      url: `${api}/commits/${sha}`,
      html_url: `${page}/commit/${sha}`,
    })),
  };
}

/** The object as git has it, without accounts. */
export function gitCommitJson(world: World, repository: Repository, commit: CommitInfo): Schemas['git-commit'] {
  const api = repositoryUrl(world, repository);
  const page = repositoryPage(world, repository);
  return {
    sha: commit.sha,
    node_id: nodeId('C', parseInt(commit.sha.slice(0, 10), 16)),
    url: `${api}/git/commits/${commit.sha}`,
    html_url: `${page}/commit/${commit.sha}`,
    author: commit.author,
    committer: commit.committer,
    message: commit.message,
    tree: { sha: commit.tree, url: `${api}/git/trees/${commit.tree}` },
    parents: commit.parents.map((sha) => ({
      sha,
      url: `${api}/git/commits/${sha}`,
      html_url: `${page}/commit/${sha}`,
    })),
    verification: unsigned(),
  };
}

export function fileJson(world: World, repository: Repository, file: FileChange, ref: string): Schemas['diff-entry'] {
  const at = urlPath(file.filename);
  return {
    sha: file.sha,
    filename: file.filename,
    status: file.status,
    additions: file.additions,
    deletions: file.deletions,
    changes: file.additions + file.deletions,
    blob_url: `${repositoryPage(world, repository)}/blob/${ref}/${at}`,
    raw_url: `${repositoryPage(world, repository)}/raw/${ref}/${at}`,
    contents_url: `${repositoryUrl(world, repository)}/contents/${at}?ref=${ref}`,
    ...(file.patch === undefined ? {} : { patch: file.patch }),
    ...(file.previousFilename === undefined ? {} : { previous_filename: file.previousFilename }),
  };
}
