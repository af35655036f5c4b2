/**
 * git.cofferdam.internal: fetching of the run's own repositories from the host's bare mirrors.
 *
 * Trust: the requests are hostile; the repositories are ours and are only read.
 */
import type { AuditEntry } from '../domain/audit.ts';
import { deny, type Decision } from '../domain/decision.ts';
import { serveUploadPack } from '../git/upload-pack.ts';
import { printable } from './recorder.ts';
import type { Service } from './services.ts';

const MAX_CALLS = 16;

/** Serves `/<owner>/<repo>.git/…` for the given repositories (`owner/name` in lower case → bare repository); everything else is refused and recorded. */
export function createGitProxy(options: {
  repositories: Readonly<Record<string, string>>;
  audit: (entry: AuditEntry) => Promise<void>;
  signal: AbortSignal;
}): Service {
  let calls = 0;
  return async (request, response) => {
    const [target = '', query = ''] = (request.url ?? '').split('?', 2);
    const match =
      /^\/([A-Za-z0-9._-]{1,100})\/([A-Za-z0-9._-]{1,100}?)(?:\.git)?(\/(?:info\/refs|git-upload-pack|git-receive-pack))$/.exec(
        target,
      );
    const key = `${match?.[1] ?? ''}/${match?.[2] ?? ''}`.toLowerCase();
    const record = (decision: Decision): Promise<void> =>
      options.audit({
        zone: 'gateway',
        type: 'git.request',
        decision,
        data: { method: request.method ?? '', 'url.path': printable(target), 'url.query': printable(query) },
      });
    const refuse = async (decision: Decision, status: number, text: string): Promise<void> => {
      await record(decision);
      request.resume();
      response.writeHead(status, { 'content-type': 'text/plain' }).end(text);
    };
    const repository = match && Object.hasOwn(options.repositories, key) ? options.repositories[key] : undefined;
    if (repository === undefined)
      return refuse(deny('git proxy', 'git_repository_not_allowed'), 404, 'This repository is not part of the run.\n');
    if (calls >= MAX_CALLS)
      return refuse(deny('git proxy', 'too_many_connections'), 503, 'Too many git requests at once.\n');
    calls += 1;
    try {
      const headers = Object.fromEntries(
        Object.entries(request.headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : value]),
      );
      const call = { method: request.method ?? '', path: match?.[3] ?? '', query, headers, body: request };
      const answer = await serveUploadPack({ repository, request: call, signal: options.signal });
      await record(answer.decision);
      response.writeHead(answer.status, answer.headers);
      await new Promise<void>((resolve) => {
        response.once('close', resolve);
        answer.body.once('error', () => response.destroy());
        answer.body.pipe(response);
      });
      answer.body.destroy();
    } finally {
      calls -= 1;
    }
  };
}
