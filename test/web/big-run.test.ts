import { appendFile } from 'node:fs/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bigLog } from '../audit/big-log.ts';
import { directory, RUN_ID, type Directory } from '../audit/run-log.ts';
import { pagesStage, type PagesStage } from './stage.ts';

const PAGE = `/runs/${RUN_ID}`;
const EVENTS = 100_000;
const MIB = 1_048_576;

/** Bytes in use, after everything that can go has gone. */
function heap(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return process.memoryUsage().heapUsed;
}

describe('a run of 100,000 events', () => {
  let dir: Directory;
  let here: PagesStage;
  let file: string;
  let before: number;

  beforeAll(async () => {
    dir = await directory();
    file = await bigLog(dir, EVENTS);
    here = await pagesStage(dir);
    before = heap();
  }, 300_000);
  afterAll(async () => {
    await here[Symbol.asyncDispose]();
    await dir[Symbol.asyncDispose]();
  });

  const page = async (path: string): Promise<string> => (await here.get(PAGE + path)).text();

  it.each(['', '?page=7', '?show=agent&page=2', '?show=denied', '?q=tool', '/events', '/events?page=450'])(
    'has a page of a bounded size, whatever is asked for: %s',
    async (path) => {
      const text = await page(path);
      expect(text.length).toBeLessThan(3 * MIB);
      expect(text.match(/<[a-z]/g)?.length).toBeLessThan(9_000);
    },
    120_000,
  );

  it('is read as a stream, and of it a bounded part is kept', async () => {
    await page('');
    // The file has about 190 MiB.
    expect(heap() - before).toBeLessThan(90 * MIB);
  });

  it('shows how it began and how it ended, and says what is between', async () => {
    const first = await page('');
    expect(first).toContain('Task, policy, image, prices and limits frozen');
    expect(first).toMatch(/[\d,]+ entries after the first 2,000 are in the audit file only/);
    expect(first).toMatch(/100,0\d\d lines/);
    expect(first).toContain('and 4,951 more, ');
    const pages = /page 1 of ([\d,]+)/.exec(first)?.[1]?.replace(',', '') ?? '';
    const last = await page(`?page=${pages}`);
    expect(last).toContain('Record sealed');
    expect(last).toContain('Run ended: succeeded');
  });

  it('goes on from where it was', async () => {
    const lines = async (): Promise<string> => /([\d,]+) lines/.exec(await page(''))?.[1] ?? '';
    const had = await lines();
    await appendFile(file, 'x\n');
    expect(Number((await lines()).replace(',', ''))).toBe(Number(had.replace(',', '')) + 1);
    expect(await page('')).toContain('not JSON');
  });
});
