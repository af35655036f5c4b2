import { OWN_BRANCHES } from '../domain/run.ts';
import { CheckSuiteCompleted, WorkflowRunCompleted, type Result } from './payload.ts';
import { actionOf, actorOf, checked, repoOf, type Delivery, type TriggerReading } from './reading.ts';

const FAILED = ['failure', 'timed_out'];

/**
 * A failed CI run on a branch that may be one of ours. Whoever sent it asks for nothing: the worker finds the person in whose name
 * it is looked after, and checks that it is ours.
 */
export function readSuite(delivery: Delivery): TriggerReading {
  const parsed = CheckSuiteCompleted.safeParse(delivery.payload);
  if (!parsed.success) return { ignored: actionOf(delivery.payload) === 'completed' ? 'payload' : 'event' };
  const { check_suite: result, ...rest } = parsed.data;
  return readResult({ delivery, event: 'check_suite.completed', result, suite: result.id, ...rest });
}

/** The same for those who only hear of workflows. */
export function readWorkflowRun(delivery: Delivery): TriggerReading {
  const parsed = WorkflowRunCompleted.safeParse(delivery.payload);
  if (!parsed.success) return { ignored: actionOf(delivery.payload) === 'completed' ? 'payload' : 'event' };
  const { workflow_run: result, ...rest } = parsed.data;
  return readResult({ delivery, event: 'workflow_run.completed', result, suite: result.check_suite_id, ...rest });
}

interface Failed extends Pick<CheckSuiteCompleted, 'repository' | 'sender' | 'installation'> {
  delivery: Delivery;
  event: 'check_suite.completed' | 'workflow_run.completed';
  result: Result;
  suite: number;
}

function readResult({ delivery, event, result, suite, repository, sender, installation }: Failed): TriggerReading {
  const { conclusion, head_branch: branch, head_sha: sha, updated_at: happenedAt } = result;
  if (!FAILED.includes(conclusion ?? '')) return { ignored: 'no_command' };
  // Pull requests from forks are not named here.
  const [pull] = result.pull_requests;
  if (branch?.startsWith(OWN_BRANCHES) !== true || pull === undefined) return { ignored: 'not_ours' };
  const url = `${repository.html_url}/pull/${pull.number}`;
  return checked({
    deliveryId: delivery.id,
    event,
    key: `ci:${repository.id}:${sha}:${suite}`,
    installationId: installation.id,
    repo: repoOf(repository),
    source: { number: pull.number, title: branch, isPull: true, url },
    actor: actorOf(sender),
    cause: 'ci',
    head: { branch, sha },
    commands: [{ verb: 'fix', text: '', flags: {} }],
    problems: [],
    texts: [],
    happenedAt,
  });
}
