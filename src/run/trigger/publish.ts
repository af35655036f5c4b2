import { CofferdamError, mayHelpAgain } from '../../domain/errors.ts';
import type { Digest } from '../../domain/ids.ts';
import type { Command } from '../../domain/run.ts';
import { shortHash } from '../../domain/held.ts';
import { allow, deny } from '../../domain/decision.ts';
import { heldListReply, hostGoneReply, notPublishedReply, publishedReply } from '../../policy/markdown/replies.ts';
import type { HeldResult, RunRecord } from '../ports.ts';
import { reply, threadOf, type Handling } from './answer.ts';
import type { TriggerHeld } from './ports.ts';

interface Waiting {
  record: RunRecord;
  kept: HeldResult;
}

/**
 * `publish HASH`: exactly the commit whose diff has this hash, for whoever asks now and may write. A hash is 12 digits or more of
 * one; any other word is answered with what waits here.
 */
export async function publish(handling: Handling, held: TriggerHeld, command: Command, key: string): Promise<void> {
  const { ports, trigger } = handling;
  const named = /^\S+/
    .exec(command.text)?.[0]
    ?.replace(/^sha256:/, '')
    .replaceAll('`', '')
    .toLowerCase();
  const records = (await ports.runs.ofThread(threadOf(trigger))).filter(
    ({ state }) => state !== 'queued' && state !== 'running',
  );
  const kept = await waiting(records, held);
  const isNamed = (diffHash: string): boolean =>
    named !== undefined && /^[0-9a-f]{12,64}$/.test(named) && diffHash.startsWith(`sha256:${named}`);
  const chosen = kept.find((one) => isNamed(one.kept.held.diffHash));
  const away = records.flatMap((record) => elsewhere(record, held));
  const there = away.find((one) => isNamed(one.held.diffHash));
  if (chosen === undefined && there !== undefined) {
    await publishThere(handling, held, { command, key, there });
    return;
  }
  if (chosen === undefined) {
    const decision = deny('hash of a held result', 'not_held');
    await ports.audit({ type: 'publish.refused', trigger, decision, data: { named: named?.slice(0, 80) ?? null } });
    const lines = [
      ...kept.filter((one) => one.kept.published === undefined).map(line),
      ...away.filter(({ state }) => state === 'held').map(lineThere),
    ];
    await reply(handling, heldListReply(lines, { prefix: ports.help.prefix, named }), key);
    return;
  }
  await publishOne(handling, held, chosen, key);
}

type Away = RunRecord & { held: NonNullable<RunRecord['held']> };

/** A result that was held on another host, as its record has it. */
function elsewhere(record: RunRecord, { host }: TriggerHeld): Away[] {
  const { held } = record;
  return held !== undefined && held.host !== host ? [{ ...record, held }] : [];
}

/** The host that has the result decides and acts as if it had been asked itself. */
async function publishThere(
  handling: Handling,
  held: TriggerHeld,
  { command, key, there }: { command: Command; key: string; there: Away },
): Promise<void> {
  const { ports, trigger } = handling;
  const hash = shortHash(there.held.diffHash as Digest);
  const to = { host: there.held.host, key: hash };
  // Only this command: what else was written is done here.
  if ((await held.handOver({ ...trigger, commands: [command], problems: [] }, to)) === 'taken') return;
  const decision = deny('host of a held result', 'host_gone');
  await ports.audit({ type: 'publish.refused', trigger, decision, data: { named: hash } });
  await reply(handling, hostGoneReply({ hash, host: there.held.host, prefix: ports.help.prefix }), `${key}-${hash}`);
}

/** What these runs left waiting here, newest first. */
async function waiting(records: readonly RunRecord[], held: TriggerHeld): Promise<Waiting[]> {
  const loaded = await Promise.all(
    records.map(async (record) => ({ record, kept: await held.load(record.request.runId) })),
  );
  return loaded.flatMap(({ record, kept }) => (kept === null ? [] : [{ record, kept }]));
}

async function publishOne(handling: Handling, held: TriggerHeld, one: Waiting, key: string): Promise<void> {
  const { ports, trigger } = handling;
  const { record, kept } = one;
  const hash = shortHash(kept.held.diffHash);
  const { runId } = record.request;
  const before = kept.published !== undefined;
  // Before it happens: who approved what, bound to the hash that they named.
  const data = {
    runId,
    diffHash: kept.held.diffHash,
    commit: kept.harvest.commit,
    requester: record.request.actor.login,
  };
  await ports.audit({ type: 'publish.approved', trigger, decision: allow('hash of a held result'), data });
  try {
    const published = await held.publish({ record, kept, trigger });
    const { pull, patch, baseMoved } = published;
    await reply(
      handling,
      publishedReply({ hash, pull, patch, before, baseMoved: baseMoved === true }),
      `${key}-${hash}`,
    );
  } catch (thrown) {
    // Another try of the same trigger may do it; where it cannot, the person is told.
    if (!(thrown instanceof CofferdamError) || mayHelp(thrown)) throw thrown;
    await reply(
      handling,
      notPublishedReply({ hash, why: thrown.message, prefix: ports.help.prefix }),
      `${key}-${hash}`,
    );
  }
}

/** A branch that has moved meanwhile stays where it is. */
function mayHelp(error: CofferdamError & { kind?: unknown }): boolean {
  return error.kind !== 'conflict' && mayHelpAgain(error);
}

function line({ record, kept }: Waiting): Parameters<typeof heldListReply>[0][number] {
  return {
    runId: record.request.runId,
    hash: shortHash(kept.held.diffHash),
    keptAt: kept.keptAt,
    requester: record.request.actor.login,
    files: kept.harvest.files.length,
  };
}

function lineThere({ request, held }: Away): Parameters<typeof heldListReply>[0][number] {
  const { diffHash, keptAt, files } = held;
  const hash = shortHash(diffHash as Digest);
  return { runId: request.runId, hash, keptAt, requester: request.actor.login, files };
}
