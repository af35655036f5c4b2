import { allow, deny, type Decision } from '../../domain/decision.ts';

/** `cofferdam/<number>-<slug>-<salt>`: the only shape of a branch that may be pushed. */
const RESULT_BRANCH = /^cofferdam\/(\d{1,10})-(?:[a-z0-9]+-)*([a-z0-9]{4,16})$/;

const RULE = 'result branch';

/**
 * May this ref be pushed? Exactly one can: the run's own branch, given as a full ref. With `number`, it must be that of the
 * thread the run came from.
 */
export function pushDecision(ref: string, run: { branch: string; number?: number }): Decision {
  const number = RESULT_BRANCH.exec(run.branch)?.[1];
  const own = ref === `refs/heads/${run.branch}` && number !== undefined;
  if (!own || (run.number !== undefined && Number(number) !== run.number)) return deny(RULE, 'ref_not_allowed');
  return allow(RULE);
}

/** The branch of a run. `salt` makes it unguessable and new; the slug is for people. */
export function resultBranch(run: { number: number; title: string; salt: string }): string {
  const slug = run.title
    .normalize('NFKD')
    .toLowerCase()
    .replaceAll(/[\u0300-\u036f]/g, '')
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
    .slice(0, 40)
    .replace(/-+$/, '');
  const branch = ['cofferdam/' + String(run.number), ...(slug === '' ? [] : [slug]), run.salt].join('-');
  if (!RESULT_BRANCH.test(branch)) throw new RangeError('a branch needs a number and a salt of 4 to 16 of a-z0-9');
  return branch;
}
