import { createAgents } from '../agent/agents.ts';
import { branchFor } from '../command/branch.ts';
import { hiddenContentNotes } from '../command/notes.ts';
import { conventionalTitle, taskPrompt } from '../command/prompt.ts';
import { knownSecrets } from '../config/environment.ts';
import { toRunError } from '../domain/errors.ts';
import { repoKey, type Actor, type PullHead, type RunCause, type RunRequest, type RunResult } from '../domain/run.ts';
import { createRepositories } from '../git/mirror.ts';
import type { Person } from '../git/plumbing.ts';
import { createPublisher, type GitHubPublisher, type RunSettings } from '../github/publisher.ts';
import { PATIENCE_MS } from '../github/patience.ts';
import { pushTo } from '../github/push.ts';
import type { WriteKind } from '../github/writes.ts';
import { allowableHosts } from '../policy/authority/buttons.ts';
import { createFieldRedactor } from '../policy/redaction/fields.ts';
import { maskTokens } from '../policy/redaction/mask.ts';
import { createHarvester } from '../harvest/harvest.ts';
import type { RunEnd } from '../queue/runs.ts';
import { execute } from '../run/execute.ts';
import type { Planner, Publisher, RunJob, RunPorts, RunRecord } from '../run/ports.ts';
import { ceilingsOf } from './budget-of.ts';
import { AGENTS_MOUNT } from './host.ts';
import { keepingPatches, withSealHandedOn } from './live-audit.ts';
import { createPlanner } from './planner.ts';
import type { WorkerParts } from './worker.ts';

/** Characters of a question that the run with the answer is shown. */
const MAX_QUESTION = 8_000;

/** What people see of a run, on GitHub. `writes`: default `result`. */
export function publisherFor(
  parts: WorkerParts,
  request: RunRequest,
  options: { approvedBy?: Actor; writes?: WriteKind } = {},
): GitHubPublisher {
  const { policy, environment, github, log } = parts;
  const at = { installationId: request.installationId, ...request.repo };
  const fields = createFieldRedactor(knownSecrets(policy.policy, environment));
  return createPublisher({
    repository: github.repository(at, options),
    progress: github.repository(at, { writes: 'progress' }),
    request,
    push: pushTo({
      webUrl: environment.github.webUrl,
      owner: request.repo.owner,
      name: request.repo.name,
      caFile: parts.host.caFile,
    }),
    settings: {
      limits: ceilingsOf(policy.policy, request.command.flags),
      agent: policy.policy.agent,
      model: policy.policy.llm.default,
    },
    hidden: hiddenContentNotes(request.input),
    approvedBy: options.approvedBy,
    // Whoever lets a held result go waits for an answer, and that trigger is tried again by its queue.
    pausesMs: options.writes === undefined ? PATIENCE_MS : [],
    askers: policy.policy.askers,
    prefix: policy.policy.prefix,
    label: policy.policy.label,
    mayAdd: policy.policy.egress.mayAdd,
    redact: (text) => fields.text('text', text),
    ...(environment.publicUrl === undefined ? {} : { runUrl: `${environment.publicUrl}/runs/${request.runId}` }),
    log,
  });
}

/** One queued run, from its request to its report. */
export async function executeRequest(
  parts: WorkerParts,
  request: RunRequest,
  control: { signal: AbortSignal; record: RunRecord },
): Promise<RunEnd> {
  const publisher = publisherFor(parts, request);
  const job = jobOf(parts, request);
  const keeper = recordKeeper(parts, publisher, request);
  await parts.records.update(request.runId, { branch: job.branch });
  const { describe } = keeper;
  const identity = await identityOf(parts, request);
  const ports = portsOf(parts, request, { publisher: keeper.publisher, describe, identity });
  const result = await execute(ports, job, control.signal).catch(async (thrown: unknown) => {
    // The record of the run cannot be written: nothing more was done, and people are told.
    const failed = failedResult(request, thrown);
    await keeper.finish({ result: failed }).catch(() => undefined);
    return failed;
  });
  await keeper.settled();
  const { state, branch, pull, error } = result;
  const level = error === undefined ? 'info' : 'warn';
  parts.log[level](
    { runId: request.runId, state, reason: result.reason, code: error?.code, op: error?.op },
    'run ended',
  );
  const denied = allowableHosts(result.egress, parts.policy.policy.egress.mayAdd);
  return {
    state,
    ...(denied.length === 0 ? {} : { denied }),
    ...(branch === undefined ? {} : { branch }),
    ...(pull === undefined ? {} : { pull }),
    ...(state === 'needs_input' ? { question: maskTokens(result.agentSummary ?? '').slice(0, MAX_QUESTION) } : {}),
  };
}

const SUBJECTS: Record<RunCause, string> = { review: 'Address the review', ci: 'Make the failing checks pass' };

function jobOf(parts: WorkerParts, request: RunRequest): RunJob {
  const { runId, repo, source, command, actor, pull, input, cause } = request;
  // A follow-up is named after what was asked, a first run after its issue.
  const asked = source.isPull ? (command.text.trim().split('\n')[0] ?? '') : '';
  const subject = asked !== '' ? asked : cause === undefined ? source.title : SUBJECTS[cause];
  return {
    runId,
    repository: `${repo.owner}/${repo.name}`,
    ...refOf(pull),
    title: conventionalTitle({ title: subject, verb: command.verb }),
    task: taskPrompt({ actor, command, source, input, pull, cause }),
    branch: branchFor(request),
    flags: command.flags,
    requester: { login: actor.login, id: actor.id },
    noreply: noreplyOf(parts),
    account: { repository: repoKey(repo), installation: parts.payer },
    origin: {
      deliveryId: request.deliveryId,
      installationId: request.installationId,
      command,
      cause: cause ?? null,
      source,
      pull: pull ?? null,
      requestedAt: request.requestedAt,
      frozenAt: input.frozenAt,
      input: input.texts.map(({ kind, id, author, authorMayWrite, updatedAt, sha256 }) => {
        return { kind, id, author, authorMayWrite, updatedAt, sha256 };
      }),
    },
  };
}

/** What is cloned. The head of a fork's pull request is in the repository itself, under a ref that is nobody's branch. */
function refOf(pull: PullHead | undefined): Pick<RunJob, 'ref' | 'fork'> {
  if (pull === undefined) return {};
  if (pull.sameRepository) return { ref: pull.branch };
  const { number, sha, base } = pull;
  return { ref: `refs/pull/${number}/head`, fork: { pull: number, commit: sha, onto: base } };
}

interface Keeper {
  publisher: Publisher;
  describe: GitHubPublisher['describe'];
  finish: GitHubPublisher['finish'];
  /** Everything that was noted is in Redis. */
  settled: () => Promise<void>;
}

/**
 * Writes each step into the run's record, so that another worker can end what this one began; and keeps an end that GitHub could not
 * be told.
 */
function recordKeeper(parts: WorkerParts, publisher: GitHubPublisher, request: RunRequest): Keeper {
  const { records, untold, log } = parts;
  const { runId } = request;
  let settings: RunSettings | undefined;
  const finish: Keeper['finish'] = async (end) => {
    await publisher.finish(end).catch(async (thrown: unknown) => {
      await untold.keep({ request, end, settings, seen: publisher.seen() }, thrown);
      throw thrown;
    });
  };
  let tail: Promise<unknown> = Promise.resolve();
  const note = (patch: Parameters<typeof records.update>[1]): void => {
    tail = tail
      .then(() => records.update(runId, patch))
      .catch((thrown: unknown) => {
        log.warn({ runId, kind: thrown instanceof Error ? thrown.name : 'unknown' }, 'step not noted');
      });
  };
  return {
    settled: () => tail.then(() => undefined),
    publisher: {
      progress(progress) {
        if (progress.state === 'started') note({ step: progress.step });
        publisher.progress(progress);
      },
      async publish(options) {
        // Whoever ends this run for us must know that something may have been pushed.
        await tail;
        const published = await publisher.publish(options);
        const { branch, pull } = published;
        note({ ...(branch === undefined ? {} : { branch }), ...(pull === undefined ? {} : { pull }) });
        return published;
      },
      finish,
    },
    describe(given) {
      settings = given;
      note({ maxCost: given.limits.maxCost });
      publisher.describe(given);
    },
    finish,
  };
}

function portsOf(
  parts: WorkerParts,
  request: RunRequest,
  told: Pick<Keeper, 'publisher' | 'describe'> & { identity: Person },
): RunPorts {
  const { environment, policy, host, github } = parts;
  const { webUrl } = environment.github;
  const repository = github.repository({ installationId: request.installationId, ...request.repo });
  return {
    gateways: host.gateways,
    sandboxes: host.sandboxes,
    openAudit: async (id) => withSealHandedOn(await host.openAudit(id), id, parts.events),
    repositories: createRepositories({
      dataDir: environment.dataDir,
      remoteUrl: (name) => `${webUrl}/${name}.git`,
      credential: () => repository.gitAuthorization('read'),
      allowHttp: webUrl.startsWith('http:'),
      ...(host.caFile === undefined ? {} : { caFile: host.caFile }),
    }),
    planner: describing(
      createPlanner({ policy, resolveEgress: host.resolveEgress, manifest: host.manifest }),
      told.describe,
    ),
    agents: createAgents({
      toolboxAgentsDir: AGENTS_MOUNT,
      providers: Object.fromEntries((host.llm?.providers ?? []).map((p) => [p.id, { wires: p.wires }])),
    }),
    harvester: keepingPatches(
      createHarvester({
        dataDir: environment.dataDir,
        identity: told.identity,
        knownSecrets: () => knownSecrets(policy.policy, environment),
      }),
      { dataDir: environment.dataDir, events: parts.events },
    ),
    publisher: told.publisher,
    held: parts.held,
  };
}

/** The plan's limits, agent and model are what people are shown from then on. */
function describing(planner: Planner, describe: Keeper['describe']): Planner {
  return {
    async plan(job, mirror, signal) {
      const plan = await planner.plan(job, mirror, signal);
      const { limits, agent, model, configuration } = plan.spec;
      describe({ limits, agent, model, configuration: configuration?.files });
      return plan;
    },
  };
}

/** A GitHub Enterprise Server knows its people by addresses of its own name; on github.com they could be somebody else's. */
export function noreplyOf({ environment }: Pick<WorkerParts, 'environment'>): string {
  return `users.noreply.${new URL(environment.github.webUrl).hostname}`;
}

/** The App's own author line. By the account's number in the address GitHub shows the App beside its commits. */
async function identityOf(parts: WorkerParts, { installationId, repo }: RunRequest): Promise<Person> {
  const name = parts.bot ?? 'cofferdam[bot]';
  const account = await parts.github
    .repository({ installationId, ...repo })
    .person(name)
    .catch(() => null);
  return { name, email: `${account === null ? '' : `${account.id}+`}${name}@${noreplyOf(parts)}` };
}

function failedResult(request: RunRequest, thrown: unknown): RunResult {
  return {
    runId: request.runId,
    state: 'failed',
    usage: { cost: 0, turns: 0, inputTokens: 0, outputTokens: 0 },
    verification: [],
    files: [],
    egress: [],
    startedAt: request.requestedAt,
    endedAt: new Date().toISOString(),
    error: toRunError(thrown, 'main.executeRequest'),
  };
}
