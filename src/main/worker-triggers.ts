import { AGENT_IDS } from '../agent/agents.ts';
import { parseRepositoryFile } from '../config/policy-file.ts';
import { checkRepositoryFile } from '../config/repository-file.ts';
import { settleLimits } from '../config/settle.ts';
import { repoKey, type RunRequest } from '../domain/run.ts';
import type { Trigger } from '../domain/trigger.ts';
import type { GitHubRepository } from '../github/repository.ts';
import { publishHeld } from '../run/held.ts';
import type { AuditLog } from '../run/ports.ts';
import { endedWithoutWorker } from '../run/trigger/ended.ts';
import { SERVED_VERBS, type TriggerPorts } from '../run/trigger/ports.ts';
import type { HelpFacts } from '../policy/markdown/replies.ts';
import { budgetOf } from './budget-of.ts';
import { helpOf } from './help-of.ts';
import { newRunId } from './host.ts';
import { keepAllowed } from './keep-allowed.ts';
import type { WorkerParts } from './worker.ts';
import { publisherFor } from './worker-run.ts';

const PUBLISH_MS = 5 * 60_000;

/** What handling a trigger needs, on the real rooms. `decisions` records every yes and no. */
export function triggerPorts(parts: WorkerParts, decisions: AuditLog): TriggerPorts {
  const { policy, records, queue, triggers, github } = parts;
  // Whoever waits for an answer holds up those behind: see `writes.ts`.
  const repository = ({ installationId, repo }: Pick<Trigger, 'installationId' | 'repo'>): GitHubRepository =>
    github.repository({ installationId, ...repo }, { writes: 'answer' });
  const limits = settleLimits(policy.policy, parseRepositoryFile(null), {});
  const help: HelpFacts = {
    prefix: policy.policy.prefix,
    label: policy.policy.label,
    verbs: SERVED_VERBS,
    maxCost: limits.maxCost,
    timeoutMinutes: policy.policy.limits.timeoutMinutes,
    agent: policy.policy.agent,
    agents: AGENT_IDS,
    models: policy.policy.llm.models,
    mayAdd: policy.policy.egress.mayAdd.map((entry) => (typeof entry === 'string' ? entry : entry.host)),
    hold: policy.policy.publish.hold,
  };
  return {
    claim: (trigger, runIds) => triggers.claim(trigger, runIds),
    repository,
    runs: {
      ...queue,
      load: (runId) => records.load(runId),
      ofThread: (thread) => records.ofThread(thread),
      ofBranch: (branch) => records.ofBranch(branch),
    },
    newRunId,
    announce: (request: RunRequest, place) => publisherFor(parts, request, { writes: 'answer' }).queued(place),
    withdrawn: (record) =>
      publisherFor(parts, record.request, { writes: 'answer' }).finish({
        result: endedWithoutWorker(record, { why: 'cancelled', now: new Date().toISOString() }),
      }),
    audit: ({ type, trigger, decision, data }) =>
      decisions.append({ zone: 'worker', type, decision, data: { ...originOf(trigger), ...data } }),
    configuration: {
      claim: (trigger, runIds) => triggers.claim(trigger, runIds),
      repository,
      check: (text) => checkRepositoryFile(text, { policy, agents: AGENT_IDS }),
    },
    held: {
      host: parts.host.installation,
      handOver: (trigger, to) => parts.hosts.handOver(trigger, to),
      load: (runId) => parts.held.load(runId),
      publish: async ({ record, kept, trigger }) => {
        const published = await publishHeld({
          store: parts.held,
          kept,
          publisher: publisherFor(parts, record.request, { approvedBy: trigger.actor, writes: 'publication' }),
          audit: decisions,
          signal: AbortSignal.timeout(PUBLISH_MS),
        });
        const { branch, pull } = published;
        await records.update(record.request.runId, {
          state: kept.result.state,
          ...(branch === undefined ? {} : { branch }),
          ...(pull === undefined ? {} : { pull }),
        });
        return published;
      },
    },
    budget: ({ repo, source }) =>
      budgetOf({ ledger: parts.ledger, records, payer: parts.payer, limits, now: new Date() }, { repo, ...source }),
    help,
    helpFor: ({ installationId, repo }) =>
      helpOf(help, {
        repository: github.repository({ installationId, ...repo }),
        defaultBranch: repo.defaultBranch,
        installation: { policy, agents: AGENT_IDS },
      }),
    askers: policy.policy.askers,
    mayAdd: policy.policy.egress.mayAdd,
    keepAllowed: keepAllowed({
      repository,
      installation: { policy, agents: AGENT_IDS },
    }),
    now: () => new Date().toISOString(),
  };
}

function originOf({ deliveryId, event, repo, source, actor }: Trigger): Record<string, unknown> {
  return { deliveryId, event, repository: repoKey(repo), number: source.number, actor };
}
