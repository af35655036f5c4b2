import { createHash } from 'node:crypto';
import { AGENT_IDS, configurationOf } from '../agent/agents.ts';
import {
  settleEgress,
  settleHold,
  settleLimits,
  settleProtected,
  settlePull,
  type SettledEntry,
} from '../config/settle.ts';
import type { LoadedPolicy } from '../config/policy-file.ts';
import { readRepositoryFile } from '../config/repository-file.ts';
import { MAX_REPOSITORY_FILE, REPOSITORY_FILE } from '../domain/configuration.ts';
import { CofferdamError } from '../domain/errors.ts';
import { Digest } from '../domain/ids.ts';
import type { EgressPolicy, OperatorPolicy } from '../domain/policy.ts';
import type { RepositoryFile } from '../domain/repository-file.ts';
import { repoKey, type ForkBase } from '../domain/run.ts';
import { readFileAt } from '../git/plumbing.ts';
import type { Mirror, Planner, RunJob } from '../run/ports.ts';
import { steeringOf } from './steering.ts';

/** Presets to hosts; resolved once when the policy is loaded, never from anything that a run says. */
export type ResolveEgress = (entries: SettledEntry[], signal: AbortSignal) => Promise<EgressPolicy['rules']>;

/** SHA-256 over the JSON text of a value whose keys are in a fixed order. */
export function digestJson(value: unknown): Digest {
  return Digest.parse(`sha256:${createHash('sha256').update(JSON.stringify(value)).digest('hex')}`);
}

/** The model of a run: the command's, else the repository's, else the operator's. Errors: `usage`, `config`. */
export function chooseModel(
  policy: OperatorPolicy,
  file: RepositoryFile | undefined,
  flag: string | undefined,
): string {
  const model = flag ?? file?.model ?? policy.llm.default;
  if (model === undefined) {
    throw new CofferdamError(
      'config',
      'main.chooseModel',
      'no model: set llm.default in the policy, or `model` in .github/cofferdam.yml',
    );
  }
  const provider = model.split('/')[0] ?? '';
  if (!Object.hasOwn(policy.llm.providers, provider)) {
    const known = Object.keys(policy.llm.providers).join(', ') || 'none';
    throw new CofferdamError(
      'config',
      'main.chooseModel',
      `model "${model}": the policy has no provider "${provider}" (it has: ${known})`,
    );
  }
  return model;
}

/** Reads the repository's file from the default branch and settles everything that a run may do. */
export function createPlanner(options: {
  policy: LoadedPolicy;
  resolveEgress: ResolveEgress;
  /** Set for a local repository, whose path is no `owner/name`. */
  repositoryName?: string;
  manifest: Record<string, unknown>;
}): Planner {
  const { policy, digest } = options.policy;
  const steering = (agent: string, mirror: Mirror, signal: AbortSignal): ReturnType<typeof steeringOf> =>
    steeringOf(mirror, { roots: configurationOf(agent), allowed: policy.agents.allowConfiguration, signal });
  return {
    async plan(job, mirror, signal) {
      const file = await repositoryFile({ policy: options.policy, job, mirror }, signal);
      const rules = await options.resolveEgress(settleEgress(options.policy, file, job.flags['allow']), signal);
      const agent = job.flags['agent'] ?? file.agent ?? policy.agent;
      const repository = options.repositoryName ?? job.repository;
      const [owner = '', name = ''] = repository.split('/');
      const egress: EgressPolicy = { rules, deny: policy.egress.deny, gitRepositories: [repoKey({ owner, name })] };
      const spec = {
        runId: job.runId,
        repository,
        base: mirror.base,
        baseRef: job.fork?.onto ?? mirror.baseRef,
        ...forkOf(job, mirror),
        branch: job.branch,
        task: job.task,
        title: job.title,
        agent,
        model: chooseModel(policy, file, job.flags['model']),
        image: policy.sandbox.image,
        limits: settleLimits(policy, file, flagsOf(job)),
        policy: egress,
        policyDigest: digestJson(egress),
        env: file.env,
        setup: file.setup,
        verify: file.verify,
        protectedPaths: settleProtected(file),
        // The clone of a local repository is its owner's own: there is no pull request by somebody else.
        ...(options.repositoryName === undefined ? await steering(agent, mirror, signal) : {}),
        // A local repository has no CI that a push would start.
        hold: options.repositoryName === undefined ? settleHold(policy, file) : ('never' as const),
        ...(options.repositoryName === undefined ? { pull: settlePull(policy, file) } : {}),
      };
      return {
        spec,
        sandbox: policy.sandbox,
        manifest: { ...options.manifest, operatorPolicy: digest, repositoryFile: digestJson(file) },
      };
    },
  };
}

/** Errors: `internal` when nobody knows where the fork's history begins: then nothing may be pushed. */
function forkOf({ fork }: RunJob, { since }: Mirror): { fork?: ForkBase } {
  if (fork === undefined) return {};
  if (since === undefined)
    throw new CofferdamError('internal', 'main.forkOf', 'the mirror does not say what a fork adds');
  return { fork: { pull: fork.pull, since } };
}

function flagsOf(job: RunJob): {
  maxCost?: string | undefined;
  timeout?: string | undefined;
  maxTurns?: string | undefined;
} {
  return { maxCost: job.flags['max-cost'], timeout: job.flags['timeout'], maxTurns: job.flags['max-turns'] };
}

/** Errors: `repository_file`, with the place of everything that is wrong. */
async function repositoryFile(
  options: { policy: LoadedPolicy; job: RunJob; mirror: Mirror },
  signal: AbortSignal,
): Promise<RepositoryFile> {
  const { policy, job, mirror } = options;
  const at = { gitDir: mirror.path, op: 'main.repositoryFile', signal };
  const bytes = await readFileAt(at, {
    commit: `refs/heads/${mirror.defaultBranch}`,
    path: REPOSITORY_FILE,
    maxBytes: MAX_REPOSITORY_FILE,
  });
  const text = bytes === null ? null : bytes.toString('utf8');
  return readRepositoryFile(text, { policy, agents: AGENT_IDS, overridden: Object.keys(job.flags) });
}
