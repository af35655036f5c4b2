import type { RunRequest, RunResult, RunSpec } from '../domain/run.ts';
import { pullBody, pullTitle } from '../policy/markdown/pull.ts';
import type { Harvest } from '../run/ports.ts';
import { GitHubError } from './failure.ts';
import { uponFork } from './fork.ts';
import { baseGone } from './meanwhile.ts';
import type { RunSettings } from './publisher.ts';
import type { GitHubRepository } from './repository.ts';
import { templateOf } from './template.ts';

/**
 * The pull request of a run's branch: the one that exists, or a new draft; a plain one where drafts are not to be had.
 * Safe to call again: a branch has one pull request.
 */
export async function openPull(options: {
  repository: GitHubRepository;
  request: RunRequest;
  spec: RunSpec;
  harvest: Harvest;
  result: RunResult;
  settings: RunSettings;
  runUrl: string | undefined;
  approvedBy?: string | undefined;
  prefix?: string | undefined;
  baseMoved?: boolean | undefined;
  redact: (text: string) => string;
  signal: AbortSignal;
}): Promise<{ number: number; url: string }> {
  const { repository, request, spec, redact } = options;
  const existing = await repository.pullOf(spec.branch);
  if (existing !== null) return existing;
  const { settings, result, runUrl } = options;
  const body = pullBody({
    ...settings,
    runId: request.runId,
    source: request.source,
    requester: request.actor.login,
    result,
    elapsedMs: Math.max(0, Date.parse(result.endedAt) - Date.parse(result.startedAt)) || 0,
    runUrl,
    approvedBy: options.approvedBy,
    prefix: options.prefix,
    baseMoved: options.baseMoved,
    upon: uponFork(request),
    // One that cannot be read is none: the pull request is what counts.
    template: await templateOf(spec, options.harvest, options.signal).catch(() => undefined),
  });
  const pull = { branch: spec.branch, base: spec.baseRef, title: redact(pullTitle(spec.title)), body: redact(body) };
  for (const draft of [true, false]) {
    try {
      return await repository.createPull({ ...pull, draft });
    } catch (thrown) {
      // An answer may be lost, and a refused draft may be a pull request that is there.
      const made = await repository.pullOf(spec.branch);
      if (made !== null) return made;
      const again = thrown instanceof GitHubError && (thrown.kind === 'invalid' || thrown.kind === 'unavailable');
      if (!again || !draft) throw (await baseGone(repository, spec, thrown)) ?? thrown;
    }
  }
  throw new GitHubError({ kind: 'invalid', op: 'github.openPull' });
}
