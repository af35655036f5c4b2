import { actionsHandlers } from './actions.ts';
import { appHandlers } from './apps.ts';
import type { Handlers } from './call.ts';
import { checkHandlers } from './checks.ts';
import { contentHandlers } from './contents.ts';
import { gitHandlers } from './git.ts';
import { issueHandlers } from './issues.ts';
import { pullHandlers } from './pulls.ts';
import { repositoryHandlers } from './repositories.ts';
import { teamHandlers } from './teams.ts';

/** One handler for each operation of the cut; the compiler knows when one is missing. */
export const handlers: Handlers = {
  ...appHandlers,
  ...repositoryHandlers,
  ...contentHandlers,
  ...gitHandlers,
  ...issueHandlers,
  ...pullHandlers,
  ...checkHandlers,
  ...actionsHandlers,
  ...teamHandlers,
};
