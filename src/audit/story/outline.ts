import type { AuditEvent } from '../../domain/audit.ts';
import { field, listAt, numberAt, textAt, textsAt } from './field.ts';

/** What the run was asked to do, by whom, and within what. */
export interface ManifestFact {
  repository: string | undefined;
  base: string | undefined;
  branch: string | undefined;
  title: string | undefined;
  task: string | undefined;
  agent: string | undefined;
  model: string | undefined;
  /** Of a run of one command. */
  command: string[];
  requester: string | undefined;
  thread: { number: number; title: string; url: string; isPull: boolean } | undefined;
  /** The pull request from a fork whose commits the result is made on. */
  fork: number | undefined;
  timeoutMs: number | undefined;
  setup: string[];
  verify: string[];
  rules: RuleFact[];
  /** Hash of what decided: policy, image, prices, repository file. */
  digests: [string, string][];
  versions: [string, string][];
  /** The frozen texts that the agent was given. */
  texts: { kind: string; author: string; updatedAt: string; sha256: string; mayWrite: boolean | undefined }[];
}

/** One line of the egress policy. */
export interface RuleFact {
  host: string;
  source: string;
  ports: string;
  methods: string;
  paths: string;
  /** The gateway does not look into its TLS. */
  passThrough: boolean;
}

export interface FileFact {
  path: string;
  status: string;
  additions: number;
  deletions: number;
  protectedClass: string | undefined;
}

export interface CheckFact {
  command: string;
  exitCode: number;
  durationMs: number;
  tail: string;
}

export interface SelfTestFact {
  role: string;
  ok: boolean;
  checks: { name: string; ok: boolean; observed: string }[];
}

/** A result that waits, or waited, for a person. */
export interface HeldFact {
  rule: string;
  diffHash: string;
  /** The beginning of the hash, as people write it. */
  short: string;
  files: string[];
  /** What CI would do with it. */
  ci: { file: string; risk: string }[];
}

/** What came of it. */
export interface OutcomeFact {
  state: string;
  reason: string | undefined;
  error: { code: string; message: string } | undefined;
}

/** The facts of a run that are no list of events. */
export interface Outline {
  manifest: ManifestFact | undefined;
  outcome: OutcomeFact | undefined;
  limit: string | undefined;
  commit: string | undefined;
  diffHash: string | undefined;
  /** The patch that was kept ends before the change does. */
  patchCut?: boolean;
  pull: number | undefined;
  pushed: string | undefined;
  held: HeldFact | undefined;
  files: FileFact[];
  /** The first ones; all of them are counted. */
  checks: CheckFact[];
  checksRun: number;
  checksFailed: number;
  selfTests: SelfTestFact[];
  /** Hash of the line "commit made", as the commit's trailer carries it. */
  checkpoint: string | undefined;
  agentEnd: { stop: string; summary: string } | undefined;
  destroyed: string[];
  seal: Record<string, unknown> | undefined;
}

const MAX_LIST = 2_000;
const MAX_CHECKS = 50;
const MAX_COMMAND = 1_000;
const MAX_TAIL = 8_192;

export function createOutline(): { take: (event: AuditEvent) => void; outline: Outline } {
  const outline: Outline = {
    manifest: undefined,
    outcome: undefined,
    limit: undefined,
    commit: undefined,
    diffHash: undefined,
    pull: undefined,
    pushed: undefined,
    held: undefined,
    files: [],
    checks: [],
    checksRun: 0,
    checksFailed: 0,
    selfTests: [],
    checkpoint: undefined,
    agentEnd: undefined,
    destroyed: [],
    seal: undefined,
  };
  let committed = false;
  return {
    outline,
    take(event) {
      // Each line carries the hash of the line before: that of the checkpoint is in the line after it.
      if (committed) outline.checkpoint = `sha256:${event.prev}`;
      committed = event.type === 'git.commit';
      takers[event.type]?.(outline, event.data, event);
    },
  };
}

const takers: Record<string, (outline: Outline, data: Record<string, unknown>, event: AuditEvent) => void> = {
  'run.manifest': (outline, data) => {
    outline.manifest = manifestOf(data);
  },
  'run.end': (outline, data) => {
    const code = textAt(data, 'error', 'code');
    outline.outcome = {
      state: textAt(data, 'state') ?? 'unknown',
      reason: textAt(data, 'reason'),
      error: code === undefined ? undefined : { code, message: textAt(data, 'error', 'message') ?? '' },
    };
  },
  'limit.reached': (outline, data) => {
    outline.limit = textAt(data, 'reason');
  },
  'harvest.done': (outline, data) => {
    outline.commit = textAt(data, 'commit');
    outline.diffHash = textAt(data, 'diffHash');
    outline.patchCut = data['patchCut'] === true;
    outline.files = listAt(data, 'files').slice(0, MAX_LIST).map(fileOf);
  },
  'publish.held': (outline, data, { decision }) => {
    const diffHash = textAt(data, 'diffHash') ?? '';
    outline.held = {
      rule: decision?.rule ?? '',
      diffHash,
      short: diffHash.replace(/^sha256:/, '').slice(0, 12),
      files: textsAt(data, 'files').slice(0, MAX_LIST),
      ci: listAt(data, 'ci')
        .slice(0, 50)
        .map((one) => ({ file: textAt(one, 'file') ?? '', risk: textAt(one, 'risk') ?? '' })),
    };
  },
  'git.push_end': (outline, data) => {
    if (textAt(data, 'outcome') === 'done') outline.pushed = textAt(data, 'branch');
  },
  'publish.check_run': (outline, data) => {
    outline.pull = numberAt(data, 'pull');
  },
  'verify.command': (outline, data) => {
    const exitCode = numberAt(data, 'exitCode') ?? -1;
    outline.checksRun += 1;
    if (exitCode !== 0) outline.checksFailed += 1;
    if (outline.checks.length >= MAX_CHECKS) return;
    outline.checks.push({
      command: (textAt(data, 'command') ?? '').slice(0, MAX_COMMAND),
      exitCode,
      durationMs: numberAt(data, 'durationMs') ?? 0,
      tail: (textAt(data, 'tail') ?? '').slice(-MAX_TAIL),
    });
  },
  'sandbox.self_test': (outline, data) => {
    if (outline.selfTests.length < 10) outline.selfTests.push(selfTestOf(data));
  },
  'sandbox.destroyed': (outline, data) => {
    if (outline.destroyed.length < 50) outline.destroyed.push(textAt(data, 'role') ?? '');
  },
  'agent.end': (outline, data) => {
    outline.agentEnd = { stop: textAt(data, 'stop') ?? '', summary: textAt(data, 'summary') ?? '' };
  },
  seal: (outline, data) => {
    outline.seal = data;
  },
};

function fileOf(value: unknown): FileFact {
  return {
    path: textAt(value, 'path') ?? '',
    status: textAt(value, 'status') ?? '',
    additions: numberAt(value, 'additions') ?? 0,
    deletions: numberAt(value, 'deletions') ?? 0,
    protectedClass: textAt(value, 'protectedClass'),
  };
}

function selfTestOf(data: unknown): SelfTestFact {
  const checks = listAt(data, 'checks').slice(0, 100);
  return {
    role: textAt(data, 'role') ?? '',
    ok: field(data, 'ok') === true,
    checks: checks.map((check) => ({
      name: textAt(check, 'name') ?? '',
      ok: field(check, 'ok') === true,
      observed: (textAt(check, 'observed') ?? '').slice(0, 500),
    })),
  };
}

function manifestOf(data: unknown): ManifestFact {
  const spec = field(data, 'spec');
  const limits = field(spec, 'limits') ?? field(data, 'limits');
  return {
    repository: textAt(spec, 'repository'),
    base: textAt(spec, 'base'),
    branch: textAt(spec, 'branch'),
    title: textAt(spec, 'title'),
    task: textAt(spec, 'task'),
    agent: textAt(spec, 'agent'),
    model: textAt(spec, 'model'),
    command: textsAt(data, 'command'),
    requester: textAt(data, 'requester', 'login'),
    thread: threadOf(field(data, 'origin', 'source')),
    fork: numberAt(spec, 'fork', 'pull'),
    timeoutMs: numberAt(limits, 'timeoutMs'),
    setup: textsAt(spec, 'setup'),
    verify: textsAt(spec, 'verify'),
    rules: listAt(field(spec, 'policy') ?? field(data, 'policy'), 'rules')
      .slice(0, MAX_LIST)
      .map(ruleOf),
    digests: pairs([
      ['Policy in force', textAt(spec, 'policyDigest') ?? textAt(data, 'policyDigest')],
      ['Operator policy', textAt(data, 'operatorPolicy')],
      ['Repository file', textAt(data, 'repositoryFile')],
      ['Sandbox image', textAt(data, 'image')],
      ['Price table', textAt(data, 'prices', 'hash')],
    ]),
    versions: pairs(
      ['cofferdam', 'runsc', 'docker', 'git', 'node'].map((name) => [name, textAt(data, 'versions', name)]),
    ),
    texts: listAt(data, 'origin', 'input')
      .slice(0, 200)
      .map((text) => ({
        kind: textAt(text, 'kind') ?? '',
        author: textAt(text, 'author') ?? '',
        updatedAt: textAt(text, 'updatedAt') ?? '',
        sha256: textAt(text, 'sha256') ?? '',
        mayWrite: field(text, 'authorMayWrite') as boolean | undefined,
      })),
  };
}

function pairs(list: [string, string | undefined][]): [string, string][] {
  return list.filter((pair): pair is [string, string] => pair[1] !== undefined);
}

function threadOf(source: unknown): ManifestFact['thread'] {
  const number = numberAt(source, 'number');
  if (number === undefined) return undefined;
  const isPull = field(source, 'isPull') === true;
  return { number, title: textAt(source, 'title') ?? '', url: textAt(source, 'url') ?? '', isPull };
}

function ruleOf(rule: unknown): RuleFact {
  const ports = listAt(rule, 'ports').filter((port) => typeof port === 'number');
  return {
    host: textAt(rule, 'host') ?? '',
    source: textAt(rule, 'source') ?? '',
    ports: ports.join(', '),
    methods: textsAt(rule, 'methods').join(', '),
    paths: textsAt(rule, 'paths').join(', '),
    passThrough: field(rule, 'passThrough') === true,
  };
}
