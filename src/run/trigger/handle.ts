import { deny } from '../../domain/decision.ts';
import { CofferdamError, mayHelpAgain } from '../../domain/errors.ts';
import type { RunId } from '../../domain/ids.ts';
import type { Command } from '../../domain/run.ts';
import type { Trigger } from '../../domain/trigger.ts';
import {
  budgetReply,
  helpReply,
  problemsReply,
  statusReply,
  stopReply,
  unavailableReply,
} from '../../policy/markdown/replies.ts';
import { allowHost } from './allow.ts';
import { refuse, reply, saidAt, targetOf, threadOf, type Handling } from './answer.ts';
import { clicked } from './button.ts';
import { handleFailedCi } from './ci.ts';
import { checkConfiguration } from './configuration.ts';
import { publish } from './publish.ts';
import { RUN_VERBS, type TriggerPorts } from './ports.ts';
import { startRun } from './start.ts';

/**
 * One trigger from "somebody asked" to "a run is queued" or a visible no. May be called again after a crash: what was done is found
 * and not done twice.
 */
export async function handleTrigger(ports: TriggerPorts, delivered: Trigger): Promise<void> {
  try {
    await handleOnce(ports, delivered);
  } catch (thrown) {
    // Archived, suspended, deleted, a permission that is missing: nobody can be told there, so the record says it.
    if (thrown instanceof CofferdamError && thrown.code === 'github' && !mayHelpAgain(thrown)) {
      const decision = deny('GitHub', 'github_refused');
      await ports.audit({ type: 'trigger.refused', trigger: delivered, decision, data: { why: thrown.message } });
    }
    throw thrown;
  }
}

async function handleOnce(ports: TriggerPorts, delivered: Trigger): Promise<void> {
  const { proposal } = delivered;
  if (proposal !== undefined) {
    if (ports.configuration !== undefined) await checkConfiguration(ports.configuration, { ...delivered, proposal });
    return;
  }
  const trigger = await clicked(ports, delivered);
  if (trigger === null) return;
  const starts = trigger.commands.filter((command) => RUN_VERBS.includes(command.verb));
  const runIds = await ports.claim(
    trigger,
    starts.map(() => ports.newRunId()),
  );
  if (runIds === null) return;
  if (trigger.cause === 'ci') {
    const [runId] = runIds;
    return runId === undefined ? undefined : handleFailedCi(ports, trigger, runId);
  }
  const repository = ports.repository(trigger);
  const decision = await repository.authority(trigger.actor, ports.askers);
  await ports.audit({
    type: 'trigger.authority',
    trigger,
    decision,
    data: { verbs: trigger.commands.map((one) => one.verb) },
  });
  const handling: Handling = { ports, trigger, repository, decision };
  if (!decision.allow) {
    await refuse(handling, decision);
    return;
  }
  if (trigger.problems.length > 0) {
    await reply(
      handling,
      problemsReply(trigger.problems, { prefix: ports.help.prefix, obeyed: trigger.commands.length > 0 }),
      'problems',
    );
    await repository.react(targetOf(trigger), 'confused', trigger.source.number);
  }
  // A label is one question: it is taken off when it is answered, by a run (in `startRun`) or at once.
  if (trigger.label !== undefined && starts.length === 0) {
    await repository.removeLabel(trigger.source.number, trigger.label);
  }
  const left = [...runIds];
  for (const [index, command] of trigger.commands.entries()) await obey(handling, command, { index, left });
}

async function obey(handling: Handling, command: Command, at: { index: number; left: RunId[] }): Promise<void> {
  const { ports, trigger } = handling;
  const key = `${command.verb}-${at.index}`;
  if (RUN_VERBS.includes(command.verb)) {
    const runId = at.left.shift();
    if (runId === undefined) return;
    const meant = command.verb === 'allow' ? await allowHost(handling, command, key) : command;
    if (meant !== null) await startRun(handling, meant, runId);
    return;
  }
  switch (command.verb) {
    case 'help':
      return reply(handling, helpReply((await ports.helpFor?.(trigger)) ?? ports.help), key);
    case 'budget':
      return reply(handling, budgetReply(await ports.budget(trigger)), key);
    case 'status':
      return reply(handling, statusReply(await runLines(handling)), key);
    case 'stop':
      return reply(handling, stopReply(await stop(handling, command)), key);
    case 'publish':
      if (ports.held === undefined) break;
      return publish(handling, ports.held, command, key);
    default:
      break;
  }
  return reply(handling, unavailableReply(command.verb, ports.help), key);
}

async function runLines({ ports, trigger }: Handling): Promise<Parameters<typeof statusReply>[0]> {
  const records = await ports.runs.ofThread(threadOf(trigger));
  return Promise.all(
    records.slice(0, 10).map(async ({ request, state, step }) => ({
      runId: request.runId,
      state,
      step,
      requester: request.actor.login,
      ahead: state === 'queued' ? (await ports.runs.place(request.runId))?.ahead : undefined,
      runUrl: ports.runUrl?.(request.runId),
    })),
  );
}

async function stop({ ports, trigger }: Handling, command: Command): Promise<{ removed: number; signalled: number }> {
  const outcome = { removed: 0, signalled: 0 };
  const by = trigger.actor.login;
  const keep = command.flags['keep'] === 'true';
  // First: what is on its way into the queue is either found here or finds this.
  const at = saidAt(trigger);
  if (at !== undefined) await ports.runs.stopBefore(threadOf(trigger), { by, keep, at });
  for (const record of await ports.runs.ofThread(threadOf(trigger))) {
    if (record.state !== 'queued' && record.state !== 'running') continue;
    const end = await ports.runs.cancel(record.request.runId, { by, keep });
    if (end === 'unknown') continue;
    outcome[end] += 1;
    if (end === 'removed') await ports.withdrawn(record, by);
  }
  return outcome;
}
