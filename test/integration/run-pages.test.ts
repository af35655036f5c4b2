import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AuditEntry } from '../../src/domain/audit.ts';
import { bigLog } from '../audit/big-log.ts';
import {
  BEGINNING,
  directory,
  ENDING,
  HELD,
  openLog,
  PROCESSES,
  putAll,
  RUN_ID,
  WHOLE_RUN,
  WORK,
} from '../audit/run-log.ts';
import { browser as openBrowser } from '../e2e/browser.ts';
import { accessibilityProblems } from './accessibility.ts';
import { pagesStage, record, type PagesStage } from '../web/stage.ts';

const exec = promisify(execFile);
const PAGE = `/runs/${RUN_ID}`;
let browser: Browser;

beforeAll(async () => {
  browser = await openBrowser();
});
afterAll(() => browser.close());

interface Visit extends AsyncDisposable {
  page: Page;
  /** What the browser complained about: a broken policy shows here. */
  complaints: string[];
}

async function visit(
  here: PagesStage,
  options: { javaScriptEnabled?: boolean; width?: number; dark?: boolean } = {},
): Promise<Visit> {
  const { javaScriptEnabled = true, width = 1_300, dark = false } = options;
  const context = await browser.newContext({
    baseURL: here.url,
    javaScriptEnabled,
    viewport: { width, height: 900 },
    colorScheme: dark ? 'dark' : 'light',
    acceptDownloads: true,
  });
  context.setDefaultTimeout(120_000);
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text());
  });
  return { page, complaints, [Symbol.asyncDispose]: () => context.close() };
}

describe('a person in a browser', () => {
  it('opens a run in the queue, sees it move to its end, expands a tool call, filters, downloads and verifies', async () => {
    await using dir = await directory();
    await using here = await pagesStage(dir);
    const known = record(RUN_ID, { state: 'queued' });
    here.records.push(known);
    await using visited = await visit(here);
    const { page, complaints } = visited;
    await page.goto(PAGE);
    await page.getByText('2 runs before it').waitFor();
    // It begins.
    known.state = 'running';
    const log = await openLog(dir);
    await putAll(log, BEGINNING);
    await page.getByRole('listitem').filter({ hasText: 'Agent works' }).first().waitFor();
    await page.locator('#connection', { hasText: 'live' }).waitFor();
    await putAll(log, WORK.slice(0, 7));
    const call = page.locator('.entry.tool', { hasText: 'npm test' });
    await call.locator('summary').click();
    await call.getByRole('region', { name: 'Given' }).getByText('command: npm test').waitFor();
    await call.getByRole('region', { name: 'Output' }).getByText('9 passing').waitFor();
    // What was opened stays open while the page goes on.
    await putAll(log, WORK.slice(7));
    await page.locator('.entry.denied', { hasText: 'telemetry.example' }).waitFor();
    expect(await call.locator('details').getAttribute('open')).not.toBeNull();
    await writeFile(
      join(dir.audit, `${RUN_ID}.patch`),
      'diff --git a/src/timer.js b/src/timer.js\n@@ -1 +1 @@\n-old\n+new\n',
    );
    await putAll(log, [...PROCESSES, ...ENDING]);
    await log.seal();
    known.state = 'succeeded';
    await page.locator('.headline', { hasText: 'Succeeded' }).waitFor();
    await page.locator('#record', { hasText: 'sealed' }).waitFor();
    await page.locator('#diff .add', { hasText: 'new' }).waitFor();
    expect(await page.title()).toContain('Succeeded');
    // Each process stands below the one that started it.
    await page.locator('#processes summary').click();
    await page.locator('.tree li li', { hasText: 'npm test' }).locator('li', { hasText: 'node test.js' }).waitFor();

    await page
      .getByRole('navigation', { name: 'Filter' })
      .getByRole('link', { name: /Denied/ })
      .click();
    await page.waitForURL(/show=denied/);
    await expect.poll(() => page.locator('.entry').count()).toBe(1);
    await page.getByRole('searchbox').fill('no such thing');
    await page.keyboard.press('Enter');
    await page.getByText('Nothing of this kind.').waitFor();
    await page.goBack();
    await expect.poll(() => page.locator('.entry').count()).toBe(1);

    for (const [name, stored] of [
      ['Audit file', log.file],
      ['Seal', `${log.file}.seal`],
      ['Patch', join(dir.audit, `${RUN_ID}.patch`)],
    ] as const) {
      const [download] = await Promise.all([
        page.waitForEvent('download'),
        page.locator('.downloads').getByRole('link', { name }).click(),
      ]);
      const saved = join(dir.path, download.suggestedFilename());
      await download.saveAs(saved);
      expect((await readFile(saved)).equals(await readFile(stored))).toBe(true);
    }
    // What was downloaded passes the command that the page names.
    const program = new URL('../../src/main/cofferdam.ts', import.meta.url).pathname;
    const args = ['verify', join(dir.path, `${RUN_ID}.jsonl`), '--key', join(dir.path, 'keys', 'audit.pem.pub')];
    const { stdout } = await exec(process.execPath, [program, ...args], {
      env: { PATH: process.env['PATH'], COFFERDAM_DATA_DIR: dir.path },
    });
    expect(stdout).toContain('valid: chain, seal and signature');
    await page.getByRole('link', { name: 'Check the record' }).click();
    await page.getByRole('heading', { name: 'The record is whole' }).waitFor();
    expect(complaints).toEqual([]);
  });

  it('stays while the server behind its proxy is away, and is live again when that is back', async () => {
    await using dir = await directory();
    const log = await openLog(dir);
    await putAll(log, BEGINNING);
    await using here = await pagesStage(dir);
    const known = record(RUN_ID, { state: 'running' });
    here.records.push(known);
    await using visited = await visit(here);
    const { page } = visited;
    let away = 0;
    let isBack = false;
    await page.route(/\/live$|\/runs$/, async (route) => {
      if (!isBack) away += 1;
      await (isBack ? route.continue() : route.fulfill({ status: 502, body: 'Bad Gateway' }));
    });
    await page.goto(PAGE);
    await expect.poll(() => away).toBeGreaterThan(1);
    await page.locator('#connection', { hasText: 'connecting again' }).waitFor();
    isBack = true;
    await page.locator('#connection', { hasText: 'live' }).waitFor();
    await putAll(log, WORK.slice(0, 4));
    await page.getByText('I will look at the parser').first().waitFor();
    // The list looks by itself, too.
    await page.unroute(/\/live$|\/runs$/);
    await page.goto('/runs');
    await page.getByText('Running').waitFor();
    away = 0;
    await page.route(/\/runs$/, async (route) => {
      away += 1;
      await (away <= 1 ? route.fulfill({ status: 502, body: 'Bad Gateway' }) : route.continue());
    });
    known.state = 'succeeded';
    await page.getByText('Succeeded').waitFor();
    expect(away).toBeGreaterThan(1);
    await log.seal();
  });

  it('sees what waits for a person, and goes from it to the diff and back to the thread', async () => {
    await using dir = await directory();
    const log = await openLog(dir);
    await putAll(log, [...WHOLE_RUN.slice(0, -1), ...HELD]);
    await log.seal();
    await writeFile(
      join(dir.audit, `${RUN_ID}.patch`),
      'diff --git a/src/timer.js b/src/timer.js\n@@ -1 +1 @@\n-old\n+new\n',
    );
    await using here = await pagesStage(dir);
    here.records.push(record(RUN_ID, { state: 'held' }));
    await using visited = await visit(here, { javaScriptEnabled: false, width: 390 });
    const { page } = visited;
    await page.goto(PAGE);
    const held = page.getByRole('region', { name: 'Waits for a person' });
    await held.getByText('/agent publish dddddddddddd').waitFor();
    await held.getByRole('link', { name: 'change' }).click();
    await page.waitForURL(/#diff$/);
    await page.locator('#diff .add', { hasText: 'new' }).waitFor();
    expect(await held.getByRole('link', { name: 'issue or pull request' }).getAttribute('href')).toBe(
      'https://github.example/octo/kettle/issues/12',
    );
  });

  it('reads a finished run without JavaScript, on a phone, and never has to scroll sideways', async () => {
    await using dir = await directory();
    const log = await openLog(dir);
    await putAll(log, WHOLE_RUN);
    await log.seal();
    await using here = await pagesStage(dir);
    await using visited = await visit(here, { javaScriptEnabled: false, width: 390 });
    const { page } = visited;
    await page.goto(PAGE);
    await page.getByText('Succeeded').first().waitFor();
    await page.getByRole('link', { name: /^Denied/ }).click();
    await page.waitForURL(/show=denied/);
    expect(await page.locator('.entry').count()).toBe(1);
    // The map would be too small to read here; what it shows is told in words.
    await page.locator('.lanes li.through', { hasText: /passed\s*mirror\.example:443\s+2\.9 MiB in/ }).waitFor();
    await page.locator('.lanes li.stopped', { hasText: /stopped\s*telemetry\.example/ }).waitFor();
    expect(await page.locator('svg.map').isVisible()).toBe(false);
    await page.getByText('All hosts as a table').click();
    await page.getByRole('rowheader', { name: 'mirror.example:443' }).waitFor();
    const box = await page.locator('body').boundingBox();
    expect(box?.width).toBeLessThanOrEqual(390);
  });

  it('goes through everything with the keyboard, and everything has a name', async () => {
    await using dir = await directory();
    const log = await openLog(dir);
    await putAll(log, WHOLE_RUN);
    await log.seal();
    await using here = await pagesStage(dir);
    await using visited = await visit(here);
    const { page } = visited;
    await page.goto(PAGE);
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await page.waitForURL(/#main$/);
    const call = page.locator('.entry.tool summary').first();
    await call.focus();
    await page.keyboard.press('Enter');
    expect(await page.locator('.entry.tool details').first().getAttribute('open')).not.toBeNull();
    for (const role of ['link', 'button', 'searchbox', 'region', 'navigation'] as const)
      for (const element of await page.getByRole(role).all()) {
        const named =
          (await element.getAttribute('aria-label')) ??
          (await element.getAttribute('aria-labelledby')) ??
          (await element.innerText());
        const labelled = named !== '' || (await element.getAttribute('id')) === 'q';
        expect([role, (await element.innerText()) || 'nameless', labelled]).toEqual([role, expect.any(String), true]);
      }
    expect(await page.locator('h1').count()).toBe(1);
  });

  it.each([false, true])('can be read by everybody: contrast, names, headings; dark %s', async (dark) => {
    await using dir = await directory();
    const log = await openLog(dir);
    await putAll(log, [...WHOLE_RUN.slice(0, -1), ...PROCESSES, ...HELD]);
    await log.seal();
    await writeFile(join(dir.audit, `${RUN_ID}.patch`), 'diff --git a/x b/x\n@@ -1,2 +1,2 @@\n-a\n+b\n c\n');
    await using here = await pagesStage(dir);
    here.records.push(record(RUN_ID, { state: 'held' }));
    await using visited = await visit(here, { dark });
    const { page } = visited;
    for (const path of ['/runs', PAGE, `${PAGE}?show=denied`, `${PAGE}/events`, `${PAGE}/check`, '/runs/nothing']) {
      await page.goto(path);
      expect([path, await accessibilityProblems(page)]).toEqual([path, []]);
    }
    // What is looked for is found where it is.
    await page.evaluate(`(() => {
      document.querySelector('h1').style.color = 'rgb(128, 128, 128)';
      document.querySelector('h1').style.backgroundColor = 'rgb(144, 144, 144)';
      const link = document.createElement('a');
      link.href = '/';
      document.querySelector('main').append(link, document.createElement('h4'));
    })()`);
    const found = await accessibilityProblems(page);
    for (const kind of ['contrast', 'heading', 'no name']) expect(found.join('\n')).toContain(kind);
  });

  it('stays usable with a run of 100,000 events: few elements, and filters that answer', async () => {
    await using dir = await directory();
    await bigLog(dir, 100_000);
    await using here = await pagesStage(dir);
    await using visited = await visit(here);
    const { page, complaints } = visited;
    await page.goto(PAGE);
    await page.locator('.headline', { hasText: 'Succeeded' }).waitFor();
    const elements = (): Promise<number> => page.locator('*').count();
    expect(await elements()).toBeLessThan(9_000);
    await page
      .getByRole('navigation', { name: 'Filter' })
      .getByRole('link', { name: /^Denied/ })
      .click();
    await page.waitForURL(/show=denied/);
    await expect.poll(() => page.locator('.entry:not(.denied)').count()).toBe(0);
    expect(await page.locator('.entry.denied').count()).toBe(100);
    await page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: 'Newest' }).click();
    await page.waitForURL(/page=\d/);
    expect(await elements()).toBeLessThan(9_000);
    expect(complaints).toEqual([]);
  });

  it('AUD-014 runs nothing that a run wrote, also in what comes live', async () => {
    await using dir = await directory();
    const log = await openLog(dir);
    const evil = `<img src=x onerror="window.owned=1"><script>window.owned=2</script><svg onload="window.owned=3">`;
    const words = (text: string): AuditEntry => ({
      zone: 'gateway',
      source: 'sandbox',
      type: 'agent.text',
      data: { text },
    });
    await putAll(log, [...BEGINNING, words(evil)]);
    await using here = await pagesStage(dir);
    await using visited = await visit(here);
    const { page, complaints } = visited;
    await page.goto(PAGE);
    await page.locator('.prose', { hasText: 'onerror' }).waitFor();
    await putAll(log, [words(`later ${evil}`)]);
    await page.locator('.prose', { hasText: 'later <img' }).waitFor();
    expect(await page.evaluate(() => (globalThis as { owned?: unknown }).owned)).toBeUndefined();
    expect(await page.locator('main img').count()).toBe(0);
    expect(complaints).toEqual([]);
    await log.seal();
  });
});
