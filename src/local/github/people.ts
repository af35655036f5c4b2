import { createRepository, type NewRepository } from './acts/repositories.ts';
import { filesOf } from './git-content.ts';
import { repositoryHandle, type RepositoryHandle } from './repository-handle.ts';
import type { Team, User } from './state.ts';
import { ensureUser, nextId, sameName, type World } from './world.ts';

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

/** Makes a team of an organisation, or gives it other members; null: deletes it. */
export function setTeamOf(world: World, org: string, team: { slug: string; members: Team['members'] | null }): void {
  const { slug, members } = team;
  const rest = world.state.teams.filter((one) => !(sameName(one.org, org) && sameName(one.slug, slug)));
  for (const login of Object.keys(members ?? {})) ensureUser(world, login);
  world.state.teams = members === null ? rest : [...rest, { id: nextId(world), org, slug, members }];
  world.changed();
}
