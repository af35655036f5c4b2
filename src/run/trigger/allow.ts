import type { Command } from '../../domain/run.ts';
import { mayAdd, operatorLine, readWaysOut, writeWaysOut, type WayOut } from '../../policy/authority/may-add.ts';
import { allowReply } from '../../policy/markdown/replies.ts';
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
  const { decision } = mayAdd(ports.mayAdd ?? [], way);
  await ports.audit({ type: 'trigger.allow', trigger, decision, data: { name, methods } });
  if (!decision.allow) {
    await repository.react(targetOf(trigger), 'confused');
    await reply(handling, allowReply({ kind: 'operator', name, line: operatorLine(way) }), key);
    return null;
  }
  const [last] = await ports.runs.ofThread(threadOf(trigger));
  if (last === undefined) {
    await reply(handling, allowReply({ kind: 'nothing', prefix, name, flag: writeWaysOut([way]) }), key);
    return null;
  }
  await reply(handling, allowReply({ kind: 'again', name, line: operatorLine(way) }), key);
  const before = last.request.command;
  const known = before.flags['allow'] === undefined ? [] : readWaysOut(before.flags['allow']);
  const ways = [...known.filter((one) => one.name !== name), way].slice(-10);
  return { ...before, flags: { ...before.flags, ...command.flags, allow: writeWaysOut(ways) } };
}
