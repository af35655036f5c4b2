import { createRepository, type NewRepository } from './acts/repositories.ts';
import { filesOf } from './git-content.ts';
import { repositoryHandle, type RepositoryHandle } from './repository-handle.ts';
import type { User } from './state.ts';
import { ensureUser, type World } from './world.ts';

/** Finds or makes an account and names it. */
export function ensureUserNamed(world: World, login: string, more: { name?: string; type?: User['type'] } = {}): User {
  const user = ensureUser(world, login, more.type ?? 'User');
  if (more.name !== undefined) user.name = more.name;
  return user;
}

/** Makes a repository of given files, or of a directory's. */
export async function createRepositoryIn(
  world: World,
  wanted: NewRepository & { fromDir?: string },
): Promise<RepositoryHandle> {
  const { fromDir, ...rest } = wanted;
  const files = fromDir === undefined ? rest.files : { ...(await filesOf(fromDir)), ...rest.files };
  return repositoryHandle(world, await createRepository(world, { ...rest, ...(files === undefined ? {} : { files }) }));
}
