import { CofferdamError } from '../domain/errors.ts';
import type { CommitSha, Digest } from '../domain/ids.ts';
import type { EgressEntry, Limits } from '../domain/policy.ts';
import { askedBy, ownBranch, type Actor, type RunRequest, type RunResult } from '../domain/run.ts';
import { type AgentConfiguration } from '../domain/shown.ts';
import { remarksOn, type Remark } from '../policy/diff/remarks.ts';
import type { Asked } from '../policy/markdown/check.ts';
import { touchesWorkflows } from '../policy/markdown/held.ts';
import { statusComment, type HiddenNote, type StatusFacts } from '../policy/markdown/status.ts';
import { maskTokens } from '../policy/redaction/mask.ts';
import type { Published, Publisher, RunProgress, SandboxReceipt } from '../run/ports.ts';
import type { Logger } from '../telemetry/log.ts';
import { ask } from './ask.ts';
import { answerThreads } from './answer-threads.ts';
import { checkAuthority } from './authority.ts';
import { recorded } from './effect.ts';
import { failureKind, GitHubError, unless } from './failure.ts';
import { asPatch, moved, pushResult, unlessRefused, uponFork } from './fork.ts';
import { stillOpen } from './meanwhile.ts';
import { openPull } from './open-pull.ts';
import { patiently } from './patience.ts';
import type { GitHubRepository } from './repository.ts';
import { createRunChecks, elapsed } from './run-checks.ts';
import { stateAfter, type ThreadState } from './state-label.ts';
import { createStatusComment } from './status.ts';

/** Pushes one commit to one branch of the remote; never forces. Errors: `github`. */
export type PushBranch = (options: {
  /** Bare repository that holds the commit. */
  repository: string;
  commit: CommitSha;
  branch: string;
  /** What the branch must be before; undefined: it must not exist, or be this commit already. */
  expected: CommitSha | undefined;
  /** Value of the Authorization header. */
  authorization: string;
  /** Where the repository is by now; absent: where the run began. */
  now?: { owner: string; name: string } | undefined;
  signal: AbortSignal;
}) => Promise<void>;

export interface PublisherOptions {
  repository: GitHubRepository;
  /** The same repository, for writes that may be left out: how far the run is. */
  progress?: GitHubRepository | undefined;
  request: RunRequest;
  push: PushBranch;
  /** What is known before the run is planned; `describe` replaces it. */
  settings: RunSettings;
  hidden: HiddenNote[];
  runUrl?: string | undefined;
  /** Between two edits of the status comment. */
  intervalMs?: number;
  /** Pauses before a publication that GitHub did not answer is tried again; default: none, it fails. */
  pausesMs?: readonly number[] | undefined;
  /** Who lets a held result go: the one whose rights count then. */
  approvedBy?: Actor | undefined;
  /** Logins and teams that are obeyed of those who may write; absent: all of them. */
  askers?: readonly string[] | undefined;
  /** First word of a command; default `/agent`. */
  prefix?: string | undefined;
  /** The label that asks for a run, and the beginning of those that say how it goes; default `agent`. */
  label?: string | undefined;
  /** What people may add to a run's ways out; absent: nothing. */
  mayAdd?: readonly EgressEntry[] | undefined;
  /** Takes this installation's secrets out of everything that is sent; credentials known by their shape are taken out anyway. */
  redact?: (text: string) => string;
  log: Logger;
}

export interface RunSettings {
  limits: Limits;
  /** Files of the default branch that configure the agent. */
  configuration?: AgentConfiguration['files'] | undefined;
  agent: string;
  model: string | undefined;
}

/** What a publisher saw of its run, which no result holds: how long steps took, what is remarkable in the change, what GitHub was asked for. */
export interface Seen {
  steps: { step: string; durationMs: number }[];
  /** On the change that was pushed. */
  remarks: Remark[];
  asked?: Asked | undefined;
}

export interface GitHubPublisher extends Publisher {
  /** The settled limits, agent and model. */
  describe(settings: RunSettings): void;
  /** First version of the status comment. */
  queued(place: { ahead: number; behind?: string }): Promise<void>;
  finish(options: {
    result: RunResult;
    seal?: { count: number; head: Digest };
    receipt?: SandboxReceipt | undefined;
    /** A newer run has the thread's comment and labels by now: they stay as they are. */
    superseded?: boolean;
    /** What another publisher saw of this run; absent: this one did. */
    seen?: Seen | undefined;
  }): Promise<void>;
  /** So that another one can tell the end as this one would have. */
  seen(): Seen;
}

const INTERVAL_MS = 15_000;
const GOOD: readonly RunResult['state'][] = ['succeeded', 'unverified'];

/** The result of one run on GitHub: status comment, branch, pull request, check run, reaction. Every write is found again by a marker. */
export function createPublisher(options: PublisherOptions): GitHubPublisher {
  const { repository, request, log, runUrl } = options;
  const { runId, source } = request;
  const shown = options.progress ?? repository;
  // A fork's commit is none of this repository's: a click on a check run there would not name the pull request, and a neutral one
  // could stand for one that a rule of the repository asks for. The status comment says how it goes.
  const followUp = ownBranch(request.pull) === undefined ? undefined : request.pull;
  const { prefix } = options;
  const approvedBy = options.approvedBy?.login;
  const { redact: known } = options;
  const redact = (text: string): string => maskTokens(known === undefined ? text : known(text));
  const seen: Seen = { steps: [], remarks: [] };
  let settings = options.settings;
  let opening: Promise<void> | undefined;
  let pushed: CommitSha | undefined;
  const comment = createStatusComment({
    repository,
    progress: shown,
    number: source.number,
    intervalMs: options.intervalMs ?? INTERVAL_MS,
    log,
  });

  const checks = createRunChecks({ ...options, shown, followUp, redact });

  function facts(phase: StatusFacts['phase']): string {
    const { actor, command, input, cause } = request;
    const base = {
      runId,
      actor,
      command,
      cause,
      runUrl,
      texts: input.texts,
      hidden: options.hidden,
      prefix,
      approvedBy,
      upon: uponFork(request),
    };
    return redact(statusComment({ ...base, ...settings, phase }));
  }

  /** Never fails: the labels are a convenience. */
  async function showState(state: ThreadState | undefined): Promise<void> {
    const label = options.label ?? 'agent';
    const by = state === 'working' ? shown : repository;
    await by.setStateLabel(source.number, { label, state }).catch((thrown: unknown) => {
      log.warn({ runId, kind: failureKind(thrown) }, 'state label not set');
    });
  }

  /** It is published without this; but without its record it was not tried, and the run ends. */
  function without(what: string, thrown: unknown): undefined {
    if (thrown instanceof CofferdamError && thrown.code === 'audit') throw thrown;
    log.warn({ runId, kind: failureKind(thrown) }, what);
  }

  async function closeChecks({ result, seal, receipt, seen: given = seen }: FinishOptions): Promise<void> {
    pushed ??= result.branch === undefined ? undefined : result.head;
    await opening;
    await checks.close({ ...settings, ...given, result, seal, receipt, pushed });
  }

  /** May be called again after any failure: what was done is found. */
  async function publishOnce({ spec, harvest, result, audit, signal }: Publication): Promise<Published> {
    await checkAuthority(options, audit);
    const { branch } = spec;
    const commit = harvest.commit;
    // A branch that is not ours is not pushed to: the result is a branch of its own, with a pull request to that one.
    const expected = followUp?.branch === branch ? spec.base : undefined;
    if (expected !== undefined && followUp !== undefined) await stillOpen(repository, followUp.number, commit);
    const pushing = { type: 'git.push', data: { branch, commit } } as const;
    const push = await unlessRefused(
      request,
      recorded(audit, pushing, () => pushResult(options, { spec, harvest, expected, signal })),
    );
    if (push instanceof GitHubError) return asPatch({ spec, harvest, audit }, push);
    pushed = commit;
    seen.remarks = remarksOn(harvest);
    const baseMoved = expected === undefined && (await moved(options, spec));
    const opened = { request, spec, harvest, result, settings, runUrl, approvedBy, prefix, baseMoved, redact, signal };
    const pull = await unlessRefused(
      request,
      recorded(audit, { type: 'publish.pull', data: { branch } }, () => openPull({ repository, ...opened })),
    );
    if (pull instanceof GitHubError) return asPatch({ spec, harvest, audit, branch }, pull);
    // A follow-up's pull request was given its own when it was new.
    if (expected === undefined) {
      const asking = ask({ repository, request, spec, harvest, audit, pull: pull.number, signal });
      seen.asked = await asking.catch((thrown: unknown) => without('labels and reviewers not set', thrown));
    }
    const checking = { type: 'publish.check_run', data: { commit, pull: pull.number } } as const;
    await recorded(audit, checking, () => checks.follow(commit)).catch((thrown: unknown) =>
      without('check run not opened', thrown),
    );
    return { branch, head: commit, pull, baseMoved };
  }

  return {
    describe(given) {
      settings = given;
    },
    async queued({ ahead, behind }) {
      await unlessLocked(comment.put(facts({ name: 'queued', ahead, behind })));
    },
    progress(progress) {
      if (progress.state === 'done' && progress.durationMs !== undefined) {
        seen.steps.push({ step: progress.step, durationMs: progress.durationMs });
      }
      opening ??= Promise.all([checks.open(progress.step), showState('working')]).then(() => undefined);
      comment.show(() => facts(runningPhase(progress, seen.steps)));
    },
    seen: () => seen,
    publish: (publication) => patiently(() => publishOnce(publication), { ...options, signal: publication.signal }),
    async finish(end) {
      const { result, seal, superseded = false } = end;
      const closed = await settled(closeChecks(end));
      const audit = seal === undefined ? undefined : { count: seal.count, head: seal.head };
      const mayPushWorkflows = await workflowPermission(repository, result);
      const trouble = closed?.message;
      const done = facts({ name: 'done', result, elapsedMs: elapsed(result), audit, trouble, mayPushWorkflows });
      // Before the comment: whoever reads that it is over finds nothing that says otherwise.
      if (!superseded) await showState(stateAfter(result));
      const said = superseded ? undefined : await settled(unlessLocked(comment.settle(done)));
      const reacted = await settled(
        repository.react(askedBy(source), GOOD.includes(result.state) ? 'rocket' : 'confused', source.number),
      );
      const answered = await settled(answerThreads({ repository, request, result, redact }));
      const failed = [said, closed, reacted, answered].find((error) => error !== undefined);
      if (failed !== undefined) throw failed;
    },
  };
}

type Publication = Parameters<Publisher['publish']>[0];
type FinishOptions = Parameters<GitHubPublisher['finish']>[0];

/** Where nothing may be said, pull request, check run, run page and record have to do. */
async function unlessLocked(saying: Promise<unknown>): Promise<void> {
  await unless(['locked'], saying);
}

/** Only asked where it matters; unknown when GitHub does not say. */
async function workflowPermission(repository: GitHubRepository, result: RunResult): Promise<boolean | undefined> {
  if (result.held === undefined || !touchesWorkflows(result.held.files)) return undefined;
  return repository.mayPushWorkflows().catch(() => undefined);
}

function runningPhase(progress: RunProgress, steps: { step: string; durationMs: number }[]): StatusFacts['phase'] {
  const { step, atMs, usage, egress } = progress;
  return { name: 'running', step, steps: [...steps], elapsedMs: atMs, usage, egress };
}

/** The failure, so that the other parts are still done. */
async function settled(work: Promise<unknown>): Promise<Error | undefined> {
  try {
    await work;
    return undefined;
  } catch (thrown) {
    return thrown instanceof Error ? thrown : new Error(String(thrown));
  }
}
