import { describe, expect, it } from 'vitest';
import { prune } from '../../src/audit/retention.ts';
import { RunId } from '../../src/domain/ids.ts';
import { readTicket, signTicket } from '../../src/web/links.ts';
import { directory, openLog, putAll, RUN_ID, WHOLE_RUN, type Directory } from '../audit/run-log.ts';
import { LINK_KEY, pagesStage, record } from './stage.ts';

const PAGE = `/runs/${RUN_ID}`;
const OTHER = RunId.parse('rbbbbbbbbbbbb');

async function twoRuns(): Promise<Directory> {
  const dir = await directory();
  for (const runId of [RUN_ID, OTHER]) {
    const log = await openLog(dir, runId);
    await putAll(log, WHOLE_RUN);
    await log.seal();
  }
  return dir;
}

describe('tickets', () => {
  const now = 1_800_000_000_000;
  const ticket = signTicket(LINK_KEY, RUN_ID, now + 60_000);
  it.each([
    ['its run, in time', { key: LINK_KEY, runId: RUN_ID, ticket, now }, now + 60_000],
    ['another run', { key: LINK_KEY, runId: OTHER, ticket, now }, null],
    ['another key', { key: Buffer.alloc(32, 8), runId: RUN_ID, ticket, now }, null],
    ['when it is over', { key: LINK_KEY, runId: RUN_ID, ticket, now: now + 60_000 }, null],
    [
      'with a later end',
      { key: LINK_KEY, runId: RUN_ID, ticket: ticket.replace(/^\d+/, String(now + 120_000)), now },
      null,
    ],
    ['cut', { key: LINK_KEY, runId: RUN_ID, ticket: ticket.slice(0, -1), now }, null],
    ['empty', { key: LINK_KEY, runId: RUN_ID, ticket: '', now }, null],
  ])('%s', (_name, options, expected) => {
    expect(readTicket(options)).toBe(expected);
  });
});

describe('without login, on loopback', () => {
  it('answers this machine only: no other name, no proxy', async () => {
    await using dir = await twoRuns();
    await using here = await pagesStage(dir);
    expect((await here.get(PAGE)).status).toBe(200);
    for (const headers of [
      { 'x-forwarded-for': '203.0.113.9' },
      { forwarded: 'for=203.0.113.9' },
      { 'x-real-ip': '127.0.0.1' },
      { via: '1.1 proxy' },
    ])
      for (const path of ['/runs', PAGE, `${PAGE}/audit.jsonl`, `${PAGE}/live`])
        expect([path, headers, (await here.get(path, headers)).status]).toEqual([path, headers, 403]);
    // A name of somebody else's that leads here (DNS rebinding). Only a raw request can have another Host.
    const { request } = await import('node:http');
    const status = await new Promise((resolve, reject) => {
      const { port } = new URL(here.url);
      request({ port, path: PAGE, headers: { host: `evil.example:${port}` } }, (response) =>
        resolve(response.statusCode),
      )
        .on('error', reject)
        .end();
    });
    expect(status).toBe(403);
  });
});

describe('a run whose record was removed by age', () => {
  it('says when and why to who may see it, and nothing to anybody else', async () => {
    await using dir = await twoRuns();
    expect((await prune(dir.audit, { maxAgeMs: 0 }, Date.now() + 1_000)).length).toBe(2);
    await using here = await pagesStage(dir, { mode: { kind: 'github', github: undefined } });
    here.records.push(record(RUN_ID, { state: 'succeeded' }));
    expect((await here.get(PAGE)).status).toBe(401);
    const { headers } = await here.get(`${PAGE}?ticket=${signTicket(LINK_KEY, RUN_ID, Date.now() + 60_000)}`);
    const holder = { cookie: headers.get('set-cookie')?.split(';')[0] ?? '' };
    for (const path of [PAGE, `${PAGE}/audit.jsonl`, `${PAGE}/events`]) {
      const response = await here.get(path, holder);
      expect([path, response.status]).toEqual([path, 410]);
      const page = await response.text();
      expect(page).toContain(`was removed on ${new Date().toISOString().slice(0, 4)}`);
      expect(page).toMatch(/<code>sha256:[0-9a-f]{64}<\/code>/);
    }
    await using local = await pagesStage(dir);
    expect((await local.get('/runs/rcccccccccccc')).status).toBe(404);
  });
});

describe('without OAuth settings', () => {
  it('says so, and only a ticket of the operator opens its one run', async () => {
    await using dir = await twoRuns();
    await using here = await pagesStage(dir, { mode: { kind: 'github', github: undefined } });
    here.records.push(record(RUN_ID), record(OTHER));
    for (const path of ['/runs', PAGE, `${PAGE}/audit.jsonl`, `${PAGE}/events`, `${PAGE}/live`]) {
      const response = await here.get(path);
      expect([path, response.status]).toEqual([path, 401]);
      expect(await response.text()).toContain('GITHUB_CLIENT_ID');
    }
    const ticket = signTicket(LINK_KEY, RUN_ID, Date.now() + 60_000);
    const opened = await here.get(`${PAGE}?ticket=${ticket}`);
    expect([opened.status, opened.headers.get('location')]).toEqual([303, PAGE]);
    const cookie = opened.headers.get('set-cookie') ?? '';
    expect(cookie).toMatch(/HttpOnly; SameSite=Lax/);
    expect(cookie).toContain(`Path=${PAGE};`);
    const holder = { cookie: cookie.split(';')[0] ?? '' };
    expect((await here.get(PAGE, holder)).status).toBe(200);
    expect((await here.get(`${PAGE}/audit.jsonl`, holder)).status).toBe(200);
    expect((await here.get(`/runs/${OTHER}`, holder)).status).toBe(401);
    expect((await here.get('/runs', holder)).status).toBe(401);
    expect((await here.get(`/runs/${OTHER}?ticket=${ticket}`)).status).toBe(403);
    expect((await here.get(`${PAGE}?ticket=${signTicket(LINK_KEY, RUN_ID, Date.now() - 1)}`)).status).toBe(403);
  });
});
