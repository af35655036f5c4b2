/** Addresses that need no credential and expire, as GitHub gives out for logs. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { nowMs, type World } from './world.ts';

const LIFE_MS = 60_000;

function signature(world: World, what: string, until: number): string {
  return createHmac('sha256', world.appPrivateKey).update(`${what} ${until}`).digest('base64url');
}

export function signedPath(world: World, what: string): string {
  const until = nowMs(world) + LIFE_MS;
  return `/_/signed/${what}?until=${until}&sig=${signature(world, what, until)}`;
}

/** What the address names when it was signed here and has not expired. */
export function openSigned(world: World, url: URL): string | undefined {
  const what = /^\/_\/signed\/(.+)$/.exec(url.pathname)?.[1];
  const until = Number(url.searchParams.get('until'));
  if (what === undefined || !(until > nowMs(world))) return undefined;
  const wanted = Buffer.from(signature(world, what, until));
  const given = Buffer.from(url.searchParams.get('sig') ?? '');
  return wanted.length === given.length && timingSafeEqual(wanted, given) ? what : undefined;
}
