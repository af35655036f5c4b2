/** The stand-in's one mutable thing and the look-ups on it. Everything else is a function of a `World`. */
import { join } from 'node:path';
import { GitHubError, notFound } from './errors.ts';
import { instant } from './git-format.ts';
import type { OAuth } from './oauth.ts';
import type { Installation, Repository, Role, State, Thread, User, PullData } from './state.ts';

type ViolationKind = 'unknown-operation' | 'request' | 'response' | 'webhook' | 'graphql' | 'credentials';

/** Something that the real GitHub would not have answered like this, or that is not in its description. */
export interface Violation {
  kind: ViolationKind;
  /** Operation or webhook, or method and path when there is none. */
  where: string;
  details: unknown;
}

export interface World {
  state: State;
  /** Directory of the bare repositories. */
  gitDir: string;
  /** `http://127.0.0.1:PORT`, known once the server listens. */
  origin: string;
  appPublicKey: string;
  appPrivateKey: string;
  webhookSecret: string;
  /** The App's OAuth flow for people. */
  oauth: OAuth;
  /** One-time codes of the App manifest flow. */
  manifestCodes: Set<string>;
  clock: () => number;
  violations: Violation[];
  /** Tells waiters and the state file that something changed. */
  changed: () => void;
  /** Sends a webhook to the App if its installation and events cover it. */
  emit: (event: OutgoingEvent) => void;
  /** Work on one repository's refs at a time. */
  exclusively: <T>(repoId: number, work: () => Promise<T>) => Promise<T>;
}

export interface OutgoingEvent {
  /** `issues`, `check_run` …: the X-GitHub-Event header. */
  name: string;
  action: string | null;
  /** Null for events about the App itself. */
  repository: Repository | null;
  sender: string;
  payload: Record<string, unknown>;
}

export function nowMs(world: World): number {
  return world.clock();
}

export function now(world: World): string {
  return instant(new Date(world.clock()));
}

export function nextId(world: World): number {
  world.state.nextId += 1;
  return world.state.nextId;
}

/** GraphQL-style node id; opaque to every client. */
export function nodeId(kind: string, id: number): string {
  return `${kind}_${Buffer.from(`kw${id}`).toString('base64url')}`;
}

export function repositoryDir(world: World, repository: Repository): string {
  return join(world.gitDir, `${repository.id}.git`);
}

export function sameName(left: string, right: string): boolean {
  return left.toLowerCase() === right.toLowerCase();
}

export function findRepository(world: World, owner: string, name: string): Repository | undefined {
  return world.state.repositories.find((one) => sameName(one.owner, owner) && sameName(one.name, name));
}

/** The repository that had this name before, where no other has it now. */
export function formerly(world: World, owner: string, name: string): Repository | undefined {
  if (findRepository(world, owner, name) !== undefined) return undefined;
  return world.state.repositories.find((one) =>
    (one.former ?? []).some((former) => sameName(former.owner, owner) && sameName(former.name, name)),
  );
}

export function repositoryById(world: World, id: number): Repository {
  const found = world.state.repositories.find((one) => one.id === id);
  if (found === undefined) throw notFound();
  return found;
}

export function findUser(world: World, login: string): User | undefined {
  return world.state.users.find((one) => sameName(one.login, login));
}

export function userOf(world: World, login: string): User {
  const found = findUser(world, login);
  if (found === undefined) throw new GitHubError(404, 'Not Found');
  return found;
}

/** Finds or makes an account. */
export function ensureUser(world: World, login: string, type: User['type'] = 'User'): User {
  const found = findUser(world, login);
  if (found !== undefined) return found;
  if (!/^[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})(?:\[bot\])?$/.test(login))
    throw new RangeError(`not a login that GitHub allows: ${login}`);
  const user: User = { id: nextId(world), login, name: null, type };
  world.state.users.push(user);
  return user;
}

export function botLogin(world: World): string {
  return `${world.state.app.slug}[bot]`;
}

export function findThread(world: World, repository: Repository, number: number): Thread {
  const found = world.state.threads.find((one) => one.repoId === repository.id && one.number === number);
  if (found === undefined) throw notFound();
  if (found.deleted === true) throw new GitHubError(410, 'This issue was deleted');
  // GitHub's redirect leads to where a token of this repository reads nothing.
  if (found.transferred === true) throw notFound();
  return found;
}

export type PullThread = Thread & { pull: PullData };

export function isPull(thread: Thread): thread is PullThread {
  return thread.pull !== null;
}

export function findPull(world: World, repository: Repository, number: number): PullThread {
  const thread = findThread(world, repository, number);
  if (!isPull(thread)) throw notFound();
  return thread;
}

/** What somebody may do: the owner is admin, everybody may read a public repository. */
export function roleOf(world: World, repository: Repository, login: string): Role {
  if (sameName(repository.owner, login)) return 'admin';
  const granted = Object.entries(repository.collaborators).find(([name]) => sameName(name, login))?.[1];
  if (granted !== undefined && granted !== 'none') return granted;
  return repository.private ? 'none' : 'read';
}

const RANK: Record<Role, number> = { none: 0, read: 1, triage: 2, write: 3, maintain: 4, admin: 5 };

export function atLeast(role: Role, needed: Role): boolean {
  return RANK[role] >= RANK[needed];
}

export type Association = 'OWNER' | 'MEMBER' | 'COLLABORATOR' | 'NONE';

export function associationOf(world: World, repository: Repository, login: string): Association {
  if (sameName(repository.owner, login)) return 'OWNER';
  const granted = Object.entries(repository.collaborators).find(([name]) => sameName(name, login))?.[1];
  if (granted === undefined || granted === 'none') return 'NONE';
  return findUser(world, repository.owner)?.type === 'Organization' ? 'MEMBER' : 'COLLABORATOR';
}

/** The App's installation that covers a repository, suspended or not. */
export function installationFor(world: World, repository: Repository): Installation | undefined {
  return world.state.installations.find(
    (one) =>
      sameName(one.account, repository.owner) && (one.selection === 'all' || one.repositoryIds.includes(repository.id)),
  );
}

export function installedRepositories(world: World, installation: Installation): Repository[] {
  return world.state.repositories.filter(
    (one) =>
      sameName(one.owner, installation.account) &&
      (installation.selection === 'all' || installation.repositoryIds.includes(one.id)),
  );
}
