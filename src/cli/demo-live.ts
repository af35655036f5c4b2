import { setTimeout as sleep } from 'node:timers/promises';
import { auditPaths, createFileLogs } from '../audit/logs.ts';
import { createAuditReader, type AuditReader } from '../audit/read.ts';
import type { AuditEvent } from '../domain/audit.ts';
import type { RunId } from '../domain/ids.ts';
import { formatUsd } from '../domain/ids.ts';
import { auditDirectory } from '../main/live-audit.ts';
import { STEPS, type Step } from '../domain/step.ts';
import { STEP_LABELS } from './run-report.ts';
import { terminalText } from './terminal.ts';

/** What the audit of one run has shown so far. */
export interface SeenRun {
  id: string;
  state: string | undefined;
  /** Micro-dollars. */
  cost: number;
  /** Since the run began. */
  seconds: number;
  file: string;
}

interface Tail extends SeenRun {
  reader: AuditReader;
  mark: string;
  /** Hosts and verdicts that were shown. */
  shown: Set<string>;
  /** The self-test of a sandbox is going on: what is refused then is its own. */
  testing: boolean;
}

export interface Follower extends AsyncDisposable {
  /** In the order in which they began. */
  runs(): SeenRun[];
}

const POLL_MS = 150;

/** Shows runs live, as their audit files grow: the same record that is sealed in the end. */
export function followRuns(options: { dataDir: string; write: (line: string) => void }): Follower {
  const directory = auditDirectory(options.dataDir);
  const logs = createFileLogs(directory);
  const tails = new Map<RunId, Tail>();
  const stop = new AbortController();

  async function look(): Promise<void> {
    for (const { runId } of (await logs.list()).reverse()) {
      const tail = tails.get(runId) ?? fresh(runId, auditPaths(directory, runId).log);
      tails.set(runId, tail);
      const log = await logs.open(runId);
      for await (const { bytes, mark } of log?.read(tail.mark) ?? []) {
        tail.mark = mark;
        for (const event of tail.reader.feed(bytes)) for (const line of describe(tail, event)) options.write(line);
      }
    }
  }

  const done = (async () => {
    while (!stop.signal.aborted) {
      await look();
      await sleep(POLL_MS, undefined, { signal: stop.signal }).catch(() => undefined);
    }
    await look();
  })();
  return {
    runs: () => [...tails.values()].filter(({ shown }) => shown.has('run')),
    [Symbol.asyncDispose]: () => {
      stop.abort();
      return done;
    },
  };
}

function fresh(id: string, file: string): Tail {
  return {
    id,
    file,
    state: undefined,
    cost: 0,
    seconds: 0,
    reader: createAuditReader(),
    mark: '0',
    shown: new Set(),
    testing: false,
  };
}

/** One event as lines in a terminal; most are for those who read the file. */
function describe(tail: Tail, event: AuditEvent): string[] {
  const { type, data, decision } = event;
  const at = `${(event.mono / 1000).toFixed(1).padStart(6)}s`;
  tail.seconds = event.mono / 1000;
  if (type.startsWith('run.')) tail.shown.add('run');
  if (type === 'sandbox.create') tail.testing = true;
  if (type === 'sandbox.self_test') tail.testing = false;
  if (type === 'run.step') return step(tail, at, data);
  // Repeats are written as counts later.
  if (decision !== undefined && /^egress\.(?!repeated)/.test(type))
    return tail.testing ? [] : network(tail, decision, data);
  switch (type) {
    case 'trigger.authority':
      return [
        `      asked   ${said(data['actor'])} ${decision?.allow === true ? 'may write here' : 'may not write here'}`,
      ];
    case 'llm.settle':
      tail.cost = Number(data['runCost']);
      return [];
    case 'agent.tool':
      return tool(tail, data);
    case 'agent.text':
      return String(data['text']).trim() === '' ? [] : [`      agent   “${terminalText(String(data['text']))}”`];
    case 'verify.command':
      return [`      checked ${terminalText(String(data['command']))} (exit ${String(data['exitCode'])})`];
    case 'git.push':
      return [`      push    ${terminalText(String(data['branch']))}`];
    case 'limit.reached':
      return [`      limit   ${String(data['reason'])}`];
    case 'run.end':
      tail.state = String(data['state']);
      return [`${at}  ${tail.state === 'succeeded' ? '✓' : '●'} ${tail.state}`];
    default:
      return [];
  }
}

function step(tail: Tail, at: string, data: Record<string, unknown>): string[] {
  const name = STEPS.find((one) => one === data['step']);
  if (name === undefined) return [];
  if (data['state'] === 'started') return [`${at}  → ${STEP_LABELS[name]}`];
  const seconds = (Number(data['durationMs'] ?? 0) / 1000).toFixed(1);
  return [`${at}  ${data['state'] === 'done' ? '✓' : '✗'} ${STEP_LABELS[name]} (${seconds}s)`, ...spent(tail, name)];
}

/** Money is shown when the step that spends it has ended. */
function spent(tail: Tail, name: Step): string[] {
  return name === 'agent' ? [`      spent   ${formatUsd(tail.cost)}`] : [];
}

/** Hosts once for each verdict; git and the model have hosts of the gateway's own, which are no network. */
function network(tail: Tail, decision: NonNullable<AuditEvent['decision']>, data: Record<string, unknown>): string[] {
  const host = terminalText(String(data['host']));
  const port = typeof data['port'] === 'number' && data['port'] !== 0 ? `:${data['port']}` : '';
  const key = `${host} ${String(decision.allow)}`;
  if (tail.shown.has(key) || host.endsWith('.cofferdam.internal') || (decision.allow && port === '')) return [];
  tail.shown.add(key);
  return [`      network ${decision.allow ? `allowed ${host}${port}` : `denied  ${host}${port} (${decision.reason})`}`];
}

/** A tool is named first and described when its arguments are there; a bare name is shown only if nothing more comes. */
function tool(tail: Tail, data: Record<string, unknown>): string[] {
  const title = terminalText(String(data['title']));
  const key = `tool ${String(data['id'])}`;
  const bare = /^\w+$/.test(title);
  if (tail.shown.has(key) || (bare && data['status'] !== 'completed')) return [];
  tail.shown.add(key);
  return [`      agent   ${title}`];
}

function said(actor: unknown): string {
  const login = typeof actor === 'object' && actor !== null && 'login' in actor ? actor.login : '';
  return terminalText(String(login));
}
