import { writeFile } from 'node:fs/promises';
import type { Outcome } from '../attack/battery.ts';
import { CLASSES, TIERS, type AttackCase, type Tier } from '../attack/case.ts';
import { CASES } from '../attack/cases.ts';
import { byClass, isPassed, reportPage, scope, type BatteryResult } from '../attack/report.ts';
import { runAttacks } from '../attack/run.ts';
import type { Environment } from '../config/environment.ts';
import { loadPolicy } from '../config/policy-file.ts';
import { CofferdamError } from '../domain/errors.ts';
import { machineProgress } from './progress.ts';
import { terminalText } from './terminal.ts';

interface Out {
  write(text: string): unknown;
}

/** `cofferdam attack`: 0 when everything held, 1 when something failed or nothing could be tried. Errors: `usage`, `policy`, and what a sandbox needs. */
export async function attackCommand(options: {
  only?: string | undefined;
  tier?: string | undefined;
  policy?: string | undefined;
  report?: string | undefined;
  json?: boolean | undefined;
  environment: Environment;
  signal: AbortSignal;
  stdout: Out;
  stderr: Out;
}): Promise<number> {
  const { environment, signal, json = false, report } = options;
  const cases = chosen(options);
  const policy = await loadPolicy(options.policy ?? environment.policyFile, environment.github);
  // Before minutes of work rather than after them.
  if (report !== undefined) await writeReport(report, '');
  const live = json ? options.stderr : options.stdout;
  const result = await runAttacks({
    ...{ environment, policy, cases, signal },
    onProgress: machineProgress((text) => options.stderr.write(text)),
    onOutcome: (outcome) => live.write(lineOf(outcome)),
  });
  if (report !== undefined) await writeReport(report, reportPage(result));
  live.write(summary(result));
  if (report !== undefined) live.write(`report: ${report}\n`);
  if (json)
    options.stdout.write(`${JSON.stringify({ ok: isPassed(result), classes: byClass(result.outcomes), ...result })}\n`);
  return isPassed(result) ? 0 : 1;
}

function chosen(options: { only?: string | undefined; tier?: string | undefined }): AttackCase[] {
  const ids = list(options.only)?.map((id) => id.toUpperCase());
  const tiers = list(options.tier)?.map((tier) => tier.toUpperCase());
  const unknown = ids?.filter((id) => !CASES.some((one) => one.id === id)) ?? [];
  if (unknown.length > 0) {
    const known = CASES.map(({ id }) => id).join(' ');
    throw new CofferdamError('usage', 'cli.attack', `--only: no case ${unknown.join(', ')}; there are ${known}`);
  }
  const odd = tiers?.filter((tier) => !TIERS.includes(tier as Tier)) ?? [];
  if (odd.length > 0)
    throw new CofferdamError('usage', 'cli.attack', `--tier: no tier ${odd.join(', ')}; there are ${TIERS.join(', ')}`);
  const found = CASES.filter(({ id, tier }) => (ids?.includes(id) ?? true) && (tiers?.includes(tier) ?? true));
  if (found.length === 0) throw new CofferdamError('usage', 'cli.attack', '--only and --tier leave no case');
  return found;
}

function list(text: string | undefined): string[] | undefined {
  const parts = text?.split(/[\s,]+/).filter((part) => part !== '');
  if (parts?.length === 0) throw new CofferdamError('usage', 'cli.attack', '--only or --tier is empty');
  return parts;
}

const SIGN = { passed: '✓', failed: '✗', skipped: '–' } as const;

function lineOf(outcome: Outcome): string {
  const { id, user, title, verdict, problems, ms } = outcome;
  const head = `  ${SIGN[verdict]} ${id} ${user.padEnd(5)} ${title} (${(ms / 1000).toFixed(1)} s)\n`;
  const word = verdict === 'skipped' ? 'skipped: ' : '';
  return head + problems.map((problem) => `      ${word}${terminalText(problem, 240)}\n`).join('');
}

function summary(result: BatteryResult): string {
  const rows = byClass(result.outcomes).map((row) => ({ ...row, name: `${row.class}  ${CLASSES[row.class]}` }));
  const width = Math.max(...rows.map(({ name }) => name.length));
  const line = (name: string, counts: readonly (string | number)[]): string =>
    `  ${name.padEnd(width)}${counts.map((count) => String(count).padStart(9)).join('')}\n`;
  const checks = result.checks.map(({ name, ok, observed }) => `  ${ok ? '✓' : '✗'} ${name}: ${observed}\n`);
  const sums = (['passed', 'failed', 'skipped'] as const).map((key) => rows.reduce((sum, row) => sum + row[key], 0));
  return [
    '\n',
    line('', ['held', 'failed', 'skipped']),
    ...rows.map((row) => line(row.name, [row.passed, row.failed, row.skipped])),
    line('all', sums),
    '\n',
    ...checks,
    `\n${scope(result.outcomes)}\n`,
    isPassed(result) ? `held, in ${result.about.seconds} s\n` : `FAILED, in ${result.about.seconds} s\n`,
  ].join('');
}

async function writeReport(file: string, page: string): Promise<void> {
  await writeFile(file, page).catch((cause: unknown) => {
    throw new CofferdamError('usage', 'cli.attack', `cannot write the report ${file}`, cause);
  });
}
