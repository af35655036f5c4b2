/** Repositories, their people, and the App's installation on them. */
import { createBare, fetchBranches } from '../git.ts';
import { commitFiles, type Files } from '../git-content.ts';
import { installationJson } from '../json/people.ts';
import {
  nodeId,
  ensureUser,
  findRepository,
  installedRepositories,
  nextId,
  now,
  nowMs,
  repositoryDir,
  sameName,
  type World,
} from '../world.ts';
import type { Installation, Repository, Role, User } from '../state.ts';
import { emailOf, movingRefs } from './pushes.ts';

export interface NewRepository {
  owner: string;
  ownerType?: 'User' | 'Organization';
  name: string;
  description?: string;
  private?: boolean;
  /** No files: the repository stays empty, without a commit. */
  files?: Files;
  defaultBranch?: string;
  collaborators?: Record<string, Role>;
  /** False: draft pull requests are refused. */
  drafts?: boolean;
  labels?: readonly string[];
  /** False: the App is not installed on it. */
  installed?: boolean;
  message?: string;
}

/** The account's installation, made when there is none yet. */
function ensureInstallation(world: World, account: User, selection: 'all' | 'selected'): Installation {
  const found = world.state.installations.find((one) => sameName(one.account, account.login));
  if (found !== undefined) return found;
  const installation: Installation = {
    id: nextId(world),
    account: account.login,
    selection,
    repositoryIds: [],
    suspendedAt: null,
    createdAt: now(world),
  };
  world.state.installations.push(installation);
  return installation;
}

function brief(repository: Repository) {
  return {
    id: repository.id,
    node_id: nodeId('R', repository.id),
    name: repository.name,
    full_name: `${repository.owner}/${repository.name}`,
    private: repository.private,
  };
}

/** Installs the App on a repository and tells it. */
function install(world: World, repository: Repository): void {
  const known = world.state.installations.some((one) => sameName(one.account, repository.owner));
  const installation = ensureInstallation(world, ensureUser(world, repository.owner), 'selected');
  if (installation.selection === 'selected' && !installation.repositoryIds.includes(repository.id))
    installation.repositoryIds.push(repository.id);
  const described = { installation: installationJson(world, installation), requester: null };
  world.emit({
    name: known ? 'installation_repositories' : 'installation',
    action: known ? 'added' : 'created',
    repository: null,
    sender: repository.owner,
    payload: known
      ? {
          ...described,
          repository_selection: installation.selection,
          repositories_added: [brief(repository)],
          repositories_removed: [],
        }
      : { ...described, repositories: [brief(repository)] },
  });
}

/** Takes the App away from a repository and tells it. */
export function uninstall(world: World, repository: Repository): void {
  const installation = world.state.installations.find((one) => one.repositoryIds.includes(repository.id));
  if (installation === undefined) return;
  installation.repositoryIds = installation.repositoryIds.filter((id) => id !== repository.id);
  world.emit({
    name: 'installation_repositories',
    action: 'removed',
    repository: null,
    sender: repository.owner,
    payload: {
      installation: installationJson(world, installation),
      requester: null,
      repository_selection: installation.selection,
      repositories_added: [],
      repositories_removed: [brief(repository)],
    },
  });
  world.changed();
}

/** The account removes the App altogether; its tokens end. */
export function removeInstallation(world: World, installation: Installation): void {
  world.emit({
    name: 'installation',
    action: 'deleted',
    repository: null,
    sender: installation.account,
    payload: {
      installation: installationJson(world, installation),
      repositories: installedRepositories(world, installation).map(brief),
    },
  });
  world.state.installations = world.state.installations.filter((one) => one !== installation);
  world.state.tokens = world.state.tokens.filter((one) => one.installationId !== installation.id);
  world.changed();
}

/** Suspends or unsuspends every repository of an account. */
export function setSuspended(world: World, installation: Installation, suspended: boolean): void {
  installation.suspendedAt = suspended ? now(world) : null;
  world.emit({
    name: 'installation',
    action: suspended ? 'suspend' : 'unsuspend',
    repository: null,
    sender: installation.account,
    payload: { installation: installationJson(world, installation) },
  });
  world.changed();
}

export async function createRepository(world: World, wanted: NewRepository): Promise<Repository> {
  if (!/^[\w.-]{1,100}$/.test(wanted.name) || /^\.{1,2}$|\.git$/.test(wanted.name))
    throw new RangeError(`not a repository name that GitHub allows: ${wanted.name}`);
  const owner = ensureUser(world, wanted.owner, wanted.ownerType ?? 'User');
  if (findRepository(world, owner.login, wanted.name) !== undefined)
    throw new RangeError(`${owner.login}/${wanted.name} is already there`);
  for (const login of Object.keys(wanted.collaborators ?? {})) ensureUser(world, login);
  const repository: Repository = {
    id: nextId(world),
    owner: owner.login,
    name: wanted.name,
    description: wanted.description ?? null,
    private: wanted.private ?? true,
    defaultBranch: wanted.defaultBranch ?? 'main',
    drafts: wanted.drafts ?? true,
    collaborators: { ...wanted.collaborators },
    labels: (wanted.labels ?? []).map((name) => ({ id: nextId(world), name, color: 'd4c5f9', description: null })),
    nextNumber: 1,
    forkOf: null,
    createdAt: now(world),
    pushedAt: now(world),
  };
  const dir = repositoryDir(world, repository);
  await createBare(dir, repository.defaultBranch);
  world.state.repositories.push(repository);
  if (wanted.files !== undefined)
    await commitFiles(dir, {
      branch: repository.defaultBranch,
      message: wanted.message ?? 'feat: first version',
      files: wanted.files,
      author: { name: owner.login, email: emailOf(world, owner.login) },
      at: new Date(nowMs(world)),
    });
  if (wanted.installed !== false) install(world, repository);
  world.changed();
  return repository;
}

/** A copy of a repository under another account, for pull requests of people without write access. */
export async function forkRepository(world: World, parent: Repository, login: string): Promise<Repository> {
  const { name, defaultBranch } = parent;
  const fork = await createRepository(world, {
    owner: login,
    name,
    defaultBranch,
    private: parent.private,
    installed: false,
  });
  fork.forkOf = parent.id;
  await fetchBranches(repositoryDir(world, fork), repositoryDir(world, parent));
  world.changed();
  return fork;
}

/** A commit by somebody, without a clone: what a person does on the web page or by a push. */
export async function commitAs(
  world: World,
  repository: Repository,
  commit: { login: string; branch?: string; from?: string; message: string; files: Files },
): Promise<string> {
  const { login } = ensureUser(world, commit.login);
  return movingRefs(world, repository, login, () =>
    commitFiles(repositoryDir(world, repository), {
      branch: commit.branch ?? repository.defaultBranch,
      from: commit.from ?? repository.defaultBranch,
      message: commit.message,
      files: commit.files,
      author: { name: login, email: emailOf(world, login) },
      at: new Date(nowMs(world)),
    }),
  );
}
