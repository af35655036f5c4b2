import type { RunId } from '../../domain/ids.ts';
import { freezeText } from '../../domain/freeze.ts';
import type { Command, FrozenInput, PullHead, RunRequest } from '../../domain/run.ts';
import type { RunRecord } from '../ports.ts';
import { refuseFor, saidAt, targetOf, threadOf, type Handling } from './answer.ts';
import { freezeInput } from './input.ts';
import { firstTurnedAway, inStorm, summarise } from './storm.ts';

/** 👀, frozen input, label off, queued, status comment: from an allowed trigger to a run request. */
export async function startRun(handling: Handling, command: Command, runId: RunId): Promise<void> {
  const { ports, trigger, repository } = handling;
  const pull = await branchOf(handling, command);
  if (pull === 'not_ours') return;
  if (pull === 'closed') {
    await refuseFor(handling, 'open pull request', pull);
    return;
  }
  await repository.react(targetOf(trigger), 'eyes', trigger.source.number);
  const frozen = await freezeInput(trigger, repository, { frozenAt: ports.now(), pull });
  const input = withQuestion(frozen, await lastOf(handling));
  if (trigger.label !== undefined) await repository.removeLabel(trigger.source.number, trigger.label);
  const request: RunRequest = {
    runId,
    deliveryId: trigger.deliveryId,
    installationId: trigger.installationId,
    repo: trigger.repo,
    source: trigger.source,
    actor: trigger.actor,
    command: await settled(handling, command),
    input,
    ...(trigger.cause === undefined ? {} : { cause: trigger.cause }),
    ...(pull === undefined ? {} : { pull }),
    requestedAt: ports.now(),
  };
  await ports.audit({
    type: 'trigger.accepted',
    trigger,
    decision: handling.decision,
    data: {
      runId,
      input: input.texts.map(({ kind, id, author, updatedAt, sha256 }) => ({ kind, id, author, updatedAt, sha256 })),
    },
  });
  const preview = await ports.runs.preview(request);
  if ('limit' in preview) {
    await turnAway(handling, preview.limit);
    return;
  }
  const quiet = 'place' in preview && inStorm(preview.mine);
  if (quiet) await summarise(handling, request);
  else if ('place' in preview) await ports.announce(request, preview.place);
  const queued = await ports.runs.enqueue(request);
  if (queued.queued || queued.limit === null) {
    await stopIfAsked(handling, request);
    return;
  }
  // Others were faster: what was announced is taken back.
  if (!quiet) await ports.withdrawn(waiting(request), trigger.actor.login);
  await turnAway(handling, queued.limit);
}

/** Whoever said stop while this was on its way into the queue was told that nothing runs. */
async function stopIfAsked({ ports, trigger }: Handling, request: RunRequest): Promise<void> {
  const at = saidAt(trigger);
  const stop = at === undefined ? null : await ports.runs.stopSince(threadOf(trigger), at);
  if (stop === null) return;
  const end = await ports.runs.cancel(request.runId, stop);
  if (end === 'removed') await ports.withdrawn(waiting(request), stop.by);
}

async function turnAway(handling: Handling, limit: string): Promise<void> {
  await refuseFor(handling, `queue limit: ${limit}`, 'queue_full', { silent: !(await firstTurnedAway(handling)) });
}

async function lastOf({ ports, trigger }: Handling): Promise<RunRecord | undefined> {
  return (await ports.runs.ofThread(threadOf(trigger)))[0];
}

/** Whoever answers a question need not repeat it: the agent that goes on did not ask it. */
function withQuestion(input: FrozenInput, last: RunRecord | undefined): FrozenInput {
  if (last?.state !== 'needs_input' || last.question === undefined) return input;
  const asked = { kind: 'question' as const, author: 'cofferdam', updatedAt: last.updatedAt, body: last.question };
  return { ...input, texts: [...input.texts, freezeText(asked)] };
}

function waiting(request: RunRequest): RunRecord {
  return { request, installation: '', step: 'spec', state: 'queued', worker: '', updatedAt: request.requestedAt };
}

/** The branch that a follow-up works on: of the pull request itself, or of the one that an earlier run made for this thread. */
async function branchOf(handling: Handling, command: Command): Promise<PullHead | 'closed' | 'not_ours' | undefined> {
  const { trigger, repository } = handling;
  if (trigger.source.isPull) {
    const { open, ours, ...pull } = await repository.pull(trigger.source.number);
    if (trigger.cause !== undefined && !(ours && open && pull.sameRepository)) return 'not_ours';
    if (!open) return 'closed';
    // What an earlier run made of a fork's pull request is on a branch of its own.
    return pull.sameRepository || command.verb !== 'continue' ? pull : ((await earlierPull(handling)) ?? pull);
  }
  return command.verb === 'continue' ? earlierPull(handling) : undefined;
}

/** The open pull request that an earlier run made for this thread. */
async function earlierPull({ trigger, repository, ports }: Handling): Promise<PullHead | undefined> {
  const records = await ports.runs.ofThread(threadOf(trigger));
  const earlier = records.find((record) => record.pull !== undefined)?.pull;
  if (earlier === undefined) return undefined;
  const { open, number, branch, sha, base, sameRepository } = await repository.pull(earlier.number);
  return open && sameRepository ? { number, branch, sha, base, sameRepository } : undefined;
}

/** `retry` without a text of its own asks for what was asked last; a plan is marked, whatever its text. */
async function settled(handling: Handling, command: Command): Promise<Command> {
  if (command.verb === 'plan') return { ...command, flags: { ...command.flags, plan: 'true' } };
  if (command.verb !== 'retry' || command.text !== '') return command;
  const last = await lastOf(handling);
  if (last === undefined) return command;
  return { ...last.request.command, flags: { ...last.request.command.flags, ...command.flags } };
}
