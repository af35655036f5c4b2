import { writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import type { Reporter, SerializedError, TestModule } from 'vitest/node';
import { z } from 'zod';

/** Names the file that a run of vitest with this reporter writes. */
export const REPORT_VARIABLE = 'COFFERDAM_TEST_REPORT';

/** As much of the reason as tells one failure from another. */
const LINES_OF_A_FAILURE = 20;
const COLUMNS_OF_A_FAILURE = 200;

export type TestReport = z.infer<typeof TestReport>;
export const TestReport = z.object({
  passed: z.int().nonnegative(),
  skipped: z.int().nonnegative(),
  /** Each failed test, each suite and file that could not be set up or cleaned up, each error outside: where, and why in its first lines. */
  failures: z.array(z.string()),
});

/** What a run of vitest came to. Vitest's own JSON report leaves out the errors of a suite's hooks and those outside of any test. */
export default class implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const report: TestReport = { passed: 0, skipped: 0, failures: [] };
    for (const module of modules) countModule(module, report);
    for (const error of unhandled) report.failures.push(`outside of any test${excerpt([error])}`);
    const file = process.env[REPORT_VARIABLE];
    if (file === undefined) throw new Error(`${REPORT_VARIABLE} is not set`);
    writeFileSync(file, JSON.stringify(report));
  }
}

function countModule(module: TestModule, report: TestReport): void {
  const name = relative(process.cwd(), module.moduleId);
  if (module.errors().length > 0) report.failures.push(`${name}${excerpt(module.errors())}`);
  for (const suite of module.children.allSuites()) {
    if (suite.errors().length > 0) report.failures.push(`${name}: ${suite.fullName}${excerpt(suite.errors())}`);
  }
  for (const test of module.children.allTests()) {
    const { state, errors = [] } = test.result();
    if (state === 'failed') report.failures.push(`${name}: ${test.fullName}${excerpt(errors)}`);
    else if (state === 'passed') report.passed += 1;
    // One that never ended because the run did is not one that passed.
    else report.skipped += 1;
  }
}

function excerpt(errors: readonly { message: string; stack?: string | undefined }[]): string {
  return stripVTControlCharacters(errors.map(({ message, stack }) => stack ?? message).join('\n'))
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.includes('/node_modules/'))
    .slice(0, LINES_OF_A_FAILURE)
    .map((line) => `\n      ${line.slice(0, COLUMNS_OF_A_FAILURE)}`)
    .join('');
}
