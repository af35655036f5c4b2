import { CofferdamError } from '../domain/errors.ts';
import type { Transport } from './environment.ts';
import type { GitOutcome } from './git.ts';

export interface TransportOptions {
  url: string;
  /** Value of the Authorization header. */
  authorization?: string | undefined;
  /** Plain http is for a GitHub Enterprise host that is configured so, and for tests. */
  allowHttp?: boolean | undefined;
  /** Only for a path that the operator named. */
  allowFile?: boolean | undefined;
  caFile?: string | undefined;
}

/**
 * The one transport that a call to this URL may use.
 * Errors: `config` for a URL with credentials, or a protocol that is not allowed.
 */
export function transportFor(options: TransportOptions): Transport {
  const op = 'git.transportFor';
  const url = URL.canParse(options.url) ? new URL(options.url) : undefined;
  const protocol = url?.protocol.slice(0, -1);
  const allowed =
    protocol === 'https' ||
    (protocol === 'http' && options.allowHttp === true) ||
    (protocol === 'file' && options.allowFile === true);
  if (!url || !allowed) {
    throw new CofferdamError('config', op, `git may not use this remote (${protocol ?? 'no URL'}); https is expected`);
  }
  if (url.username !== '' || url.password !== '') {
    throw new CofferdamError('config', op, 'the remote URL carries a credential; configure the App instead');
  }
  if (protocol === 'file') return { protocol };
  return {
    protocol,
    origin: `${url.origin}/`,
    ...(options.authorization === undefined ? {} : { authorization: options.authorization }),
    ...(options.caFile === undefined ? {} : { caFile: options.caFile }),
  };
}

export type RemoteFailure =
  'auth' | 'not_found' | 'redirect' | 'missing_ref' | 'no_space' | 'bad_objects' | 'unreachable' | 'timeout' | 'other';

// git has no other interface than its (untranslated, LC_ALL=C) messages. Only its own lines count: `remote: …` is the
// other side's text. First match wins.
const signs: readonly (readonly [RegExp, RemoteFailure])[] = [
  [/^(?:fatal|error): .*(?:could not read Username|could not read Password|Authentication failed)/m, 'auth'],
  [/^(?:fatal|error): .*returned error: (?:401|403)\b/m, 'auth'],
  [/^(?:fatal|error): .*returned error: 30\d\b/m, 'redirect'],
  [
    /^(?:fatal|error): (?:.*repository '.*' not found|.*returned error: 404\b|.*does not appear to be a git repo)/m,
    'not_found',
  ],
  [/^(?:fatal|error): (?:.*couldn't find remote ref|.*not our ref)/m, 'missing_ref'],
  [/No space left on device|Disk quota exceeded|unable to write file|File too large/, 'no_space'],
  [/^(?:fatal|error): (?:fsck error|.*object [0-9a-f]{40,64}: \w+:)/m, 'bad_objects'],
  [/^(?:fatal|error): .*(?:Could not resolve host|Failed to connect|Connection refused|timed out|SSL)/m, 'unreachable'],
];

/** Why a call to a remote failed. */
export function remoteFailure(outcome: GitOutcome): RemoteFailure {
  if (outcome.end === 'timeout') return 'timeout';
  return signs.find(([sign]) => sign.test(outcome.stderr))?.[1] ?? 'other';
}
