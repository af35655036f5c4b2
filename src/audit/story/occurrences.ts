import { formatUsd } from '../../domain/ids.ts';
import type { AuditEvent } from '../../domain/audit.ts';
import { detail, remember, SELF_TEST, type Activity, type Entry, type EntryKind } from './activity.ts';
import { field, numberAt, textAt } from './field.ts';

/** The self-test tries each of its targets as the agent and as root. */
const PROBES = 2;
const MAX_WHERE = 400;

/** Network and git decisions: equal ones of one step are one entry with a count. */
export function networkTaker({ add }: Activity): (event: AuditEvent, phase: string) => void {
  const known = new Map<string, Entry>();
  return (event, step) => {
    const { data, decision } = event;
    if (decision === undefined || (decision.allow && event.type === 'egress.name')) return;
    const repeated = event.type === 'egress.repeated';
    const of = repeated ? (textAt(data, 'of') ?? '') : event.type;
    const where = destination(event).slice(0, MAX_WHERE);
    const why = decision.allow ? decision.rule : decision.reason;
    const target = `${of}|${where}|${why}`;
    // Counts of repeated denials are written later: those of the self-test belong to it.
    const late = repeated && known.has(`${SELF_TEST}|${target}`) && (numberAt(data, 'count') ?? 0) <= PROBES;
    const phase = late ? SELF_TEST : step;
    const key = `${phase}|${target}`;
    const more = repeated ? (numberAt(data, 'more') ?? 0) : 1;
    const before = known.get(key);
    if (before !== undefined) {
      before.count += more;
      before.to = event.mono;
      return;
    }
    const kind: EntryKind = decision.allow ? (of.startsWith('git.') ? 'git' : 'network') : 'denied';
    const probe = phase === SELF_TEST && !decision.allow;
    const entry = add(event, {
      kind: probe ? 'check' : kind,
      title: probe ? `${where} is refused` : where,
      outcome: probe || decision.allow ? 'ok' : 'denied',
      count: more,
    });
    detail(entry, decision.allow ? 'rule' : 'reason', why);
    if (!decision.allow) detail(entry, 'rule', decision.rule);
    detail(entry, 'decided at', LAYERS[of] ?? of);
    const addresses = field(data, 'addresses');
    if (Array.isArray(addresses)) detail(entry, 'address', addresses.slice(0, 8).join(', '));
    known.set(key, entry);
    // What is forgotten starts an entry of its own again.
    if (known.size > 5_000) known.clear();
  };
}

/** `host:port`, with method and path where the gateway sees them. */
function destination({ data, type }: AuditEvent): string {
  if (type === 'git.request') return textAt(data, 'url.path') ?? '';
  const port = numberAt(data, 'port') ?? 0;
  const method = textAt(data, 'http.request.method');
  const path = textAt(data, 'url.path') ?? '';
  return `${method === undefined ? '' : `${method} `}${textAt(data, 'host') ?? ''}${port === 0 ? '' : `:${port}`}${path}`;
}

const LAYERS: Record<string, string> = {
  'egress.name': 'name look-up',
  'egress.connect': 'connection',
  'egress.tls': 'TLS',
  'egress.request': 'request',
  'egress.upgrade': 'upgrade',
  'git.request': 'git proxy',
};

/** Model calls: one entry each. */
export function modelTaker({ add }: Activity): (event: AuditEvent) => void {
  const open = new Map<string, Entry>();
  return (event) => {
    const { data } = event;
    const id = textAt(data, 'callId') ?? '';
    if (event.type === 'llm.reserve') {
      const entry = add(event, { kind: 'model', title: textAt(data, 'model') ?? 'model call', outcome: 'running' });
      detail(entry, 'set aside', formatUsd(numberAt(data, 'granted') ?? 0));
      remember(open, id, entry);
      return;
    }
    if (event.type !== 'llm.settle') {
      const why = event.decision?.allow === false ? event.decision.reason : textAt(data, 'reason');
      const denied = event.type === 'llm.refuse';
      const title = denied ? 'model call refused' : event.type;
      const entry = add(event, { kind: denied ? 'denied' : 'model', title, outcome: denied ? 'denied' : 'none' });
      detail(entry, 'reason', why);
      return;
    }
    const entry = open.get(id);
    open.delete(id);
    if (entry === undefined) return;
    entry.to = event.mono;
    const status = numberAt(data, 'status') ?? 200;
    entry.outcome = status < 400 ? 'ok' : 'failed';
    detail(entry, 'cost', formatUsd(numberAt(data, 'cost') ?? 0));
    detail(entry, 'input tokens', numberAt(data, 'usage', 'input'));
    detail(entry, 'from cache', numberAt(data, 'usage', 'cacheRead'));
    detail(entry, 'output tokens', numberAt(data, 'usage', 'output'));
    if (status >= 400) detail(entry, 'status', status);
  };
}

/** Events that are told as they are: one sentence each. */
const SENTENCES: Record<string, [EntryKind, (data: Record<string, unknown>) => string, Entry['outcome']?]> = {
  'run.manifest': ['run', () => 'Task, policy, image, prices and limits frozen'],
  'limit.reached': ['run', (data) => `Limit reached: ${textAt(data, 'reason') ?? ''}`, 'failed'],
  'run.end': ['run', (data) => `Run ended: ${textAt(data, 'state') ?? ''}`],
  'audit.resume': ['run', () => 'The record goes on after its writer was gone', 'failed'],
  'gateway.lost': ['run', () => 'The gateway process was lost', 'failed'],
  'sandbox.create': ['run', (data) => `Sandbox created (${textAt(data, 'role') ?? ''})`],
  'sandbox.destroyed': ['run', (data) => `Sandbox destroyed (${textAt(data, 'role') ?? ''})`, 'ok'],
  'sandbox.ended': ['run', (data) => `Sandbox ended by itself: ${textAt(data, 'reason') ?? ''}`, 'failed'],
  'git.commit': ['git', () => 'Commit made by the host: the checkpoint that its trailer names'],
  'git.push': ['publish', (data) => `Push to ${textAt(data, 'branch') ?? ''}`],
  'publish.authority': ['publish', (data) => `May ${textAt(data, 'login') ?? ''} still write here?`],
  'publish.held': ['publish', () => 'Held: nothing is pushed before a person agrees'],
  'publish.local': ['publish', () => 'Branch and patch written on this machine', 'ok'],
  'publish.pull': ['publish', () => 'Pull request'],
  'publish.ask': ['publish', () => 'Labels and reviewers'],
  'publish.check_run': ['publish', () => 'Check run'],
  seal: ['run', () => 'Record sealed', 'ok'],
};

const EFFECTS: Record<string, string> = {
  'git.push_end': 'Push',
  'publish.pull_end': 'Pull request',
  'publish.ask_end': 'Labels and reviewers',
  'publish.check_run_end': 'Check run',
};

/** Everything that has no taker of its own. */
export function otherTaker({ add }: Activity): (event: AuditEvent) => void {
  return (event) => {
    const { data, type, decision } = event;
    if (type === 'sandbox.self_test') {
      const ok = data['ok'] === true;
      const title = `Isolation ${ok ? 'proved' : 'NOT proved'} (${textAt(data, 'role') ?? ''})`;
      add(event, { kind: 'check', title, outcome: ok ? 'ok' : 'failed' });
      return;
    }
    if (type === 'verify.command') {
      const code = numberAt(data, 'exitCode') ?? -1;
      const outcome = code === 0 ? 'ok' : 'failed';
      const text = textAt(data, 'tail') ?? '';
      const entry = add(event, { kind: 'check', title: textAt(data, 'command') ?? '', outcome, text, role: 'verify' });
      detail(entry, 'exit code', code);
      detail(entry, 'took', `${((numberAt(data, 'durationMs') ?? 0) / 1000).toFixed(1)} s`);
      return;
    }
    const effect = EFFECTS[type];
    // One that went well is told already, by its beginning.
    if (effect !== undefined && textAt(data, 'outcome') !== 'done') {
      const how = textAt(data, 'outcome') === 'unknown' ? 'nobody knows whether GitHub did it' : 'failed';
      const entry = add(event, { kind: 'publish', title: `${effect}: ${how}`, outcome: 'failed' });
      detail(entry, 'error', textAt(data, 'error'));
      return;
    }
    const known = SENTENCES[type];
    if (known !== undefined) {
      const [kind, sentence, outcome = decision === undefined ? 'none' : decision.allow ? 'ok' : 'denied'] = known;
      const entry = add(event, { kind, title: sentence(data), outcome });
      if (decision !== undefined) detail(entry, 'rule', decision.rule);
      return;
    }
    if (decision !== undefined) {
      const entry = add(event, { kind: 'run', title: type, outcome: decision.allow ? 'ok' : 'denied' });
      detail(entry, 'rule', decision.rule);
      if (!decision.allow) detail(entry, 'reason', decision.reason);
    }
  };
}
