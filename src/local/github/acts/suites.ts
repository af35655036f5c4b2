import type { CheckSuite, Repository } from '../state.ts';
import { nextId, now, type World } from '../world.ts';

/** The suite of an App on a commit; each App has one per commit. */
export function ensureSuite(
  world: World,
  repository: Repository,
  wanted: { app: string; sha: string; branch: string | null },
): CheckSuite {
  const found = world.state.checkSuites.find(
    (one) => one.repoId === repository.id && one.app === wanted.app && one.headSha === wanted.sha,
  );
  if (found !== undefined) return found;
  const at = now(world);
  const suite: CheckSuite = {
    id: nextId(world),
    repoId: repository.id,
    app: wanted.app,
    headSha: wanted.sha,
    headBranch: wanted.branch,
    createdAt: at,
    updatedAt: at,
  };
  world.state.checkSuites.push(suite);
  return suite;
}
