import { createHash } from 'node:crypto';
import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { AuditEntry } from '../../src/domain/audit.ts';
import { RunId } from '../../src/domain/ids.ts';
import {
  BEGINNING,
  directory,
  HELD,
  openLog,
  putAll,
  RUN_ID,
  WHOLE_RUN,
  WORK,
  type Directory,
} from '../audit/run-log.ts';
import { pagesStage, record, type PagesStage } from './stage.ts';

const PAGE = `/runs/${RUN_ID}`;

async function finished(dir: Directory, entries: readonly AuditEntry[] = WHOLE_RUN): Promise<string> {
  const log = await openLog(dir);
  await putAll(log, entries);
  await log.seal();
  return log.file;
}

async function text(here: PagesStage, path: string): Promise<string> {
  const response = await here.get(path);
  expect([path, response.status]).toEqual([path, 200]);
  return response.text();
}

describe('a finished run', () => {
  it('shows result, network, money, activity and record in one page without a script', async () => {
    await using dir = await directory();
    await finished(dir);
    await using here = await pagesStage(dir);
    const page = await text(here, PAGE);
    for (const part of [
      'Succeeded',
      'fix: parseTime understands &quot;1h 30m&quot;',
      'asked for by <b>alice</b>',
      'telemetry.example',
      'mirror.example:443',
      '$0.05',
      'cap $2.00',
      'All tests pass.',
      'src/timer.js',
      'exit 0',
      'each follows from the one before, sealed',
      'https://github.example/octo/kettle/issues/12',
    ])
      expect(page.replace(/\s+/g, ' ')).toContain(part);
    // Nothing but its own style and script, and none of them written into the page.
    expect(page).not.toMatch(/<style|<script(?! type="module" src="\/runs\/-\/)|\sstyle=|\son[a-z]+=|javascript:/);
    expect(page).not.toContain('data-live');
  });

  it('says of a patch that was kept in part that it is', async () => {
    for (const cut of [true, false]) {
      await using dir = await directory();
      const entries = WHOLE_RUN.map((entry) =>
        cut && entry.type === 'harvest.done' ? { ...entry, data: { ...entry.data, patchCut: true } } : entry,
      );
      await finished(dir, entries);
      await writeFile(join(dir.audit, `${RUN_ID}.patch`), 'diff --git a/x b/x\n+1\n');
      await using here = await pagesStage(dir);
      const page = await text(here, PAGE);
      expect(page.includes('The patch is cut.')).toBe(cut);
    }
  });

  it('says that it does not have the patch of a change', async () => {
    await using dir = await directory();
    await finished(dir);
    await using here = await pagesStage(dir);
    expect(await text(here, PAGE)).toContain('This server does not have the patch');
    await writeFile(join(dir.audit, `${RUN_ID}.patch`), 'diff --git a/x b/x\n+1\n');
    await using again = await pagesStage(dir);
    expect(await text(again, PAGE)).not.toContain('does not have the patch');
  });

  it('shows a tool call folded: what it was given, what it gave, without what would steer a terminal', async () => {
    await using dir = await directory();
    await finished(dir);
    await using here = await pagesStage(dir);
    const [, call = ''] = /<li[^>]*class="entry agent tool[^>]*>([\s\S]*?)<\/li>/.exec(await text(here, PAGE)) ?? [];
    expect(call).toMatch(/<details data-keep="e\d+">\s*<summary>[\s\S]*npm test[\s\S]*<\/summary>/);
    expect(call).toContain('command: npm test\ncwd: /workspace/repo</pre>');
    expect(call).toContain('&gt; kettle test\n9 passing\n</pre>');
    // Both are found by the search.
    expect(await text(here, `${PAGE}?q=cwd:+/workspace/repo`)).toContain('9 passing');
    expect(await text(here, `${PAGE}?q=added+3+packages`)).toContain('npm ci');
  });

  it('is downloaded byte for byte, as a file and never as a page', async () => {
    await using dir = await directory();
    const file = await finished(dir);
    await writeFile(join(dir.audit, `${RUN_ID}.patch`), 'diff --git a/x b/x\n+<b>\n');
    await using here = await pagesStage(dir);
    for (const [path, stored] of [
      ['audit.jsonl', file],
      ['audit.seal', `${file}.seal`],
      ['change.patch', join(dir.audit, `${RUN_ID}.patch`)],
    ] as const) {
      const response = await here.get(`${PAGE}/${path}`);
      expect(Buffer.from(await response.arrayBuffer()).equals(await readFile(stored))).toBe(true);
      expect(response.headers.get('content-disposition')).toMatch(/^attachment; filename="r0123456789ab/);
      expect(response.headers.get('content-type')).toBe('application/octet-stream');
      expect(response.headers.get('content-security-policy')).toContain('sandbox');
    }
    expect(await text(here, PAGE)).toContain('Download the patch');
  });

  it('is checked on demand, and a change is named by its line', async () => {
    await using dir = await directory();
    const file = await finished(dir);
    await using here = await pagesStage(dir);
    const whole = await text(here, `${PAGE}/check`);
    expect(whole).toContain('its signature is valid');
    expect(whole).toContain('The key is the one in this server’s data directory');
    await writeFile(file, (await readFile(file, 'utf8')).replace('telemetry.example', 'harmless0.example'));
    const page = await text(here, `${PAGE}/check`);
    expect(page).toContain('not as it was written');
    expect(page).toMatch(/Line \d+: does not follow from line \d+: one of the two/);
  });

  it('has every event, a page at a time, and finds them', async () => {
    await using dir = await directory();
    const more = Array.from({ length: 450 }, (_, index): AuditEntry => ({
      zone: 'gateway',
      type: 'llm.notice',
      data: { note: `n${index}.` },
    }));
    await finished(dir, [...WHOLE_RUN, ...more]);
    await using here = await pagesStage(dir);
    expect(await text(here, `${PAGE}/events`)).toContain('1 to 200, and more');
    expect(await text(here, `${PAGE}/events?page=2&q=llm.notice`)).toContain('201 to 400, and more');
    const last = await text(here, `${PAGE}/events?q=n449.`);
    expect(last).toContain('1 to 1');
    expect(last).toContain('n449.');
  });

  it('filters and pages its activity by links and a form', async () => {
    await using dir = await directory();
    const many = Array.from({ length: 250 }, (_, index): AuditEntry => ({
      zone: 'gateway',
      source: 'sandbox',
      type: 'agent.text',
      data: { text: `word ${index}.` },
    }));
    await finished(dir, [...BEGINNING, ...many, ...WORK]);
    await using here = await pagesStage(dir);
    const denied = await text(here, `${PAGE}?show=denied`);
    expect(denied).toContain('<code>telemetry.example</code>');
    expect(denied).not.toContain('word 0.');
    expect(await text(here, `${PAGE}?show=agent&page=3`)).toContain('word 249.');
    expect(await text(here, `${PAGE}?q=word+123.`)).toMatch(/class="entries"(?:(?!word 124\.)[\s\S])*<\/ol>/);
    expect(await text(here, `${PAGE}?show=nonsense&page=-4`)).toContain('word 0.');
  });
});

describe('a run whose result is held', () => {
  it('says what waits, why, and what lets it go; and that it went', async () => {
    await using dir = await directory();
    await finished(dir, [...WHOLE_RUN.slice(0, -1), ...HELD]);
    await writeFile(join(dir.audit, `${RUN_ID}.patch`), 'diff --git a/src/timer.js b/src/timer.js\n+new\n');
    await using here = await pagesStage(dir);
    const known = record(RUN_ID, { state: 'held' });
    here.records.push(known);
    const page = (await text(here, PAGE)).replace(/\s+/g, ' ');
    for (const part of [
      'Held for a person',
      'Waits for a person',
      '<code>src/timer.js</code>',
      '<code>.github/workflows/ci.yml</code> runs on what is pushed and uses secrets',
      '/agent publish dddddddddddd</pre>',
      '<a href="#diff">change</a>',
      'https://github.example/octo/kettle/issues/12',
    ])
      expect(page).toContain(part);
    known.state = 'succeeded';
    known.pull = { number: 13, url: 'https://github.example/octo/kettle/pull/13' };
    const later = await text(here, PAGE);
    expect(later).toContain('Was held, and a person let it go');
    expect(later).not.toContain('publish dddd');
    expect(later).toContain('pull request #13');
  });

  it('says of a result on commits of a fork that those come along, and does not take its own diff for all of it', async () => {
    await using dir = await directory();
    const forked = WHOLE_RUN.slice(0, -1).map((entry): AuditEntry => {
      const { spec } = entry.data ?? {};
      if (entry.type !== 'run.manifest' || typeof spec !== 'object') return entry;
      return { ...entry, data: { ...entry.data, spec: { ...spec, fork: { pull: 31 } } } };
    });
    await finished(dir, [...forked, ...HELD]);
    await writeFile(join(dir.audit, `${RUN_ID}.patch`), 'diff --git a/src/timer.js b/src/timer.js\n+new\n');
    await using here = await pagesStage(dir);
    const page = await text(here, PAGE);
    expect(page).toContain('The commits of #31, a pull request from a fork, would come along');
    expect(page).not.toContain('href="#diff"');
  });

  it('is nothing that is said of any other run', async () => {
    await using dir = await directory();
    await finished(dir);
    await using here = await pagesStage(dir);
    expect(await text(here, PAGE)).not.toContain('Waits for a person');
  });
});

describe('a record that is not whole', () => {
  it('opens wherever its file is cut, and says so where a seal shows it', async () => {
    await using dir = await directory();
    const file = await finished(dir);
    const whole = await readFile(file);
    await using here = await pagesStage(dir);
    const wrong = 'The record of this run is not as it was written';
    expect(await text(here, PAGE)).not.toContain(wrong);
    const lineEnds = [...whole.keys()].filter((at) => whole[at] === 10).map((at) => at + 1);
    const places = Array.from({ length: 25 }, (_, n) => Math.floor((whole.length * n) / 25));
    // Downwards: a page that was read already sees its file become shorter.
    for (const end of [...lineEnds.slice(0, -1), ...places].sort((a, b) => b - a)) {
      await truncate(file, end);
      const page = await text(here, PAGE);
      expect([end, page.includes(wrong), page.includes('the seal is of')]).toEqual([end, true, true]);
      expect(await text(here, `${PAGE}/check`)).toContain('not as it was written');
      await text(here, `${PAGE}/events`);
    }
  });

  it('says what it knows of one without a seal: it grows, or it ended in the middle of a line', async () => {
    await using dir = await directory();
    const file = await finished(dir);
    await rm(`${file}.seal`);
    const whole = await readFile(file);
    await truncate(file, whole.length - 40);
    await using here = await pagesStage(dir);
    expect(await text(here, PAGE)).toContain('growing');
    // The queue knows that it ended, long ago.
    here.records.push(record(RUN_ID, { state: 'failed' }));
    const page = await text(here, PAGE);
    expect(page).toMatch(/the last line is cut off after \d+ bytes/);
    expect(page).toContain('without a seal');
    expect(page).not.toContain('data-live');
  });

  it('names the line that was changed, left out, put in or is none; and what stands around it is shown', async () => {
    await using dir = await directory();
    const file = await finished(dir);
    const lines = (await readFile(file, 'utf8')).trimEnd().split('\n');
    const tenth = lines[9] ?? '';
    for (const [changed, said] of [
      [lines.with(9, tenth.replace('{', '{ ')), 'line 11: does not follow'],
      [lines.toSpliced(9, 1), 'line 10: sequence number 10, expected 9'],
      [lines.toSpliced(9, 0, tenth), 'line 11: sequence number 9, expected 10'],
      [[...lines.slice(0, 9), ...lines.slice(9).reverse()], 'line 10: sequence number'],
      [lines.with(9, 'rubbish'), 'line 10: not JSON'],
      [[...lines, 'rubbish'], `line ${lines.length + 1}: not JSON`],
      [lines.with(9, '{"seq":9,"data":{"__proto__":1}}'), 'line 10: not an audit event'],
      [lines.with(9, 'x'.repeat(1_100_000)), 'line 10: the line is too long'],
      [lines.with(9, '\0\ud800'), 'line 10: not JSON'],
    ] as const) {
      await writeFile(file, `${changed.join('\n')}\n`);
      await using here = await pagesStage(dir);
      const page = await text(here, PAGE);
      const odd = Array.from(page.matchAll(/<li>(line \d[^<]*)<\/li>/g), ([, one = '']) => one);
      expect(odd[0]).toMatch(said);
      expect(page).toContain('The record of this run is not as it was written');
      expect(page).toContain('Task, policy, image, prices and limits frozen');
    }
    await writeFile(file, '');
    await using empty = await pagesStage(dir);
    expect(await text(empty, PAGE)).toContain('Nothing has happened yet');
  });
});

describe('AUD-014 nothing of a run becomes markup', () => {
  const EVIL = `"'><img src=x onerror=alert(1)><script>alert(2)</script>\u202e\u001b[31m\`javascript:alert(3)`;
  /** What must stay as it is for the page to show the field at all. */
  const KEYS = ['step', 'state', 'id', 'status', 'callId', 'host', 'role', 'kind'];

  function evil(value: unknown, key = ''): unknown {
    if (typeof value === 'string') return KEYS.includes(key) ? value : value + EVIL;
    if (Array.isArray(value)) return value.map((one) => evil(one, key));
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, evil(one, name)]));
  }

  const everywhere = [...WHOLE_RUN.slice(0, -1), ...HELD].map((entry): AuditEntry => ({
    ...entry,
    ...(entry.decision === undefined ? {} : { decision: { ...entry.decision, rule: EVIL } }),
    data: evil(entry.data) as Record<string, unknown>,
  }));
  /** The fields that were left above, one by one. */
  const rest = everywhere.map((entry): AuditEntry => ({
    ...entry,
    data: Object.fromEntries(
      Object.entries(entry.data ?? {}).map(([name, one]) => [name, typeof one === 'string' ? one + EVIL : one]),
    ),
  }));

  it.each([
    ['every text of every event', everywhere],
    ['and the names of hosts, steps and states', [...everywhere, ...rest]],
  ])('%s', async (_name, entries) => {
    await using dir = await directory();
    await finished(dir, entries);
    await writeFile(join(dir.audit, `${RUN_ID}.patch`), `diff --git a/${EVIL} b/${EVIL}\n+${EVIL}\n`);
    await using here = await pagesStage(dir);
    const evilRecord = record(RUN_ID, { state: 'succeeded', pull: { number: 3, url: 'javascript:alert(4)' } });
    evilRecord.request.source.title = EVIL;
    evilRecord.request.source.url = `https://github.example.evil/${EVIL}`;
    evilRecord.request.actor.login = EVIL;
    here.records.push(evilRecord);
    const paths = [
      PAGE,
      `${PAGE}/events`,
      `${PAGE}/events?q=${encodeURIComponent(EVIL)}`,
      `${PAGE}?q=${encodeURIComponent(EVIL)}`,
      `${PAGE}?show=${encodeURIComponent(EVIL)}`,
      `${PAGE}/check`,
      '/runs',
    ];
    let shown = 0;
    for (const path of paths) {
      const page = await text(here, path);
      for (const bad of ['<img', '<script>', 'href="javascript:', 'github.example.evil"', '\u202e', '\u001b'])
        expect([path, bad, page.includes(bad)]).toEqual([path, bad, false]);
      const tags = page.match(/<[a-z][^>]*>/g) ?? [];
      expect(tags.filter((tag) => /\son\w+=/.test(tag.replace(/"[^"]*"/g, '""')))).toEqual([]);
      shown += page.split('&lt;img src=x onerror=alert(1)&gt;').length - 1;
    }
    // It is all there, as text.
    expect(shown).toBeGreaterThan(60);
  });
});

describe('a run that goes on', () => {
  it('is told part by part until it is over', async () => {
    await using dir = await directory();
    const log = await openLog(dir);
    await putAll(log, BEGINNING);
    await using here = await pagesStage(dir);
    expect(await text(here, PAGE)).toContain(`data-live="${PAGE}/live"`);
    const response = await here.get(`${PAGE}/live`);
    expect(response.headers.get('content-type')).toBe('text/event-stream');
    const heard: string[] = [];
    const listening = (async () => {
      for await (const chunk of response.body ?? []) heard.push(Buffer.from(chunk as Uint8Array).toString());
    })();
    await expect.poll(() => heard.join('')).toContain('Agent works');
    expect(heard.join('')).not.toContain('telemetry.example');
    await putAll(log, WORK);
    await expect.poll(() => heard.join('')).toContain('telemetry.example');
    await putAll(log, WHOLE_RUN.slice(BEGINNING.length + WORK.length));
    await log.seal();
    await listening;
    expect(heard.join('')).toContain('event: over');
  });

  it('answers whoever asks for the head only, and keeps no place for them', async () => {
    await using dir = await directory();
    await putAll(await openLog(dir), BEGINNING);
    await using here = await pagesStage(dir);
    // As many as pages can be live at once.
    for (let asked = 0; asked < 200; asked += 1)
      expect((await fetch(here.url + `${PAGE}/live`, { method: 'HEAD' })).status).toBe(200);
    const live = await here.get(`${PAGE}/live`);
    expect(live.status).toBe(200);
    await live.body?.cancel();
  });

  it('is shown from the queue on, before it has a line', async () => {
    await using dir = await directory();
    await using here = await pagesStage(dir);
    here.records.push(record(RUN_ID, { state: 'queued' }));
    const page = await text(here, PAGE);
    expect(page).toContain('Queued');
    expect(page).toContain('2 runs before it');
    expect(page).toContain('data-live');
    expect(await text(here, '/runs')).toContain('parseTime does not understand');
  });
});

describe('the handler', () => {
  it('leaves what is not its own to others, and refuses what is no run', async () => {
    await using dir = await directory();
    await using here = await pagesStage(dir);
    expect(await (await here.get('/other')).text()).toBe('somebody else');
    expect(await (await here.get('/runsome')).text()).toBe('somebody else');
    for (const path of [
      '/runs/r0123456789ab',
      '/runs/../etc',
      '/runs/%2e%2e%2fkeys',
      '/runs/rABCDEFGHIJKL',
      '/runs/-/x/style.css',
      '/runs/-/0123456789ab/../pages.ts',
      `${PAGE}/audit.jsonl`,
      '/runs/%',
    ])
      expect([path, (await here.get(path)).status]).toEqual([path, 404]);
    const posted = await fetch(here.url + '/runs', { method: 'POST' });
    expect(posted.status).toBe(405);
  });

  it('sends strict headers with everything', async () => {
    await using dir = await directory();
    await finished(dir);
    await using here = await pagesStage(dir);
    for (const path of ['/runs', PAGE, `${PAGE}/events`, '/runs/nothing', `${PAGE}/live`]) {
      const { headers, body } = await here.get(path);
      await body?.cancel();
      expect(headers.get('content-security-policy')).toContain(
        "default-src 'none'; script-src 'self'; style-src 'self'",
      );
      expect(headers.get('content-security-policy')).toContain("require-trusted-types-for 'script'");
      expect([headers.get('x-content-type-options'), headers.get('cache-control')]).toEqual(['nosniff', 'no-store']);
    }
  });

  it('serves style and script under a name that changes with them', async () => {
    await using dir = await directory();
    await using here = await pagesStage(dir);
    const page = await text(here, '/runs');
    const [style = ''] = /\/runs\/-\/[0-9a-f]{12}\/style\.css/.exec(page) ?? [];
    for (const [name, type] of [
      ['style.css', 'text/css; charset=utf-8'],
      ['live.js', 'text/javascript; charset=utf-8'],
      ['idiomorph.js', 'text/javascript; charset=utf-8'],
      ['icon.svg', 'image/svg+xml; charset=utf-8'],
    ] as const) {
      const response = await here.get(style.replace('style.css', name));
      expect([response.status, response.headers.get('content-type')]).toEqual([200, type]);
      expect(response.headers.get('cache-control')).toContain('immutable');
      expect(
        createHash('sha256')
          .update(await response.text())
          .digest('hex'),
      ).not.toBe('');
    }
  });

  it('lists the runs of this machine, and not the logs of workers', async () => {
    await using dir = await directory();
    await finished(dir);
    const worker = await openLog(dir, RunId.parse('rbbbbbbbbbbbb'));
    await worker.put({ zone: 'worker', type: 'worker.start', data: { worker: 'w' } });
    await worker.seal({});
    await using here = await pagesStage(dir);
    const page = await text(here, '/runs');
    expect(page).toContain(PAGE);
    expect(page).not.toContain('rbbbbbbbbbbbb');
  });
});
