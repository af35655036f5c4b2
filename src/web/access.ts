/** Who may see what. Unknown means no: a run whose repository is not known is shown to its operator only. */
import type { IncomingMessage } from 'node:http';
import type { RunId } from '../domain/ids.ts';
import { repoKey, type RepoRef } from '../domain/run.ts';
import { readTicket } from './links.ts';
import type { GitHubLogin, ShortLived } from './ports.ts';
import { cookie, createSessions, type Session, type Sessions } from './sessions.ts';

/** Why a page is not shown. */
export type Refusal =
  /** Sign in with GitHub. */
  | 'sign_in'
  /** Nobody can sign in here: the App's OAuth settings are missing. */
  | 'no_login'
  /** Signed in, but may not read this repository; or there is no such run. Both look the same. */
  | 'not_found'
  /** Without login, only browsers on this machine are served. */
  | 'not_local';

export type Admission = { allow: true; viewer: string | undefined } | { allow: false; why: Refusal };

export type ListAdmission =
  | { allow: true; viewer: string | undefined; sees: (repository: RepoRef) => Promise<boolean>; local: boolean }
  | { allow: false; why: Refusal };

export type AccessMode =
  /** For a server on loopback: whoever can reach it sees everything. */
  { kind: 'local' } | { kind: 'github'; github: GitHubLogin | undefined };

export interface AccessOptions {
  mode: AccessMode;
  store: ShortLived;
  linkKey: Buffer;
  /** Cookies are sent over https only. */
  secure: boolean;
  now?: () => number;
}

export interface Access {
  readonly mode: AccessMode;
  readonly sessions: Sessions;
  readonly cookies: { session: string; login: string; ticket: string; secure: boolean };
  run(request: IncomingMessage, runId: RunId, repository: RepoRef | undefined): Promise<Admission>;
  list(request: IncomingMessage): Promise<ListAdmission>;
  /** When the ticket of an address ends; null when it is none. */
  ticket(runId: RunId, ticket: string): number | null;
}

/** An answer of GitHub is believed this long. */
const BELIEVED_MS = 60_000;
const MAX_BELIEVED = 5_000;
const LOOPBACK = /^(?:127(?:\.\d{1,3}){3}|localhost|\[::1\])(?::\d{1,5})?$/;
const LOOPBACK_PEER = /^(?:::ffff:)?127(?:\.\d{1,3}){3}$|^::1$/;
const FORWARDED = ['forwarded', 'x-forwarded-for', 'x-forwarded-host', 'x-real-ip', 'via'];

/** Is this request from this machine, for this machine, and through nobody else? A name that points here is somebody else's. */
function isLocal(request: IncomingMessage): boolean {
  return (
    LOOPBACK.test((request.headers.host ?? '').toLowerCase()) &&
    LOOPBACK_PEER.test(request.socket.remoteAddress ?? '') &&
    FORWARDED.every((name) => request.headers[name] === undefined)
  );
}

export function createAccess(options: AccessOptions): Access {
  const { mode, store, linkKey, secure } = options;
  const now = options.now ?? Date.now;
  const sessions = createSessions(store);
  const believed = new Map<string, { until: number; may: Promise<boolean> }>();
  const prefix = secure ? '__Host-' : '';
  // The ticket's cookie is for the pages of one run, so it has a path and cannot have the prefix.
  const cookies = {
    session: `${prefix}cofferdam_session`,
    login: `${prefix}cofferdam_login`,
    ticket: 'cofferdam_ticket',
    secure,
  };

  function mayRead(github: GitHubLogin, session: Session, repository: RepoRef): Promise<boolean> {
    const key = `${session.key} ${repoKey(repository)} ${repository.id ?? ''}`;
    const known = believed.get(key);
    if (known !== undefined && known.until > now()) return known.may;
    const may = github.mayRead(session.token, repository);
    may.catch(() => believed.delete(key));
    believed.set(key, { until: now() + BELIEVED_MS, may });
    if (believed.size > MAX_BELIEVED) believed.clear();
    return may;
  }

  function ticket(runId: RunId, given: string): number | null {
    return readTicket({ key: linkKey, runId, ticket: given, now: now() });
  }

  return {
    mode,
    sessions,
    cookies,
    ticket,
    async run(request, runId, repository) {
      if (mode.kind === 'local')
        return isLocal(request) ? { allow: true, viewer: undefined } : { allow: false, why: 'not_local' };
      if (ticket(runId, cookie(request, cookies.ticket) ?? '') !== null) return { allow: true, viewer: 'operator' };
      if (mode.github === undefined) return { allow: false, why: 'no_login' };
      const session = await sessions.find(cookie(request, cookies.session));
      if (session === null) return { allow: false, why: 'sign_in' };
      if (repository === undefined) return { allow: false, why: 'not_found' };
      return (await mayRead(mode.github, session, repository))
        ? { allow: true, viewer: session.login }
        : { allow: false, why: 'not_found' };
    },
    async list(request) {
      if (mode.kind === 'local') {
        if (!isLocal(request)) return { allow: false, why: 'not_local' };
        return { allow: true, viewer: undefined, sees: () => Promise.resolve(true), local: true };
      }
      const { github } = mode;
      if (github === undefined) return { allow: false, why: 'no_login' };
      const session = await sessions.find(cookie(request, cookies.session));
      if (session === null) return { allow: false, why: 'sign_in' };
      const sees = (repository: RepoRef): Promise<boolean> => mayRead(github, session, repository);
      return { allow: true, viewer: session.login, sees, local: false };
    },
  };
}
