import { toRunError } from '../domain/errors.ts';
import type { Digest } from '../domain/ids.ts';
import { type RunResult } from '../domain/run.ts';
import { shownFiles } from '../domain/shown.ts';
import { commitMessage } from './commit-message.ts';
import { openEnclosure, type Enclosure } from './enclosure.ts';
import { sandboxLives, watchLimits } from './limits.ts';
import { holdResult } from './hold.ts';
import type { AuditLog, Harvest, Mirror, RunJob, RunPlan, RunPorts } from './ports.ts';
import { createReporter, type Reporter } from './report.ts';
import { facts, toResult, type Notes } from './result.ts';
import { keeps, SALVAGE_MS, stopReason, unlessKept } from './stop.ts';
import { verify } from './verify.ts';
import { clone, quiesce, runAgent, setUp, WORKSPACE } from './work.ts';

/** A run's parts, handed from step to step. */
interface Run {
  ports: RunPorts;
  job: RunJob;
  audit: AuditLog;
  report: Reporter;
  notes: Notes;
  undo: AsyncDisposableStack;
  startedAt: string;
  signal: AbortSignal;
}

/**
 * One run from its repository to its report. Never rejects for what happens inside: failure has the shape of success.
 * Rejects only with `audit`, when the record itself cannot be written.
 */
export async function execute(ports: RunPorts, job: RunJob, signal: AbortSignal): Promise<RunResult> {
  const startedAt = new Date().toISOString();
  const audit = await ports.openAudit(job.runId);
  const notes: Notes = { enclosures: [], verification: [] };
  const report = createReporter({ runId: job.runId, audit, publisher: ports.publisher, facts: () => facts(notes) });
  const run: Run = { ports, job, audit, report, notes, undo: new AsyncDisposableStack(), startedAt, signal };
  try {
    await walk(run);
  } catch (thrown) {
    notes.error = toRunError(thrown, 'run.execute');
    if (signal.aborted) notes.reason = stopReason(signal);
  }
  await destroy(run);
  try {
    return await conclude(run, toResult(run, startedAt));
  } finally {
    await audit.close();
  }
}

/** The steps. Each acquires something and pushes its undo. */
async function walk(run: Run): Promise<void> {
  const { ports, job, audit, report, notes, undo, signal } = run;
  signal.throwIfAborted();
  const mirror = await report.step('mirror', () =>
    ports.repositories.mirror({
      repository: job.repository,
      ...(job.ref === undefined ? {} : { ref: job.ref }),
      ...(job.fork === undefined ? {} : { fork: { commit: job.fork.commit, onto: job.fork.onto } }),
      signal,
    }),
  );
  const plan = await report.step('spec', () => freeze(run, mirror));
  const enclosure = undo.use(await openWork(run, plan, mirror));
  notes.enclosures.push(enclosure);
  notes.receipt = enclosure.receipt;
  using watch = watchLimits({
    timeoutMs: plan.spec.limits.timeoutMs,
    signal,
    gateway: enclosure.gateway,
    sandbox: enclosure.sandbox,
  });
  try {
    await work(run, plan, enclosure, watch.signal);
  } catch (thrown) {
    // A limit that strikes in the middle of a step makes that step fail; the limit is then the reason, not the failure.
    if (watch.reason() === undefined) throw thrown;
  }
  const reason = watch.reason() ?? (notes.outcome?.stop === 'idle' ? 'idle' : undefined);
  if (reason !== undefined) {
    notes.reason = reason;
    await audit.append({ zone: 'worker', type: 'limit.reached', data: { reason } });
    await enclosure.gateway.closeModel(reason).catch(() => undefined);
  }
  // What `setup` left behind is nobody's work; and whoever stops a run without keeping it wants it gone.
  if (!sandboxLives(reason) || notes.began !== true || (reason === 'stopped' && !keeps(signal))) return;
  if (job.flags['plan'] === 'true') return;
  const salvage = reason === undefined ? signal : AbortSignal.timeout(SALVAGE_MS);
  await deliver(run, plan, mirror, enclosure, salvage);
}

async function freeze(run: Run, mirror: Mirror): Promise<RunPlan> {
  const plan = await run.ports.planner.plan(run.job, mirror, run.signal);
  await run.audit.append({
    zone: 'worker',
    type: 'run.manifest',
    data: {
      spec: { ...plan.spec },
      sandbox: { ...plan.sandbox },
      origin: run.job.origin,
      requester: run.job.requester ?? null,
      ...plan.manifest,
    },
  });
  return plan;
}

async function openWork(run: Run, plan: RunPlan, mirror: Mirror): Promise<Enclosure> {
  const { ports, job, audit, report, signal } = run;
  const stages = report.stages();
  try {
    return await openEnclosure({
      ports,
      runId: job.runId,
      role: 'agent',
      policy: plan.spec.policy,
      git: { [plan.spec.repository.toLowerCase()]: mirror.path },
      llm: plan.spec.model !== undefined,
      limits: plan.spec.limits,
      account: job.account,
      settings: plan.sandbox,
      audit,
      onStage: (stage) => stages.next(stage),
      // It ends with what it is opened with: a stop that keeps needs it until the tree is out.
      signal: unlessKept(signal, signal),
    });
  } catch (thrown) {
    stages.fail();
    throw thrown;
  } finally {
    stages.done();
  }
}

async function work(run: Run, plan: RunPlan, enclosure: Enclosure, signal: AbortSignal): Promise<void> {
  const { ports, job, audit, report, notes } = run;
  const { spec } = plan;
  const ref = job.fork === undefined ? undefined : job.ref;
  const shown = shownFiles(spec);
  await report.step('clone', () =>
    clone(enclosure, { repository: spec.repository.toLowerCase(), commit: spec.base, ref, shown, signal }),
  );
  // A limit's reason is thrown and found again by `walk`.
  signal.throwIfAborted();
  if (spec.setup.length > 0) await report.step('setup', () => setUp(enclosure, spec, signal));
  signal.throwIfAborted();
  notes.began = true;
  notes.outcome = await report.step('agent', () =>
    runAgent({ enclosure, agents: ports.agents, spec, audit, onMessage: report.message, signal }),
  );
  await audit.append({ zone: 'gateway', source: 'sandbox', type: 'agent.end', data: { ...notes.outcome } });
}

/** Harvest, verify, publish: what remains when the sandbox is gone. */
async function deliver(
  run: Run,
  plan: RunPlan,
  mirror: Mirror,
  enclosure: Enclosure,
  signal: AbortSignal,
): Promise<void> {
  const { ports, audit, report, notes, undo } = run;
  const harvest = await report.step('harvest', async () => {
    await quiesce(enclosure);
    return ports.harvester.harvest({
      spec: plan.spec,
      mirror,
      exec: enclosure.exec,
      workspace: WORKSPACE,
      message: (tree) => commitMessage({ ...run, spec: plan.spec }, tree),
      signal: unlessKept(run.signal, signal),
    });
  });
  if (harvest === null) return;
  undo.defer(() => harvest.dispose());
  notes.harvest = harvest;
  await audit.append({
    zone: 'worker',
    type: 'harvest.done',
    data: {
      ...{ commit: harvest.commit, files: harvest.files, diffHash: harvest.diffHash },
      ...(harvest.patchTruncated ? { patchCut: true } : {}),
    },
  });
  if (plan.spec.verify.length > 0) await check(run, plan, harvest, signal);
  const stopped = run.signal.aborted;
  if (stopped && notes.reason === undefined) {
    notes.reason = stopReason(run.signal);
    delete notes.verified;
  }
  if (stopped && !keeps(run.signal)) {
    // Also after a limit: that nothing is delivered is the person's word then.
    notes.reason = stopReason(run.signal);
    delete notes.harvest;
    return;
  }
  const result = toResult(run, run.startedAt);
  notes.held = await holdResult({ spec: plan.spec, harvest, result, held: ports.held, audit });
  if (notes.held !== undefined) return;
  notes.published = await report.step('publish', () =>
    ports.publisher.publish({
      spec: plan.spec,
      harvest,
      result,
      audit,
      // A stop that keeps may come in the middle of it; after a limit, verification may have taken all the time there was.
      signal: notes.reason === undefined ? unlessKept(run.signal, signal) : AbortSignal.timeout(SALVAGE_MS),
    }),
  );
}

/** Verification. One that is cut off by a stop, or by the end of the time after a limit, says nothing about the work. */
async function check(run: Run, plan: RunPlan, harvest: Harvest, signal: AbortSignal): Promise<void> {
  const { ports, job, audit, report, notes } = run;
  try {
    const verification = await report.step('verify', () =>
      verify({
        ports,
        plan,
        harvest,
        account: job.account,
        audit,
        onEnclosure: (e) => notes.enclosures.push(e),
        signal,
      }),
    );
    notes.verification = verification.facts;
    notes.verified = verification.ok;
  } catch (thrown) {
    if (!run.signal.aborted && !signal.aborted) throw thrown;
  }
}

async function destroy(run: Run): Promise<void> {
  await run.report
    .step('destroy', () => run.undo.disposeAsync())
    .catch((thrown: unknown) => {
      run.notes.error ??= toRunError(thrown, 'run.destroy');
    });
}

/** Seals the audit, then reports: the seal's head is part of the report. */
async function conclude(run: Run, result: RunResult): Promise<RunResult> {
  const { audit, report, notes, ports } = run;
  const { state, reason, usage } = result;
  await audit.append({
    zone: 'worker',
    type: 'run.end',
    data: { state, reason: reason ?? null, usage: { ...usage }, error: result.error ?? null },
  });
  const seal = await report.step('seal', () =>
    audit.seal({ repository: run.job.repository, commit: result.head ?? null, pull: result.pull?.number ?? null }),
  );
  const final: RunResult = { ...result, auditHead: seal.head };
  if (notes.held !== undefined) await noteHeld(run, final, seal);
  await report
    .step('report', () => ports.publisher.finish({ result: final, seal, receipt: notes.receipt }))
    .catch((thrown: unknown) => {
      // The work is done and recorded; the worker keeps an end that GitHub could not be told, and tells it later.
      final.error ??= toRunError(thrown, 'run.finish');
    });
  return final;
}

/** The seal comes after the result was kept; what is published later names it. */
async function noteHeld(run: Run, final: RunResult, seal: { count: number; head: Digest }): Promise<void> {
  const { receipt } = run.notes;
  try {
    await run.ports.held?.note(run.job.runId, { seal, ...(receipt === undefined ? {} : { receipt }) });
  } catch (thrown) {
    final.error ??= toRunError(thrown, 'run.noteHeld');
  }
}
