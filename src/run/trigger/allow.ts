import { CofferdamError } from '../../domain/errors.ts';
import type { EgressEntry } from '../../domain/policy.ts';
import type { Command } from '../../domain/run.ts';
import { mayAdd, operatorLine, readWaysOut, writeWaysOut, type WayOut } from '../../policy/authority/may-add.ts';
import { allowReply, type KeptFacts } from '../../policy/markdown/allow.ts';
import { reply, targetOf, threadOf, type Handling } from './answer.ts';

const HOST = /^(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]$/;
const PRESET = /^[a-z]{2,10}$/;
const METHOD = /^[A-Z]{1,16}$/;

/**
 * `allow HOST [METHOD…]`: the last run once more, with that host, when the operator lets people add it. Null: it was answered, and
 * nothing begins.
 */
export async function allowHost(handling: Handling, command: Command, key: string): Promise<Command | null> {
  const { ports, trigger, repository } = handling;
  const { prefix } = ports.help;
  const [first = '', ...rest] =
    command.text
      .split('\n', 1)[0]
      ?.split(/[\s,]+/)
      .filter((word) => word !== '') ?? [];
  const name = first.replaceAll('`', '').toLowerCase().replace(/\.$/, '');
  const methods = rest.map((word) => word.replaceAll('`', '').toUpperCase());
  const way: WayOut = { name, methods };
  if (!(HOST.test(name) || PRESET.test(name)) || !methods.every((method) => METHOD.test(method))) {
    await repository.react(targetOf(trigger), 'confused');
    await reply(handling, allowReply({ kind: 'unclear', prefix }), key);
    return null;
  }
  const allowed = mayAdd(ports.mayAdd ?? [], way);
  const { decision } = allowed;
  await ports.audit({ type: 'trigger.allow', trigger, decision, data: { name, methods } });
  if (!('entry' in allowed)) {
    await repository.react(targetOf(trigger), 'confused');
    await reply(handling, allowReply({ kind: 'operator', name, line: operatorLine(way) }), key);
    return null;
  }
  const [last] = await ports.runs.ofThread(threadOf(trigger));
  if (last === undefined) {
    await reply(handling, allowReply({ kind: 'nothing', prefix, name, flag: writeWaysOut([way]) }), key);
    return null;
  }
  const kept = await keep(handling, name, allowed.entry);
  await reply(handling, allowReply({ kind: 'again', name, line: operatorLine(way), kept }), key);
  const before = last.request.command;
  const known = before.flags['allow'] === undefined ? [] : readWaysOut(before.flags['allow']);
  const ways = [...known.filter((one) => one.name !== name), way].slice(-10);
  return { ...before, flags: { ...before.flags, ...command.flags, allow: writeWaysOut(ways) } };
}

/** The offer to keep it. That it cannot be made is no reason not to run: asked again, it is made then. */
async function keep(
  { ports, trigger, decision }: Handling,
  name: string,
  entry: EgressEntry,
): Promise<KeptFacts | undefined> {
  if (ports.keepAllowed === undefined) return undefined;
  const record = (branch: string): Promise<void> =>
    ports.audit({ type: 'trigger.keep', trigger, decision, data: { name, branch } });
  try {
    return await ports.keepAllowed({ trigger, name, entry, record });
  } catch (thrown) {
    if (!(thrown instanceof CofferdamError)) throw thrown;
    return { kind: 'cannot', why: thrown.message };
  }
}
