/** Runs the cases one after the other in one sandbox and judges each by what the host saw. */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { PassThrough, Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { AuditEntry } from '../domain/audit.ts';
import type { EgressEntryFact } from '../domain/run.ts';
import { TOOLBOX } from '../sandbox/layout.ts';
import {
  USERS,
  type AttackCase,
  type AttackUser,
  type Given,
  type KernelHint,
  type Places,
  type Probe,
  type Seen,
} from './case.ts';
import type { Decoys } from './decoys.ts';
import { addressesOf, furnish, type Stage } from './stage.ts';

/** One case as one user. */
export interface Attempt {
  attack: AttackCase;
  given: Given;
}

export interface Outcome {
  id: string;
  title: string;
  tried: string;
  class: AttackCase['class'];
  tier: AttackCase['tier'];
  user: AttackUser;
  verdict: 'passed' | 'failed' | 'skipped';
  /** What was wrong, or why it was skipped. */
  problems: string[];
  /** What the host saw: sink, dials, look-ups, denials, decoys. */
  seen: string[];
  ms: number;
}

/** Longest time of one probe with its twin. */
const LIMIT_MS = 60_000;
const MAX_ANSWER = 2 ** 20;
/** The kernel's record tells in windows; the longest of them, and some more. */
const HINT_MS = 75_000;

export function attemptsOf(cases: readonly AttackCase[], decoys: { port: number; name: string }): Attempt[] {
  const pairs = cases.flatMap((attack) =>
    USERS.filter((user) => attack.as === 'both' || attack.as === user).map((user) => ({ attack, user })),
  );
  return pairs.map(({ attack, user }, at) => ({ attack, given: givenTo(attack, user, at + 1, decoys) }));
}

function givenTo(attack: AttackCase, user: AttackUser, index: number, decoys: { port: number; name: string }): Given {
  const name = (place: string): string => `${attack.id.toLowerCase()}-${user}.${place}.test`;
  return {
    user,
    denied: name('denied'),
    allowed: name('allowed'),
    read: name('read'),
    passed: name('passed'),
    twin: name('twin'),
    twinPassed: name('twin-passed'),
    mark: randomBytes(16).toString('hex'),
    index,
    decoyPort: decoys.port,
    decoyName: decoys.name,
  };
}

/** Never rejects for what happens inside; the signal ends it between two cases. */
export async function runBattery(options: {
  stage: Stage;
  decoys: Decoys;
  attempts: readonly Attempt[];
  host: { processRecord: boolean };
  onOutcome: (outcome: Outcome) => void;
  signal: AbortSignal;
}): Promise<Outcome[]> {
  const { stage, decoys, attempts, host, onOutcome, signal } = options;
  const tools = await readFile(new URL('inside.ts', import.meta.url), 'utf8');
  const outcomes: Outcome[] = [];
  for (const { attack, given } of attempts) {
    signal.throwIfAborted();
    const started = performance.now();
    const { id, title, tried, tier } = attack;
    const about = { id, title, tried, class: attack.class, tier, user: given.user };
    const why = attack.skip?.(host);
    const judged =
      why === undefined
        ? await attempt({ stage, decoys, attack, given, tools, host })
        : { verdict: 'skipped' as const, problems: [why], seen: [] };
    const outcome = { ...about, ...judged, ms: Math.round(performance.now() - started) };
    outcomes.push(outcome);
    onOutcome(outcome);
  }
  return outcomes;
}

async function attempt(one: {
  stage: Stage;
  decoys: Decoys;
  attack: AttackCase;
  given: Given;
  tools: string;
  host: { processRecord: boolean };
}): Promise<Pick<Outcome, 'verdict' | 'problems' | 'seen'>> {
  const { stage, decoys, attack, given, tools } = one;
  const { internet, enclosure } = stage;
  const addresses = addressesOf(given);
  const at = (name: keyof Places): string => `${addresses[name]}:443`;
  await furnish(internet, given);
  await attack.prepare?.(internet, given, at);
  await enclosure.gateway.refreshEgress();
  const before = {
    egress: enclosure.gateway.egress(),
    events: stage.events.length,
    dials: internet.dials.length,
    queries: internet.queries.length,
    bytes: internet.sinkTotal(),
    decoys: decoys.met(),
  };
  const probes = [attack.probe, attack.twin.probe];
  const ran =
    attack.timeoutMs === undefined
      ? await inSandbox(stage, { given, tools, probes, timeoutMs: LIMIT_MS })
      : await apart(stage, { given, tools, probes, timeoutMs: attack.timeoutMs });
  await enclosure.gateway.refreshEgress();
  const twins = [given.twin, given.twinPassed];
  const twinPlaces = (['twin', 'twinPassed'] as const).flatMap((name) => [at(name), `${addresses[name]}:80`]);
  const twinBytes = twinPlaces.reduce((sum, place) => sum + internet.sink(place).length, 0);
  const seen: Seen = {
    given,
    inside: ran.answers[0],
    denied: grown(before.egress, enclosure.gateway.egress()).filter(
      (entry) => !entry.allow && !twins.includes(entry.host),
    ),
    events: stage.events.slice(before.events).filter((event) => !twins.includes(String(event.data?.['host']))),
    sink: (name) =>
      [at(name), `${addresses[name]}:80`].map((place) => internet.sink(place).toString('latin1')).join(''),
    sinkBytes: internet.sinkTotal() - before.bytes - twinBytes,
    dials: internet.dials.slice(before.dials).filter((dialled) => !twinPlaces.includes(dialled)),
    queries: internet.queries.slice(before.queries).filter((name) => !twins.includes(name)),
    decoys: decoys.met() - before.decoys,
    timedOut: ran.timedOut,
  };
  const skipped = skipOf(seen.inside);
  if (skipped !== undefined) return { verdict: 'skipped', problems: [skipped], seen: [] };
  const { at: place, text } = attack.twin.arrives(given);
  const arrived = internet.sink(at(place)).toString('latin1').includes(text);
  const problems = judge(attack, seen, ran.problem);
  const hints = attack.expected.hints?.(given) ?? [];
  const silent = one.host.processRecord ? await unreported(hints, () => stage.events.slice(before.events)) : [];
  problems.push(...silent.map((hint) => `the kernel reported no ${JSON.stringify(hint)}`));
  if (!arrived) problems.push(`the twin did not arrive (${attack.twin.title}): ${short(ran.answers[1])}`);
  const reported = hints.length > 0 && one.host.processRecord && silent.length === 0;
  const kernel = reported ? [`the kernel reported it (${hints.length})`] : [];
  const facts = [
    ...describe(seen),
    ...kernel,
    arrived ? `the twin arrived: ${attack.twin.title}` : 'the twin did not arrive',
  ];
  return { verdict: problems.length === 0 ? 'passed' : 'failed', problems, seen: facts };
}

/** Those of the hints that no line of the kernel's record has, once there was time for it. */
async function unreported(hints: readonly KernelHint[], events: () => readonly AuditEntry[]): Promise<KernelHint[]> {
  const until = performance.now() + HINT_MS;
  for (;;) {
    const lines = events();
    const missing = hints.filter((hint) => !lines.some((line) => holds(line, hint)));
    if (missing.length === 0 || performance.now() > until) return missing;
    await delay(100);
  }
}

function holds(line: AuditEntry, { type, ...fields }: KernelHint): boolean {
  return line.type === type && Object.entries(fields).every(([name, value]) => line.data?.[name] === value);
}

/** A probe that lacks a program of the image says so instead of an answer. */
function skipOf(answer: unknown): string | undefined {
  if (typeof answer !== 'object' || answer === null || !('skip' in answer)) return undefined;
  return String(answer.skip);
}

function judge(attack: AttackCase, seen: Seen, problem: string | undefined): string[] {
  const { outcome, reasons = [], silent = outcome === 'denied', also } = attack.expected;
  const problems: string[] = [];
  if (problem !== undefined) problems.push(problem);
  if (seen.decoys > 0) problems.push(`${seen.decoys} connections reached a decoy on the host`);
  if (silent && seen.sinkBytes > 0) problems.push(`${seen.sinkBytes} bytes arrived outside`);
  for (const reason of reasons) {
    const counted = seen.denied.filter((entry) => entry.reason === reason);
    if (counted.length === 0) problems.push(`the gateway counted no denial for ${reason}`);
  }
  // What a probe that failed found is nothing to judge.
  const more = problem === undefined ? also?.(seen) : undefined;
  if (more !== undefined) problems.push(more);
  return problems;
}

function describe(seen: Seen): string[] {
  const denials = seen.denied.map(
    ({ host, port, reason, count }) => `${short(host, 60)}${port === 0 ? '' : `:${port}`} ${reason ?? ''} ×${count}`,
  );
  const more = denials.length > 4 ? `, and ${denials.length - 4} more` : '';
  return [
    `${seen.sinkBytes} bytes at the sink, ${seen.dials.length} dialled, ${seen.queries.length} looked up outside`,
    denials.length === 0 ? 'no denial was needed' : `denied: ${denials.slice(0, 4).join('; ')}${more}`,
  ];
}

function short(value: unknown, length = 300): string {
  const text = typeof value === 'string' ? value : value === undefined ? 'no answer' : JSON.stringify(value);
  return text.length > length ? `${text.slice(0, length)}…` : text;
}

interface Sent {
  given: Given;
  tools: string;
  probes: readonly Probe[];
  timeoutMs: number;
}

interface Ran {
  answers: unknown[];
  timedOut: boolean;
  problem?: string;
}

/** The tools, and behind them each probe with its answer on a line of its own. */
async function inSandbox(stage: Stage, { given, tools, probes, timeoutMs }: Sent): Promise<Ran> {
  const calls = probes.map(
    (probe) =>
      `process.stdout.write('${given.mark}' + JSON.stringify(await (${String(probe)})(inside, given).then((value) => ({ value: value ?? null }), (error) => ({ error: String(error) }))) + '\\n');`,
  );
  const program = `${tools}\nconst given = ${JSON.stringify(given)};\n${calls.join('\n')}\nprocess.exit(0);\n`;
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  let text = '';
  let complaint = '';
  stdout.on('data', (chunk: Buffer) => {
    if (text.length < MAX_ANSWER) text += chunk.toString('utf8');
  });
  stderr.on('data', (chunk: Buffer) => {
    if (complaint.length < 4096) complaint += chunk.toString('utf8');
  });
  const result = await stage.enclosure.exec({
    argv: [...TOOLBOX.node, '--input-type=module-typescript', '-'],
    user: given.user,
    cwd: '/',
    stdin: Readable.from([program]),
    ...{ stdout, stderr, timeoutMs },
  });
  const lines = text
    .split('\n')
    .flatMap((line) => (line.startsWith(given.mark) ? [line.slice(given.mark.length)] : []));
  const answers = lines.map((line) => JSON.parse(line) as { value?: unknown; error?: string });
  const broken = answers.find((answer) => answer.error !== undefined)?.error;
  const problem =
    broken !== undefined
      ? `the probe failed: ${broken}`
      : answers.length < probes.length && !result.timedOut
        ? `the probe ended with ${result.exitCode} and no answer: ${short(complaint)}`
        : undefined;
  return {
    answers: answers.map((answer) => answer.value),
    timedOut: result.timedOut,
    ...(problem === undefined ? {} : { problem }),
  };
}

/** The probe's command is ended at its time; the twin has one of its own. */
async function apart(stage: Stage, sent: Sent): Promise<Ran> {
  const [probe, twin] = sent.probes;
  const first = await inSandbox(stage, { ...sent, probes: probe ? [probe] : [] });
  const second = await inSandbox(stage, { ...sent, probes: twin ? [twin] : [], timeoutMs: LIMIT_MS });
  return { answers: [first.answers[0], second.answers[0]], timedOut: first.timedOut };
}

function grown(before: readonly EgressEntryFact[], now: readonly EgressEntryFact[]): EgressEntryFact[] {
  const key = (entry: EgressEntryFact): string => JSON.stringify([entry.host, entry.port, entry.allow, entry.reason]);
  const old = new Map(before.map((entry) => [key(entry), entry.count]));
  return now.flatMap((entry) => {
    const count = entry.count - (old.get(key(entry)) ?? 0);
    return count > 0 ? [{ ...entry, count }] : [];
  });
}

/** Denials that the audit has, single and in counts; `egress.repeated` says how many more there were. */
export function recordedDenials(events: readonly AuditEntry[]): number {
  return events
    .filter((event) => event.zone === 'gateway' && event.type.startsWith('egress.') && event.decision?.allow === false)
    .reduce((sum, event) => sum + (event.type === 'egress.repeated' ? Number(event.data?.['more'] ?? 0) : 1), 0);
}
