/**
 * `http://git.cofferdam.internal/<owner>/<repo>.git/…`: fetching from the host's bare mirrors, and nothing else.
 *
 * Trust: requests are the hostile sandbox's; the repositories are ours and are only read. Which repositories exist
 * elsewhere is not told: what was not declared is absent.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { AuditEntry } from '../domain/audit.ts';
import { deny, type Decision } from '../domain/decision.ts';
import { PUSH_REFUSED, serveUploadPack } from '../git/upload-pack.ts';
import { sendText } from './answers.ts';
import { printable } from './recorder.ts';
import type { Service } from './services.ts';

/** Packs that are made at one time: each is a git process. */
const MAX_ACTIVE = 8;
const RULE = 'git proxy';
const TARGET =
  /^\/([A-Za-z0-9._-]{1,100})\/([A-Za-z0-9._-]{1,100}?)(?:\.git)?(\/info\/refs|\/git-upload-pack|\/git-receive-pack)$/;

/** A bare repository as a git process of the gateway can open it. */
export interface ServedRepository {
  path: string;
  /** Directory descriptors that its git processes inherit, from 3 up. */
  inherit?: readonly number[];
}

interface Asked {
  /** `owner/name` in lower case; `/` alone for something else. */
  key: string;
  service: string;
  query: string;
  target: string;
}

/** `repositories`: by `owner/name` in lower case. Everything else is refused and recorded. */
export function createGitProxy(options: {
  repositories: Readonly<Record<string, ServedRepository>>;
  audit: (entry: AuditEntry) => Promise<void>;
  signal: AbortSignal;
}): Service {
  let active = 0;

  function record(asked: Asked, decision: Decision): Promise<void> {
    const data = { repository: asked.key, 'url.path': printable(asked.target), 'url.query': printable(asked.query) };
    return options.audit({ zone: 'gateway', type: 'git.request', decision, data });
  }

  async function refuse(
    response: ServerResponse,
    asked: Asked,
    no: { decision: Decision; status: number; text: string },
  ): Promise<void> {
    await record(asked, no.decision);
    sendText(response, { status: no.status, body: no.text, close: true });
  }

  async function serve(
    request: IncomingMessage,
    response: ServerResponse,
    asked: Asked & { repository: ServedRepository },
  ): Promise<void> {
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const { repository, service: path, query } = asked;
    const answer = await serveUploadPack({
      repository: repository.path,
      inherit: repository.inherit,
      request: { method: request.method ?? '', path, query, headers: flat(request), body: request },
      signal: AbortSignal.any([options.signal, gone.signal]),
    });
    try {
      await record(asked, answer.decision);
    } catch (error) {
      answer.body.destroy();
      throw error;
    }
    response.writeHead(answer.status, answer.headers);
    await pipeline(answer.body, response).catch(() => {
      // A cut pack is shown as a cut connection; git notices.
      response.destroy();
    });
  }

  return async (request, response) => {
    const asked = parse(request.url ?? '');
    if (asked.service === '/git-receive-pack' || asked.query === 'service=git-receive-pack') {
      return refuse(response, asked, { decision: deny(RULE, 'git_push'), status: 403, text: PUSH_REFUSED });
    }
    const repository = Object.hasOwn(options.repositories, asked.key) ? options.repositories[asked.key] : undefined;
    if (repository === undefined) {
      const decision = deny(RULE, 'git_repository_not_allowed');
      return refuse(response, asked, { decision, status: 404, text: 'This repository is not part of the run.\n' });
    }
    if (active >= MAX_ACTIVE) {
      const decision = deny('limit: git', 'too_many_connections');
      return refuse(response, asked, { decision, status: 503, text: 'Too many git requests at once.\n' });
    }
    active += 1;
    try {
      await serve(request, response, { ...asked, repository });
    } finally {
      active -= 1;
    }
  };
}

function parse(url: string): Asked {
  const mark = url.indexOf('?');
  const target = mark === -1 ? url : url.slice(0, mark);
  const query = mark === -1 ? '' : url.slice(mark + 1);
  const [, owner = '', name = '', service = ''] = TARGET.exec(target) ?? [];
  return { key: `${owner}/${name}`.toLowerCase(), service, query, target };
}

function flat(request: IncomingMessage): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(request.headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : value]),
  );
}
