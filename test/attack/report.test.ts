import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Outcome } from '../../src/attack/battery.ts';
import { CASES } from '../../src/attack/cases.ts';
import { byClass, isPassed, reportPage, type BatteryResult } from '../../src/attack/report.ts';

function outcome(change: Partial<Outcome>): Outcome {
  return {
    ...{ id: 'NET-001', title: 'title', tried: 'tried', class: 'NET', tier: 'T1', user: 'agent' },
    ...{ verdict: 'passed', problems: [], seen: [], ms: 1 },
    ...change,
  };
}

function result(outcomes: Outcome[], ok = true): BatteryResult {
  const about = {
    host: 'h',
    date: 'd',
    runId: 'r',
    auditFile: 'a',
    policy: 'p',
    policyDigest: 'sha256:0',
    image: 'i',
    versions: {},
    seconds: 1,
  };
  return { outcomes, checks: [{ name: 'record', ok, observed: 'o' }], about };
}

test('nothing that failed, no skipped alone, and no broken record counts as held', () => {
  expect(isPassed(result([outcome({})]))).toBe(true);
  expect(isPassed(result([outcome({}), outcome({ verdict: 'skipped' })]))).toBe(true);
  expect(isPassed(result([outcome({ verdict: 'skipped' })]))).toBe(false);
  expect(isPassed(result([outcome({}), outcome({ verdict: 'failed' })]))).toBe(false);
  expect(isPassed(result([outcome({})], false))).toBe(false);
  expect(isPassed(result([]))).toBe(false);
});

test('skipped is counted and shown as skipped', () => {
  const outcomes = [outcome({}), outcome({ verdict: 'skipped', problems: ['no python3'] })];
  expect(byClass(outcomes)).toEqual([{ class: 'NET', passed: 1, failed: 0, skipped: 1 }]);
  expect(reportPage(result(outcomes))).toMatch(/no python3[^]*– skipped/);
});

test('the page says how many rows its sum is of, skipped ones not among them, in the order of the catalogue', () => {
  const outcomes = [
    outcome({ id: 'NET-018' }),
    outcome({ id: 'NET-004' }),
    outcome({ id: 'NET-004', user: 'root' }),
    outcome({ id: 'NET-020', verdict: 'skipped' }),
  ];
  const page = reportPage(result(outcomes));
  expect(page).toContain('2 rows of the catalogue were tried here');
  expect(page.match(/NET-\d{3}/g)).toEqual(['NET-004', 'NET-004', 'NET-018', 'NET-020']);
});

test('AUD-014 what a sandbox said is text in the report', () => {
  const evil = '<script>alert(1)</script><img src=x onerror=y>‮';
  const page = reportPage(result([outcome({ problems: [evil], seen: [evil], title: evil })]));
  expect(page).not.toMatch(/<script|<img|‮/);
  expect(page).toContain('&lt;script&gt;');
});

test('each case is one row of the catalogue, of the class that its id says', () => {
  expect(new Set(CASES.map(({ id }) => id)).size).toBe(CASES.length);
  expect(CASES.filter((one) => !one.id.startsWith(`${one.class}-`))).toEqual([]);
});

/** The catalogue's rows of the classes that the battery is about. */
const ROWS: Record<string, number[]> = {
  ESC: [1, 2, 4, 5, 6, 7, 8, 10, 11, 13, 15, 16, 17, 19, 20, 21, 22],
  NET: [1, 2, 3, 4, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 18, 20, 21, 22, 23, 25, 26, 27, 28, 29, 30, 32],
  DNS: [1, 2, 3, 5, 6, 8, 10, 12],
  TLS: [1, 2, 4, 5, 7, 9, 10, 12, 14, 15, 16, 17, 20, 22],
  RES: [1, 2, 3, 5, 6, 7, 9, 11, 12, 13],
};

test('each row of the catalogue is a case, or the documentation says why not and which test tries it', async () => {
  const page = await readFile(join(import.meta.dirname, '../../docs/attack.md'), 'utf8');
  const [, table = ''] = page.split('## What is not in it');
  const told: string[] = table.split('\n## ')[0]?.match(/[A-Z]{3}-\d{3}/g) ?? [];
  const all = Object.entries(ROWS).flatMap(([name, numbers]) =>
    numbers.map((number) => `${name}-${String(number).padStart(3, '0')}`),
  );
  const cases: string[] = CASES.map(({ id }) => id);
  expect(all.filter((id) => !cases.includes(id) && !told.includes(id))).toEqual([]);
  expect(cases.filter((id) => !all.includes(id))).toEqual([]);
});
