/** Downloads of a run, all of its events, and the check of its record. */
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import { createAuditReader } from '../audit/read.ts';
import { parseSeal } from '../audit/seal.ts';
import { verifyAudit, type VerifyResult } from '../audit/verify.ts';
import type { AuditEvent } from '../domain/audit.ts';
import { beginDownload, sendPage } from './answer.ts';
import { html, type Markup } from './html.ts';
import type { Pages, RunExchange } from './pages.ts';
import { eventsBody, EVENTS_PER_PAGE } from './view/events.ts';
import { messageBody } from './view/list.ts';
import { frame } from './view/page.ts';
import type { Watched } from './watch.ts';

async function* bytesOf(watched: Watched): AsyncGenerator<Uint8Array> {
  for await (const { bytes } of watched.log.read('')) yield bytes;
}

/** False when there is no such file. */
export async function serveFile({ response, runId, rest }: RunExchange, watched: Watched): Promise<boolean> {
  if (rest === '/audit.jsonl') {
    beginDownload(response, `${runId}.jsonl`);
    await pipeline(Readable.from(bytesOf(watched)), response).catch(() => response.destroy());
    return true;
  }
  const text =
    rest === '/audit.seal' ? await watched.log.seal() : rest === '/change.patch' ? await watched.log.patch() : null;
  if (text === null) return false;
  beginDownload(response, rest === '/audit.seal' ? `${runId}.jsonl.seal` : `${runId}.patch`);
  response.end(text);
  return true;
}

/** The events that a query finds, one page of them; the log is read once and nothing more of it is kept. */
async function findEvents(
  watched: Watched,
  query: string,
  page: number,
): Promise<{ events: AuditEvent[]; found: number; more: boolean }> {
  const reader = createAuditReader({ partial: watched.log.partial });
  const from = (page - 1) * EVENTS_PER_PAGE;
  const wanted = query.toLowerCase();
  const events: AuditEvent[] = [];
  let found = 0;
  for await (const { bytes } of watched.log.read('')) {
    for (const event of reader.feed(bytes)) {
      if (wanted !== '' && !JSON.stringify(event).toLowerCase().includes(wanted)) continue;
      if (found === from + EVENTS_PER_PAGE) return { events, found, more: true };
      found += 1;
      if (found > from) events.push(event);
    }
  }
  return { events, found, more: false };
}

export async function serveEvents(pages: Pages, exchange: RunExchange, watched: Watched, title: string): Promise<void> {
  const { response, url, runId } = exchange;
  const query = (url.searchParams.get('q') ?? '').slice(0, 100);
  const page = Number(/^[1-9]\d{0,5}$/.exec(url.searchParams.get('page') ?? '')?.[0] ?? 1);
  const result = await findEvents(watched, query, page);
  const body = eventsBody({ runId, title, query, page, ...result });
  sendPage(
    response,
    200,
    frame({ title: `All events · ${title}`, viewer: undefined, assets: pages.assets.version, body }),
  );
}

const WORDS: Record<VerifyResult['verdict'], [title: string, text: string]> = {
  valid: [
    'The record is whole',
    'Every line follows from the one before, the seal fits the last one, and its signature is valid.',
  ],
  unsigned: [
    'The record is whole, its signature was not checked',
    'Chain and seal agree. This server has no public key to check the signature with.',
  ],
  unsealed: [
    'The record is whole so far',
    'Every line follows from the one before. There is no seal yet, or it was removed.',
  ],
  broken: ['The record is not as it was written', ''],
};

/** What a valid signature was checked with: a key that lies where the record lies proves as much as that place does. */
const KEY_WORDS = {
  disk: 'The key is the one in this server’s data directory, beside the records. Whoever can write there could have written all of them.',
  announced:
    'Record, seal and key are those that the workers sent through Redis. Whoever can write there could have written all of them.',
} as const;

/** The key that the seal names, if it is one of those; else any of them, which it was not signed by. */
function keyFor(seal: string | null, keys: readonly string[]): string | undefined {
  const named = seal === null ? undefined : parseSeal(seal)?.seal.publicKey;
  return keys.find((key) => key === named) ?? keys[0];
}

/** Recomputes the chain now. */
export async function serveCheck(pages: Pages, exchange: RunExchange, watched: Watched): Promise<void> {
  const { response, runId } = exchange;
  const lines: Markup[] = [];
  let title = 'Only part of the record is here';
  if (watched.log.partial && watched.reading().skipped > 0) {
    lines.push(html`This server keeps the newest lines of the run; check the audit file where its worker is.`);
  } else {
    const from = watched.log.partial ? 'announced' : 'disk';
    const seal = await watched.log.seal();
    const key = keyFor(seal, await pages.options.sealKeys[from]());
    const result = await verifyAudit({
      content: bytesOf(watched),
      seal,
      runId,
      ...(key === undefined ? {} : { key }),
    });
    const [words, text] = WORDS[result.verdict];
    title = words;
    if (text !== '') lines.push(html`${text}`);
    if (result.verdict === 'valid')
      lines.push(
        html`${KEY_WORDS[from]} <code>cofferdam verify --key</code> with a public key that you keep elsewhere proves
          more.`,
      );
    if (result.problem !== undefined) lines.push(html`Line ${result.problem.line}: ${result.problem.message}`);
    lines.push(html`${result.lines} lines, head <code class="hash">${result.head ?? 'none'}</code>`);
    for (const checkpoint of result.checkpoints)
      lines.push(html`Checkpoint, as the commit names it: <code class="hash">${checkpoint}</code>`);
  }
  const body = messageBody(title, ...lines, html`<a href="/runs/${runId}">Back to the run</a>`);
  sendPage(response, 200, frame({ title, viewer: undefined, assets: pages.assets.version, body }));
}
