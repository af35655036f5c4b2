import type { CommandFact, RunSpec } from '../domain/run.ts';
import { openEnclosure, type Enclosure } from './enclosure.ts';
import { watchLimits } from './limits.ts';
import type { AuditLog, Harvest, RunPlan, RunPorts } from './ports.ts';
import { clone, runCommand, setUp } from './work.ts';

export interface Verification {
  facts: CommandFact[];
  ok: boolean;
}

/**
 * Runs the `verify` commands in a second fresh sandbox that holds the host's commit: no model, no agent, the same way out.
 * The commands come from the base's configuration, so a change cannot choose how it is judged.
 */
export async function verify(options: {
  ports: RunPorts;
  plan: RunPlan;
  harvest: Harvest;
  account: { repository: string; installation: string };
  audit: AuditLog;
  onEnclosure: (enclosure: Enclosure) => void;
  signal: AbortSignal;
}): Promise<Verification> {
  const { plan, harvest, audit } = options;
  const spec: RunSpec = {
    ...plan.spec,
    limits: { ...plan.spec.limits, timeoutMs: Math.min(plan.spec.limits.stepMs, plan.spec.limits.timeoutMs) },
  };
  const repository = spec.repository.toLowerCase();
  await using enclosure = await openEnclosure({
    ports: options.ports,
    runId: spec.runId,
    role: 'verify',
    policy: spec.policy,
    git: { [repository]: harvest.repository },
    llm: false,
    limits: spec.limits,
    account: options.account,
    settings: plan.sandbox,
    audit,
    signal: options.signal,
  });
  options.onEnclosure(enclosure);
  using watch = watchLimits({
    timeoutMs: spec.limits.timeoutMs,
    signal: options.signal,
    gateway: enclosure.gateway,
    sandbox: enclosure.sandbox,
  });
  const facts: CommandFact[] = [];
  const note = async (fact: CommandFact): Promise<void> => {
    facts.push(fact);
    await audit.append({ zone: 'worker', type: 'verify.command', data: { ...fact } });
  };
  let current = '(verification)';
  try {
    await clone(enclosure, { repository, commit: harvest.commit, signal: watch.signal });
    await setUp(enclosure, spec, watch.signal);
    for (current of spec.verify) {
      watch.signal.throwIfAborted();
      const timeoutMs = spec.limits.timeoutMs;
      const limit = timeoutMs < spec.limits.stepMs ? { limit: "the run's time" } : {};
      await note(
        await runCommand({ enclosure, command: current, env: spec.env, timeoutMs, ...limit, signal: watch.signal }),
      );
    }
  } catch (thrown) {
    const reason = watch.reason();
    if (reason === undefined || options.signal.aborted) throw thrown;
    // A limit that strikes makes the command that it cuts off fail: the work is there, and was not shown to be good.
    await note({ command: current, exitCode: -1, durationMs: 0, tail: `ended early: ${reason}` });
  }
  return { facts, ok: facts.every((fact) => fact.exitCode === 0) };
}
