import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AuditFile } from '../../src/audit/log.ts';
import { createRedactor } from '../../src/audit/redact.ts';
import { loadSigningKey } from '../../src/audit/seal.ts';
import type { AuditEntry } from '../../src/domain/audit.ts';
import type { EventType } from '../../src/domain/events/events.ts';
import { RunId } from '../../src/domain/ids.ts';

/** A whole run as its events: made as the worker makes them, with the real writer. */

export const RUN_ID = RunId.parse('r0123456789ab');
export const BASE = '4f5ece2ea7ddb9665560fb7e311dcf7758c67f3a';
export const COMMIT = '62f91418fcfbfc1d180ee1f42d9b440d8ddb2878';

export interface Directory extends AsyncDisposable {
  path: string;
  /** Where audit files are. */
  audit: string;
}

/** Logs that are still open when their directory goes: a run that never ends leaves its file open. */
const logs = new Map<string, AuditFile[]>();

export async function directory(): Promise<Directory> {
  const path = await mkdtemp(join(tmpdir(), 'cofferdam-log-'));
  return {
    path,
    audit: join(path, 'audit'),
    async [Symbol.asyncDispose]() {
      await Promise.all((logs.get(path) ?? []).map((log) => log.close()));
      logs.delete(path);
      await rm(path, { recursive: true, force: true });
    },
  };
}

export interface RunLog {
  file: string;
  put: (entry: AuditEntry) => Promise<void>;
  seal: (data?: Record<string, unknown>) => Promise<void>;
}

/** An open log; time passes by a tenth of a second with each line. */
export async function openLog(
  dir: Omit<Directory, typeof Symbol.asyncDispose>,
  runId = RUN_ID,
  onLine?: (line: string) => void,
): Promise<RunLog> {
  let ms = 0;
  const log = await AuditFile.create({
    file: join(dir.audit, `${runId}.jsonl`),
    runId,
    redact: createRedactor([]),
    key: await loadSigningKey(dir.path),
    mono: () => (ms += 100),
    now: () => new Date(Date.UTC(2026, 10, 25, 9, 0, 0) + ms),
    ...(onLine === undefined ? {} : { onLine }),
  });
  logs.set(dir.path, [...(logs.get(dir.path) ?? []), log]);
  return {
    file: log.file,
    put: (entry) => log.append(entry),
    async seal(data = { repository: 'octo/kettle', commit: COMMIT, pull: 12 }) {
      await log.seal(data);
      await log.close();
    },
  };
}

function step(name: string, state: string, durationMs?: number): AuditEntry {
  return {
    zone: 'worker',
    type: 'run.step',
    data: { step: name, state, ...(durationMs === undefined ? {} : { durationMs }) },
  };
}

const denied = (
  host: string,
  port: number,
  reason: 'ip_literal' | 'not_allowed',
  type: EventType = 'egress.connect',
): AuditEntry => ({
  zone: 'gateway',
  type,
  decision: { allow: false, rule: 'default', reason },
  data: { host, ...(port === 0 ? {} : { port }) },
});

function selfTest(role: string): AuditEntry[] {
  const checks = ['agent', 'root'].flatMap((who) => [
    { name: `${who}.gvisor`, ok: true, observed: 'Linux version 4.4.0' },
    { name: `${who}.raw_address`, ok: true, observed: '1.1.1.1:443 refused (ECONNRESET), 0 bytes' },
    { name: `${who}.metadata_address`, ok: true, observed: '169.254.169.254:80 refused (ECONNRESET), 0 bytes' },
  ]);
  return [
    { zone: 'worker', type: 'sandbox.create', data: { role, image: 'i', runtime: 'cofferdam' } },
    denied('1.1.1.1', 443, 'ip_literal'),
    denied('169.254.169.254', 80, 'ip_literal'),
    denied('cofferdam-self-test.invalid', 0, 'not_allowed', 'egress.name'),
    { zone: 'worker', type: 'sandbox.self_test', data: { role, ok: true, checks } },
  ];
}

export const MANIFEST: AuditEntry = {
  zone: 'worker',
  type: 'run.manifest',
  data: {
    spec: {
      repository: 'octo/kettle',
      base: BASE,
      branch: 'cofferdam/12-parse-time',
      title: 'fix: parseTime understands "1h 30m"',
      task: 'Make several units work.',
      agent: 'opencode',
      model: 'anthropic/claude-sonnet-4-5',
      limits: { maxCost: 2_000_000, timeoutMs: 300_000, maxTurns: 100 },
      policy: { rules: [{ host: 'mirror.example', ports: [443], passThrough: true, source: 'npm preset' }], deny: [] },
      policyDigest: `sha256:${'a'.repeat(64)}`,
      setup: ['npm ci'],
      verify: ['npm test'],
    },
    origin: {
      source: { number: 12, title: 'parseTime', url: 'https://github.example/octo/kettle/issues/12', isPull: false },
      input: [
        {
          kind: 'issue',
          author: 'alice',
          updatedAt: '2026-11-25T08:00:00Z',
          sha256: `sha256:${'b'.repeat(64)}`,
          authorMayWrite: true,
        },
      ],
    },
    requester: { login: 'alice', id: 7 },
    versions: { runsc: '20240729.0', docker: '20.10', git: '2.39.5', node: 'v24' },
    image: `sha256:${'e'.repeat(64)}`,
    sandbox: { runtime: 'cofferdam', image: 'i' },
    operatorPolicy: `sha256:${'f'.repeat(64)}`,
    prices: { date: '2026-11-01', hash: `sha256:${'c'.repeat(64)}` },
  },
};

function command(role: string, argv: string[], code: number, inside: AuditEntry[] = [], tail?: string): AuditEntry[] {
  const start = { role, 'process.command_args': argv, 'process.user': 'agent', cwd: '/workspace/repo' };
  return [
    { zone: 'worker', type: 'process.start', data: start },
    ...inside,
    {
      zone: 'worker',
      type: 'process.exit',
      data: {
        role,
        'process.command': argv[0],
        'process.exit.code': code,
        timedOut: false,
        durationMs: 100 * (inside.length + 1),
        ...(tail === undefined ? {} : { tail }),
      },
    },
  ];
}

function call(id: string, cost: number, runCost: number, turns: number): AuditEntry[] {
  const asked = {
    provider: 'anthropic',
    wire: 'anthropic',
    model: 'claude-sonnet-4-5',
    main: true,
    stream: true,
    amount: 840_000,
    atLeast: 90_000,
    tellable: true,
    inputTokens: 9_000,
    outputTokens: 64_000,
  };
  const usage = { input: 7_000, cacheRead: 500, cacheWrite: 0, cacheWrite1h: 0, output: 40 };
  return [
    { zone: 'gateway', type: 'llm.reserve', data: { ...asked, callId: id, granted: 840_000 } },
    {
      zone: 'gateway',
      type: 'llm.settle',
      data: { callId: id, outcome: 'usage', aborted: false, cost, usage, status: 200, ms: 90, runCost, turns },
    },
  ];
}

function tool(id: string, title: string, status: string, texts: { input?: string; output?: string } = {}): AuditEntry {
  return {
    zone: 'gateway',
    source: 'sandbox',
    type: 'agent.tool',
    data: { kind: 'tool', id, title, status, toolKind: 'execute', ...texts },
  };
}

function says(text: string): AuditEntry {
  return { zone: 'gateway', source: 'sandbox', type: 'agent.text', data: { kind: 'text', text } };
}

const MIRROR: AuditEntry = {
  zone: 'gateway',
  type: 'egress.connect',
  decision: { allow: true, rule: 'npm preset: mirror.example' },
  data: { host: 'mirror.example', port: 443, addresses: ['203.0.113.80'], tls: 'passed' },
};

/** Up to the agent's work. */
export const BEGINNING: AuditEntry[] = [
  step('mirror', 'started'),
  step('mirror', 'done', 100),
  step('spec', 'started'),
  MANIFEST,
  step('spec', 'done', 200),
  step('sandbox', 'started'),
  ...selfTest('agent'),
  step('sandbox', 'done', 600),
  step('clone', 'started'),
  ...command(
    'agent',
    ['/bin/bash', '-c', 'set -e; git init', 'clone', 'http://git.cofferdam.internal/octo/kettle.git'],
    0,
  ),
  step('clone', 'done', 200),
  step('setup', 'started'),
  ...command('agent', ['/bin/bash', '-c', 'npm ci'], 0, [MIRROR, MIRROR], 'added 3 packages in 2s\n'),
  {
    zone: 'gateway',
    type: 'egress.end',
    data: { host: 'mirror.example', port: 443, bytesIn: 2_995_137, bytesOut: 2_065, ms: 600 },
  },
  step('setup', 'done', 400),
  step('agent', 'started'),
];

/** The agent's work. */
export const WORK: AuditEntry[] = [
  ...call('c1', 23_460, 23_460, 1),
  says('I will look at the parser and its tests first.'),
  tool('t1', 'bash', 'pending'),
  tool('t1', 'npm test', 'in_progress', { input: 'command: npm test\ncwd: /workspace/repo' }),
  tool('t1', 'npm test', 'completed', { output: '> kettle test\n\u001b[32m9 passing\u001b[0m\n' }),
  ...call('c2', 26_540, 50_000, 2),
  tool('t2', 'curl https://telemetry.example/beacon', 'in_progress'),
  denied('telemetry.example', 0, 'not_allowed', 'egress.name'),
  tool('t2', 'curl https://telemetry.example/beacon', 'failed'),
  {
    zone: 'gateway',
    type: 'egress.repeated',
    decision: { allow: false, rule: 'default', reason: 'ip_literal' },
    data: { of: 'egress.connect', host: '1.1.1.1', port: 443, more: 1, count: 2 },
  },
  says('All tests pass.'),
  step('agent', 'done', 1_400),
  { zone: 'gateway', source: 'sandbox', type: 'agent.end', data: { stop: 'end_turn', summary: 'All tests pass.' } },
];

/** Harvest, verification, end. */
export const ENDING: AuditEntry[] = [
  step('harvest', 'started'),
  { zone: 'worker', type: 'git.commit', data: { tree: 'a'.repeat(40), base: BASE, files: 1 } },
  step('harvest', 'done', 200),
  {
    zone: 'worker',
    type: 'harvest.done',
    data: {
      commit: COMMIT,
      files: [{ path: 'src/timer.js', status: 'modified', additions: 7, deletions: 3 }],
      diffHash: `sha256:${'d'.repeat(64)}`,
    },
  },
  step('verify', 'started'),
  ...selfTest('verify'),
  {
    zone: 'worker',
    type: 'verify.command',
    data: { command: 'npm test', exitCode: 0, durationMs: 1_900, tail: '\u001b[32mok\u001b[0m 4 tests\n' },
  },
  step('verify', 'done', 700),
  { zone: 'worker', type: 'sandbox.destroyed', data: { role: 'agent', container: 'c'.repeat(64) } },
  {
    zone: 'worker',
    type: 'run.end',
    data: {
      state: 'succeeded',
      reason: null,
      usage: { cost: 50_000, turns: 2, inputTokens: 15_000, outputTokens: 80 },
      error: null,
    },
  },
];

function reported(pid: number, parent: number, argv: string[], code: number): AuditEntry[] {
  const seen = { zone: 'worker', source: 'sandbox' } as const;
  const start = { role: 'agent', 'process.pid': pid, 'process.parent_pid': parent, 'process.command_args': argv };
  const exit = { role: 'agent', 'process.pid': pid, 'process.command': argv[0] ?? '', 'process.exit.code': code };
  return [
    { ...seen, type: 'process.start', data: start },
    { ...seen, type: 'process.exit', data: exit },
  ];
}

/** What the sandbox's kernel reported. */
export const PROCESSES: AuditEntry[] = [
  ...reported(10, 1, ['/bin/bash', '-c', 'npm test'], 0),
  ...reported(11, 10, ['npm', 'test'], 0),
  ...reported(12, 11, ['node', 'test.js'], 0),
  ...reported(13, 1, ['curl', 'https://telemetry.example/beacon'], 6),
];

/** Instead of the last two lines of a run: its result waits for a person. */
export const HELD: AuditEntry[] = [
  {
    zone: 'worker',
    type: 'publish.held',
    decision: { allow: false, rule: 'protected', reason: 'held' },
    data: {
      diffHash: `sha256:${'d'.repeat(64)}`,
      commit: COMMIT,
      files: ['src/timer.js'],
      ci: [{ file: '.github/workflows/ci.yml', risk: 'secrets' }],
    },
  },
  {
    zone: 'worker',
    type: 'run.end',
    data: { state: 'held', reason: null, usage: { cost: 1, turns: 1, inputTokens: 1, outputTokens: 1 }, error: null },
  },
];

export const WHOLE_RUN: AuditEntry[] = [...BEGINNING, ...WORK, ...ENDING];

export async function putAll(log: RunLog, entries: readonly AuditEntry[]): Promise<void> {
  for (const entry of entries) await log.put(entry);
}
