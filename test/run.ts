import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { CofferdamError, errorRow } from '../src/domain/errors.ts';
import { machineEnvironment } from '../src/local/machine/main.ts';
import { prepareMachine } from '../src/local/machine/machine.ts';
import type { Machine } from '../src/local/machine/machine.ts';
import { progressLines } from '../src/local/machine/progress.ts';
import { REPORT_VARIABLE, TestReport } from './report.ts';

/*
 * `npm test`: prepares this machine and runs every check on it, whether or not an earlier one failed: those with sandboxes,
 * those of parts and all others beside each other. The last line is the sum. `npm test -- --only unit,sandbox [path…] [-t name]` runs those stages, and only
 * those test files and the tests with that in their name; `real` stands for `parts,sandbox`.
 */

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const REPORTER = fileURLToPath(new URL('report.ts', import.meta.url));

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** In the order of how long they take. */
const TRACKS = ['sandbox', 'parts', 'rest'] as const;
type Track = (typeof TRACKS)[number];

interface Stage {
  name: string;
  /** A program in node_modules/.bin, and its arguments. */
  command: readonly string[];
  /** Whether it is vitest, which counts its tests itself; any other stage counts as one. */
  counts: boolean;
  /** Stages with the same track run one after the other. What the first track says is shown as it comes, the others' stage by stage. */
  track: Track;
}

interface Result extends Counts {
  name: string;
  seconds: number;
  /** What failed and the beginning of why; none for a stage that is not vitest. */
  failures?: readonly string[];
}

interface Scene {
  env: NodeJS.ProcessEnv;
  /** A directory for the reports of vitest. */
  reports: string;
  signal: AbortSignal;
}

const PASSED: Counts = { passed: 1, failed: 0, skipped: 0 };
const FAILED: Counts = { passed: 0, failed: 1, skipped: 0 };

const say = (line: string): void => void process.stdout.write(`${line}\n`);

function allStages(paths: readonly string[], named: string | undefined): Stage[] {
  const some = paths.length === 0 && named === undefined ? [] : ['--passWithNoTests', ...paths];
  if (named !== undefined) some.push('--testNamePattern', named);
  const lane = (name: string, track: Stage['track']): Stage => ({
    name,
    command: ['vitest', 'run', '--project', name, ...some],
    counts: true,
    track,
  });
  const check = (name: string, ...command: string[]): Stage => ({ name, command, counts: false, track: 'rest' });
  return [
    check('types', 'tsc', '--noEmit'),
    check('lint', 'eslint', '.'),
    check('format', 'prettier', '--check', '.'),
    check('dependencies', 'knip'),
    lane('unit', 'rest'),
    lane('parts', 'parts'),
    lane('sandbox', 'sandbox'),
  ];
}

/** Runs a program of node_modules/.bin with this Node. Gives its exit code (1 when a signal ended it) and what it said, unless that was shown. */
function runProgram(
  command: readonly string[],
  { env, signal, show }: Scene & { show: boolean },
): Promise<{ code: number; said: string }> {
  const [program = '', ...args] = command;
  return new Promise((resolve) => {
    const output = show ? 'inherit' : 'pipe';
    const child = spawn(process.execPath, [join(ROOT, 'node_modules/.bin', program), ...args], {
      cwd: ROOT,
      env,
      stdio: ['ignore', output, output],
    });
    let said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => (said += text));
    }
    const stop = () => child.kill('SIGTERM');
    signal.addEventListener('abort', stop, { once: true });
    child.once('error', (error) => {
      resolve({ code: 1, said: `${said}${error.message}\n` });
    });
    child.once('close', (code) => {
      signal.removeEventListener('abort', stop);
      resolve({ code: code ?? 1, said });
    });
  });
}

/** What a run of vitest counts as. One that fails and names nothing (it ended without a report) counts as one failed. */
function countTests(code: number, report: TestReport | undefined): Counts & Pick<Result, 'failures'> {
  if (report === undefined) return FAILED;
  const { passed, skipped, failures } = report;
  return { passed, failed: failures.length === 0 && code !== 0 ? 1 : failures.length, skipped, failures };
}

async function readReport(file: string): Promise<TestReport | undefined> {
  try {
    return TestReport.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch (error) {
    say(`no report from vitest: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

async function runStage(stage: Stage, scene: Scene, show: boolean): Promise<Result> {
  const title = `\n== ${stage.name}: ${stage.command.join(' ')}`;
  if (show) say(title);
  const started = performance.now();
  const report = join(scene.reports, `${stage.name}.json`);
  const extra = stage.counts ? ['--reporter=default', `--reporter=${REPORTER}`] : [];
  const env = { ...scene.env, [REPORT_VARIABLE]: report };
  const { code, said } = await runProgram([...stage.command, ...extra], { ...scene, env, show });
  if (!show) say(`${title}\n${said}`);
  const seconds = (performance.now() - started) / 1000;
  if (!stage.counts) return { name: stage.name, seconds, ...(code === 0 ? PASSED : FAILED) };
  return { name: stage.name, seconds, ...countTests(code, await readReport(report)) };
}

/** The machine, or nothing after having said why. */
async function setUp(signal: AbortSignal): Promise<Machine | undefined> {
  say('== set-up: Docker with gVisor, sandbox image, toolbox, Redis');
  try {
    return await prepareMachine({
      needs: { agents: ['opencode', 'codex'], redis: true },
      onProgress: progressLines(say),
      signal,
    });
  } catch (error) {
    if (error instanceof CofferdamError) say(`${error.message}\n  ${errorRow(error.code).advice}`);
    else say(error instanceof Error ? (error.stack ?? error.message) : String(error));
    return undefined;
  }
}

async function runTrack(stages: readonly Stage[], scene: Scene, show: boolean): Promise<Result[]> {
  const results: Result[] = [];
  for (const stage of stages) {
    if (scene.signal.aborted) results.push({ name: stage.name, seconds: 0, ...FAILED });
    else results.push(await runStage(stage, scene, show));
  }
  return results;
}

async function runAll(stages: readonly Stage[], signal: AbortSignal): Promise<Result[]> {
  const started = performance.now();
  const machine = await setUp(signal);
  const seconds = (performance.now() - started) / 1000;
  if (machine === undefined) return [{ name: 'set-up', seconds, ...FAILED }];
  const reports = await mkdtemp(join(tmpdir(), 'cofferdam-test-'));
  try {
    const env = {
      ...process.env,
      ...machineEnvironment(machine),
      // The product is started hundreds of times, and half of a short command's work is to compile it.
      NODE_COMPILE_CACHE: join(reports, 'compiled'),
    };
    const scene = { env, reports, signal };
    // Sandboxes and parts wait much of their time, and one track that begins late would run alone at the end.
    const tracks = TRACKS.map((track) => stages.filter((stage) => stage.track === track)).filter(
      ({ length }) => length > 0,
    );
    const results = await Promise.all(tracks.map((track, index) => runTrack(track, scene, index === 0)));
    return [{ name: 'set-up', seconds, passed: 0, failed: 0, skipped: 0 }, ...results.reverse().flat()];
  } finally {
    await rm(reports, { recursive: true, force: true });
    await machine.release();
  }
}

function printSum(results: readonly Result[]): void {
  // Again at the end, since what a log keeps of a long run is often its end.
  const failures = results.flatMap(({ failures = [] }) => failures);
  if (failures.length > 0) {
    say('\n== failed');
    for (const failure of failures) say(`  ${failure}`);
  }
  say('\n== summary');
  for (const { name, seconds, passed, failed, skipped } of results) {
    const counts = `${passed} passed, ${failed} failed, ${skipped} skipped`;
    say(`  ${failed === 0 ? 'ok    ' : 'FAILED'} ${name.padEnd(14)} ${seconds.toFixed(1).padStart(8)} s  ${counts}`);
  }
  const sum = (key: keyof Counts) => results.reduce((total, result) => total + result[key], 0);
  const skipped = sum('skipped');
  say(`${sum('passed')} passed, ${sum('failed')} failed${skipped === 0 ? '' : `, ${skipped} skipped`}`);
}

function chosenStages(): Stage[] {
  const { values, positionals } = parseArgs({
    options: { only: { type: 'string' }, testNamePattern: { type: 'string', short: 't' } },
    allowPositionals: true,
  });
  const stages = allStages(positionals, values.testNamePattern);
  if (values.only === undefined) return stages;
  const names = values.only.split(',').flatMap((name) => (name === 'real' ? ['parts', 'sandbox'] : [name]));
  const unknown = names.filter((name) => !stages.some((stage) => stage.name === name));
  if (unknown.length > 0) {
    throw new Error(`no stage ${unknown.join(', ')}: there are ${stages.map((stage) => stage.name).join(', ')}`);
  }
  return stages.filter((stage) => names.includes(stage.name));
}

const interrupted = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => interrupted.abort());
const results = await runAll(chosenStages(), interrupted.signal);
printSum(results);
const nothing = results.every(({ passed, failed, skipped }) => passed + failed + skipped === 0);
if (nothing) process.stderr.write('no test was run\n');
process.exitCode = nothing || results.some((result) => result.failed > 0) ? 1 : 0;
