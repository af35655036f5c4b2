import type { RunError } from '../domain/errors.ts';
import type { CommandFact, EgressEntryFact, ProcessRecord, RunResult, Usage } from '../domain/run.ts';
import type { EndReason } from '../domain/final-state.ts';
import type { HeldFacts } from '../domain/held.ts';
import type { Enclosure } from './enclosure.ts';
import { finalState } from './outcome.ts';
import type { AgentOutcome, AuditLog, Harvest, Published, RunJob, SandboxReceipt } from './ports.ts';

/** Everything that a run learns on its way; the result is made of it at the end, whatever happened. */
export interface Notes {
  enclosures: Enclosure[];
  receipt?: SandboxReceipt;
  reason?: EndReason;
  /** The agent was started. */
  began?: boolean;
  outcome?: AgentOutcome;
  harvest?: Harvest;
  verification: CommandFact[];
  verified?: boolean;
  published?: Published;
  /** It waits for a person. */
  held?: HeldFacts | undefined;
  error?: RunError;
}

/** What a result is made of. */
interface Ended {
  job: RunJob;
  audit: AuditLog;
  notes: Notes;
}

/** Money and network of all sandboxes of a run together. */
export function facts(notes: Notes): { usage: Usage; egress: EgressEntryFact[] } {
  const usage: Usage = { cost: 0, turns: 0, inputTokens: 0, outputTokens: 0 };
  const egress = new Map<string, EgressEntryFact>();
  for (const enclosure of notes.enclosures) {
    const used = enclosure.gateway.usage();
    usage.cost += used.cost;
    usage.turns += used.turns;
    usage.inputTokens += used.inputTokens;
    usage.outputTokens += used.outputTokens;
    for (const entry of enclosure.egress()) {
      const key = JSON.stringify([entry.host, entry.port, entry.allow, entry.reason]);
      const sum = egress.get(key);
      if (sum === undefined) egress.set(key, { ...entry });
      else {
        sum.count += entry.count;
        sum.bytesIn += entry.bytesIn;
        sum.bytesOut += entry.bytesOut;
      }
    }
  }
  return { usage, egress: [...egress.values()] };
}

/** The weakest of all sandboxes' records; undefined without a sandbox. */
function processRecord(notes: Notes): ProcessRecord | undefined {
  const records = notes.enclosures.map(({ sandbox }) => sandbox.processRecord());
  return (['none', 'gaps', 'complete'] as const).find((record) => records.includes(record));
}

/** The run as it stands now, in the shape of its end. */
export function toResult(run: Ended, startedAt: string): RunResult {
  const { notes, job, audit } = run;
  const agentFailed = notes.outcome?.stop === 'error' || notes.outcome?.stop === 'lost';
  const state = finalState({
    changed: notes.harvest !== undefined,
    verified: notes.verified,
    reason: notes.reason,
    held: notes.held !== undefined,
    asks: asks(notes.outcome?.summary),
    agentFailed,
    errorCode: notes.error?.code,
  });
  const error = notes.error ?? endError(notes, state);
  const head = notes.published?.head ?? notes.harvest?.commit;
  const record = processRecord(notes);
  return {
    runId: job.runId,
    state,
    ...(notes.reason === undefined ? {} : { reason: notes.reason }),
    ...(head === undefined ? {} : { head }),
    ...(notes.published?.branch === undefined ? {} : { branch: notes.published.branch }),
    ...(notes.published?.patch === undefined ? {} : { patch: notes.published.patch }),
    ...(notes.published?.pull === undefined ? {} : { pull: notes.published.pull }),
    ...facts(notes),
    ...(record === undefined ? {} : { processRecord: record }),
    verification: notes.verification,
    files: notes.harvest?.files ?? [],
    ...(notes.harvest?.patchTruncated === true ? { patchCut: true as const } : {}),
    ...(notes.held === undefined ? {} : { held: notes.held }),
    ...(notes.outcome?.summary ? { agentSummary: notes.outcome.summary } : {}),
    startedAt,
    endedAt: new Date().toISOString(),
    ...(error === undefined ? {} : { error }),
    auditFile: audit.file,
    auditHead: audit.head(),
  };
}

/** The prompt tells the agent to end with such a line instead of guessing. */
function asks(summary: string | undefined): boolean {
  return /^\s*\**NEEDS INPUT:/m.test(summary ?? '');
}

/** A run that failed without an exception still says why. */
function endError(notes: Notes, state: RunResult['state']): RunError | undefined {
  if (state !== 'failed') return undefined;
  if (notes.reason === 'oom' || notes.reason === 'disk')
    return { code: notes.reason, op: 'run.work', message: `the sandbox ended: ${notes.reason}` };
  if (notes.reason === 'gateway_lost')
    return {
      code: 'gateway',
      op: 'run.work',
      message: 'the gateway process ended, so the run had no network and was ended',
    };
  if (notes.reason !== undefined)
    return { code: 'sandbox', op: 'run.work', message: `the sandbox ended: ${notes.reason}` };
  return { code: 'agent', op: 'run.agent', message: notes.outcome?.error ?? 'the agent ended without a result' };
}
