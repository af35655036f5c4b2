/**
 * Signed downloads: an allowed read was answered with a redirect to a place that is known beforehand. Exactly that address
 * may be asked for, once, for a short time.
 */
import { GITHUB_ASSETS, isGithubHost } from '../policy/egress/github.ts';
import { canonicalPath } from '../policy/egress/path.ts';

export interface Redirects {
  /** An answer of `from` to a request that was allowed named this location. */
  offer(from: string, location: string | undefined): void;
  /** May exactly this be asked for? */
  has(host: string, path: string): boolean;
  /** It was asked for. */
  use(host: string, path: string): void;
}

const VALID_MS = 60_000;
const MAX_OPEN = 256;

export function createRedirects(now: () => number = () => performance.now()): Redirects {
  const open = new Map<string, number>();
  const key = (host: string, path: string): string => `${host} ${path}`;
  return {
    offer(from, location) {
      const url = location === undefined ? null : URL.parse(location);
      if (!isGithubHost(from) || url?.protocol !== 'https:' || url.port !== '' || url.username !== '') return;
      const path = canonicalPath(url.pathname + url.search);
      if (!path.ok || !GITHUB_ASSETS.includes(url.hostname)) return;
      if (open.size >= MAX_OPEN) open.delete(open.keys().next().value ?? '');
      open.set(key(url.hostname, path.path + path.query), now() + VALID_MS);
    },
    has: (host, path) => (open.get(key(host, path)) ?? 0) > now(),
    use: (host, path) => void open.delete(key(host, path)),
  };
}
