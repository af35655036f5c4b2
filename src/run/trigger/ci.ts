import type { RunId } from '../../domain/ids.ts';
import { repoKey } from '../../domain/run.ts';
import type { Trigger } from '../../domain/trigger.ts';
import { ciReply } from '../../policy/markdown/replies.ts';
import { once, type Handling } from './answer.ts';
import type { TriggerPorts } from './ports.ts';
import { startRun } from './start.ts';

/** Fixes of failed CI runs that nobody asked for, on one pull request. */
const ROUNDS = 2;

/**
 * A failed CI run on a pull request of this App: a fix in the name of the last person who had the App work there, at most twice;
 * then people are asked. The counter is made of claims, which outlive every process, and a commit is looked after once.
 */
export async function handleFailedCi(ports: TriggerPorts, trigger: Trigger, runId: RunId): Promise<void> {
  const repository = ports.repository(trigger);
  const { head, repo, source } = trigger;
  const pull = await repository.pull(source.number);
  const current = head !== undefined && pull.sha === head.sha && pull.branch === head.branch;
  if (!current || !pull.ours || !pull.open || !pull.sameRepository) return;
  if ((await repository.failingChecks(pull.sha)).length === 0) return;
  const records = await ports.runs.ofBranch({ owner: repo.owner, name: repo.name, branch: pull.branch });
  const [last] = records;
  // A run that began at this commit will bring another one, with a CI run of its own.
  const busy = records.some(
    ({ state, request }) => (state === 'queued' || state === 'running') && request.pull?.sha === pull.sha,
  );
  if (last === undefined || busy) return;
  const { actor } = last.request;
  const decision = await repository.authority(actor, ports.askers);
  const named: Trigger = { ...trigger, actor };
  const data = { verbs: ['fix'], cause: 'ci', login: actor.login, sha: pull.sha };
  await ports.audit({ type: 'trigger.authority', trigger: named, decision, data });
  const handling: Handling = { ports, trigger: named, repository, decision };
  const key = `ci-fix:${repoKey(repo)}#${source.number}`;
  if ((await ports.claim({ ...trigger, key: `${key}:${pull.sha}` }, [runId])) === null) return;
  const marker = `<!-- cofferdam:ci ${pull.sha} -->`;
  const { prefix } = ports.help;
  if (!decision.allow) {
    await once(handling, marker, ciReply({ kind: 'no_right', login: actor.login, prefix }));
    return;
  }
  for (let round = 1; round <= ROUNDS; round += 1) {
    const claimed = await ports.claim({ ...trigger, key: `${key}:round-${round}` }, [runId]);
    const id = claimed?.[0];
    if (id === undefined) continue;
    await startRun(handling, { verb: 'fix', text: '', flags: {} }, id);
    return;
  }
  await once(handling, marker, ciReply({ kind: 'rounds', rounds: ROUNDS, prefix }));
}
