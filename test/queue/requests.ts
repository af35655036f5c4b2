import { randomBytes } from 'node:crypto';
import { runId } from '../../src/domain/ids.ts';
import { RunRequest } from '../../src/domain/run.ts';
import type { Trigger } from '../../src/domain/trigger.ts';

const sha256 = `sha256:${'0'.repeat(64)}`;

export function newRunId(): RunRequest['runId'] {
  return runId(randomBytes(12));
}

/** A run on an issue, or on a branch of a pull request. */
export function request(
  patch: { repo?: string; number?: number; branch?: string; actorId?: number; requestedAt?: string } = {},
): RunRequest {
  const [owner, name] = (patch.repo ?? 'octo/repo').split('/');
  const number = patch.number ?? 1;
  return RunRequest.parse({
    runId: newRunId(),
    deliveryId: 'd',
    installationId: 77,
    repo: { id: 5, owner, name, defaultBranch: 'main', private: false },
    source: { number, title: 'T', isPull: patch.branch !== undefined, url: 'https://example.test' },
    actor: { login: 'ann', id: patch.actorId ?? 1, type: 'User' },
    command: { verb: 'run', text: '', flags: {} },
    input: { texts: [], frozenAt: '2026-01-01T00:00:00Z' },
    ...(patch.branch === undefined
      ? {}
      : { pull: { number, branch: patch.branch, sha: 'a'.repeat(40), base: 'main', sameRepository: true } }),
    requestedAt: patch.requestedAt ?? new Date().toISOString(),
  });
}

export function trigger(patch: { deliveryId: string; key?: string }): Trigger {
  const { repo, source, actor, command } = request();
  return {
    deliveryId: patch.deliveryId,
    event: 'issue_comment.created',
    key: patch.key ?? 'comment:5:9',
    installationId: 77,
    repo,
    source,
    actor,
    commands: [command],
    problems: [],
    texts: [{ kind: 'issue', author: 'ann', updatedAt: '', body: '', sha256: sha256 as never }],
    happenedAt: '2026-01-01T00:00:00Z',
  };
}
