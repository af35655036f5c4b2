import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { environmentOf } from '../config/environment.ts';
import { publicKeyFile } from '../audit/seal.ts';
import { verifyAuditFile } from '../audit/verify.ts';
import { formatUsd } from '../domain/ids.ts';
import { demoScript, FOLLOW_UP, ISSUE } from '../local/demo/script.ts';
import { PEOPLE, setStage, startProduct, type DemoStage, type RealModel } from '../local/demo/stage.ts';
import type { CheckRun, Thread } from '../local/github/state.ts';
import { prepareMachine, type Machine } from '../local/machine/machine.ts';
import { followRuns, type Follower, type SeenRun } from './demo-live.ts';
import { machineProgress } from './progress.ts';
import { terminalLine, terminalText } from './terminal.ts';

export interface DemoOptions {
  json?: boolean;
  keep?: boolean;
  scripted?: boolean;
  signal: AbortSignal;
}

/** A run of the demo takes half a minute on an idle machine. */
const RUN_MS = 20 * 60_000;

const say = (line: string): void => void process.stderr.write(`${line}\n`);

/**
 * `cofferdam demo`: the main job on this machine. A local GitHub, a real project with a failing test, an issue, a label, a real agent
 * in a real sandbox, a draft pull request; then a comment on it and a second commit. Exit code 0 only when all of that is true.
 */
export async function demoCommand(options: DemoOptions): Promise<number> {
  const { signal } = options;
  await using undo = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'cd-demo-'));
  undo.defer(() => rm(directory, { recursive: true, force: true }));
  say('Setting up (the first time takes a few minutes):');
  const machine = await prepareMachine({
    needs: { agents: ['opencode', 'codex'], redis: true },
    onProgress: machineProgress(),
    signal,
  });
  undo.defer(() => machine.release());
  say('Starting Cofferdam');
  const model = options.scripted === true ? undefined : realModel();
  const stage = undo.use(
    await setStage({ directory, script: demoScript, model, registryPrivate: machine.registryPrivate }),
  );
  const logFile = join(directory, 'cofferdam.log');
  const product = undo.use(await startProduct({ env: stage.env, inherit: environmentOf(), logFile }));
  introduce(stage, model);
  const follower = followRuns({ dataDir: stage.dataDir, write: say });
  let outcome: Outcome;
  try {
    const ended = product.ended.then((code) => Promise.reject(new Error(`cofferdam ended with ${code ?? 'a signal'}`)));
    outcome = await Promise.race([walk(stage, follower, signal), ended]);
  } catch (thrown) {
    if (signal.aborted) return 130;
    say(`\nThe demo did not come to its end: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
    say((await readFile(logFile, 'utf8')).trim().split('\n').slice(-10).join('\n'));
    return 1;
  } finally {
    await follower[Symbol.asyncDispose]();
  }
  const problems = report(stage, machine, outcome);
  if (options.json === true) process.stdout.write(`${JSON.stringify(summary(stage, machine, outcome, problems))}\n`);
  if (options.keep === true && !signal.aborted) {
    say(`\nEverything is still running: ${stage.repository.page} (log: ${logFile}). Ctrl-C ends it.`);
    await once(signal, 'abort');
  }
  return problems.length === 0 ? 0 : 1;
}

/** With a key in the environment the model is a real one. */
function realModel(): RealModel | undefined {
  const env = environmentOf();
  if (env['ANTHROPIC_API_KEY'])
    return { provider: 'anthropic', model: 'claude-sonnet-4-5', keyVariable: 'ANTHROPIC_API_KEY' };
  if (env['OPENAI_API_KEY']) return { provider: 'openai', model: 'gpt-5-mini', keyVariable: 'OPENAI_API_KEY' };
  return undefined;
}

function introduce(stage: DemoStage, model: RealModel | undefined): void {
  say(`\nGitHub:  a local one that judges every request by GitHub's own API description: ${stage.repository.page}`);
  say('Agent:   opencode, a real one, in a gVisor sandbox');
  say(
    model === undefined
      ? 'Model:   SCRIPTED: a provider on this machine that speaks the real wire format (a key in ANTHROPIC_API_KEY brings a real one)'
      : `Model:   ${model.provider}/${model.model}, with the key of ${model.keyVariable}`,
  );
}

interface Outcome {
  pull: Thread & { pull: NonNullable<Thread['pull']> };
  checks: CheckRun[];
  runs: (SeenRun & { verdict: string; checkpoint: boolean })[];
  commits: number;
  diff: string;
}

/** Issue, label, pull request; comment, second commit. */
async function walk(stage: DemoStage, follower: Follower, signal: AbortSignal): Promise<Outcome> {
  const { repository } = stage;
  const wait = <T>(what: string, look: () => T | undefined | false): Promise<T> => until({ what, look, signal });
  const issue = await repository.openIssue({ ...ISSUE, author: PEOPLE.reader });
  say(`\n${PEOPLE.reader} opens issue #${issue.number}: ${issue.title}`);
  await repository.addLabel(issue.number, 'agent', PEOPLE.writer);
  say(`${PEOPLE.writer}, who may write to the repository, adds the label "agent"\n`);
  const first = await wait('the run', () => follower.runs().find((run) => run.state !== undefined));
  const told = (number: number, nth: number): boolean =>
    repository
      .comments(number)
      .some((one) => one.viaApp && one.body.includes(follower.runs()[nth]?.id ?? '?') && !/[⏳🕐]/u.test(one.body));
  await wait('the status comment', () => told(issue.number, 0));
  const pull = repository.pulls()[0];
  if (pull === undefined) throw new Error(`the run ended as ${first.state ?? 'nothing'} and without a pull request`);
  const before = pull.pull.headSha;
  say(`\nDraft pull request #${pull.number}: ${pull.title}`);
  say(`${PEOPLE.writer} comments there: /agent ${FOLLOW_UP}\n`);
  repository.comment(pull.number, { body: `/agent ${FOLLOW_UP}`, author: PEOPLE.writer });
  await wait(
    'the second run',
    () => follower.runs().length > 1 && follower.runs().every((run) => run.state !== undefined),
  );
  await wait('the status comment of the second run', () => told(pull.number, 1));
  const after = repository.pulls()[0] ?? pull;
  const commits = await repository.log(after.pull.headRef);
  const key = await readFile(publicKeyFile(stage.dataDir), 'utf8');
  const runs = await Promise.all(
    follower.runs().map(async (run) => {
      const { verdict, checkpoints } = await verifyAuditFile({ file: run.file, key });
      const named = commits.find(({ message }) => message.includes(`Cofferdam-Run: ${run.id}`))?.message ?? '';
      return { ...run, verdict, checkpoint: checkpoints.some((hash) => named.includes(`Cofferdam-Audit: ${hash}`)) };
    }),
  );
  const ours = commits.slice(0, commits.findIndex(({ sha }) => sha === before) + 1);
  return {
    pull: after,
    checks: repository.checkRuns(after.pull.headSha),
    runs,
    commits: ours.length,
    diff: await repository.diff(after.number),
  };
}

/** Files and GitHub are looked at again and again: neither tells of the other. */
async function until<T>(options: { what: string; look: () => T | undefined | false; signal: AbortSignal }): Promise<T> {
  const end = Date.now() + RUN_MS;
  while (Date.now() < end) {
    const found = options.look();
    if (found !== undefined && found !== false) return found;
    await sleep(200, undefined, { signal: options.signal });
  }
  throw new Error(`${options.what}: not within ${RUN_MS / 60_000} minutes`);
}

/** What a person wants to see at the end; resolves with what is not as it should be. */
function report(stage: DemoStage, machine: Machine, { pull, checks, runs, commits, diff }: Outcome): string[] {
  const { repository, standIn, provider } = stage;
  const [check] = checks;
  const cost = runs.reduce((sum, run) => sum + run.cost, 0);
  say(
    `\n${diff
      .trimEnd()
      .split('\n')
      .map((line) => `  ${terminalLine(line, 200)}`)
      .join('\n')}`,
  );
  say(`\nCheck run "${check?.name ?? ''}": ${check?.conclusion ?? 'none'}`);
  const shown = (check?.summary ?? '')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .slice(0, 14);
  say(shown.map((line) => `  ${terminalText(line, 140)}`).join('\n'));
  say('');
  for (const run of runs) {
    say(`Run ${run.id}: ${run.state ?? ''}, ${formatUsd(run.cost)}, ${run.seconds.toFixed(1)} s; audit ${run.verdict}`);
  }
  for (const run of runs) say(`Run page       ${stage.env['COFFERDAM_PUBLIC_URL'] ?? ''}/runs/${run.id}`);
  say(`Issue          ${repository.page}/issues/1`);
  say(`Pull request   ${repository.page}/pull/${pull.number}`);
  say(
    `Versions       ${Object.entries(machine.versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(', ')}`,
  );
  const charged = provider?.charged() ?? cost;
  const expected: [string, boolean][] = [
    ['two runs succeeded', runs.length === 2 && runs.every((run) => run.state === 'succeeded')],
    ['each audit file is whole, sealed and signed', runs.every((run) => run.verdict === 'valid')],
    ["each commit's trailer names its audit's checkpoint", runs.every((run) => run.checkpoint)],
    [
      'one pull request, a draft, with two commits',
      repository.pulls().length === 1 && pull.pull.draft && commits === 2,
    ],
    ['the check run says success', check?.conclusion === 'success'],
    [`the provider's books say ${formatUsd(charged)}, and so do the audits`, charged === cost],
    ['no request that GitHub would not have taken', standIn.violations.length === 0],
  ];
  say('');
  for (const [what, ok] of expected) say(`  ${ok ? '✓' : '✗'} ${what}`);
  return expected.filter(([, ok]) => !ok).map(([what]) => what);
}

function summary(stage: DemoStage, machine: Machine, outcome: Outcome, problems: string[]): Record<string, unknown> {
  const { pull, checks, runs } = outcome;
  const { page } = stage.repository;
  const check = checks[0];
  return {
    ok: problems.length === 0,
    pull: `${page}/pull/${pull.number}`,
    checkRun: check === undefined ? null : `${page}/runs/${check.id}`,
    runs: runs.map(({ id, state, cost, seconds, verdict }) => ({
      id,
      state,
      costUsd: cost / 1e6,
      seconds,
      auditVerified: verdict === 'valid',
    })),
    versions: machine.versions,
    ...(problems.length === 0 ? {} : { problems }),
  };
}
