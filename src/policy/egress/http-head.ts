/**
 * Strictness on one HTTP/1 request head, and what of it is sent on.
 *
 * Trust: the head was read by a parser that refuses what the grammar forbids; here everything is refused that two correct
 * readers may still understand differently (framing, two hosts), and everything is dropped that is not the upstream's business.
 */
import type { DenyReason } from '../../domain/decision.ts';
import type { RegistryName } from '../../domain/policy.ts';
import { canonicalAuthority } from './host.ts';
import { registryHeaders } from './registry.ts';

export interface RequestHead {
  method: string;
  /** `1.0` or `1.1`. */
  version: string;
  /** Names and values in turn, as they came. */
  rawHeaders: readonly string[];
}

export type HeadVerdict = { ok: true; body: boolean } | { ok: false; reason: DenyReason; what: string };

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const MAX_HEADERS = 100;
/** Methods whose requests have no body anywhere; one that brings a body is a way to hide a second request. */
const BODILESS = new Set(['GET', 'HEAD']);

/** Checks framing and Host. `to`: where the connection goes; the Host header has to name exactly that. */
export function checkHead(head: RequestHead, to: { host: string; port: number; defaultPort: number }): HeadVerdict {
  const bad = (what: string, reason: DenyReason = 'malformed'): HeadVerdict => ({ ok: false, reason, what });
  const { rawHeaders } = head;
  if (head.version !== '1.1' && head.version !== '1.0') return bad('version');
  if (rawHeaders.length > 2 * MAX_HEADERS) return bad('too many headers', 'too_large');
  if (!rawHeaders.every((text, index) => (index % 2 === 0 ? TOKEN : VALUE).test(text))) return bad('header bytes');
  const hosts = valuesOf(rawHeaders, 'host');
  if (hosts.length !== 1) return bad('not exactly one Host', 'host_mismatch');
  const named = canonicalAuthority(hosts[0] ?? '', to.defaultPort);
  if (!named.ok || named.host !== to.host || named.port !== to.port) return bad('Host', 'host_mismatch');
  return framing(head);
}

function framing(head: RequestHead): HeadVerdict {
  const bad = (what: string): HeadVerdict => ({ ok: false, reason: 'malformed', what });
  const lengths = valuesOf(head.rawHeaders, 'content-length');
  const codings = valuesOf(head.rawHeaders, 'transfer-encoding');
  if (lengths.length > 1 || codings.length > 1 || (lengths.length > 0 && codings.length > 0))
    return bad('framing twice');
  if (lengths[0] !== undefined && !/^(?:0|[1-9]\d{0,14})$/.test(lengths[0])) return bad('Content-Length');
  if (codings[0] !== undefined && (codings[0].toLowerCase() !== 'chunked' || head.version === '1.0'))
    return bad('Transfer-Encoding');
  const body = codings.length > 0 || (lengths[0] ?? '0') !== '0';
  if (body && BODILESS.has(head.method)) return bad('a body where none belongs');
  return { ok: true, body };
}

/** Never sent on: connection-level, forwarding, method override, and every credential of the client. */
const DROPPED = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authorization',
  'proxy-authenticate',
  'te',
  'trailer',
  'upgrade',
  'transfer-encoding',
  'expect',
  'host',
  'http2-settings',
  'forwarded',
  'via',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-real-ip',
  'x-original-url',
  'x-rewrite-url',
  'x-http-method',
  'x-http-method-override',
  'x-method-override',
  'authorization',
  'cookie',
  'x-api-key',
  'x-auth-token',
  'private-token',
  'npm-otp',
  'max-forwards',
]);

/** What a request that only reads needs; each value is short. Everything else is a place to hide bytes in. */
const READ_ONLY = new Set([
  'accept',
  'accept-encoding',
  'accept-language',
  'cache-control',
  'pragma',
  'if-none-match',
  'if-modified-since',
  'if-range',
  'range',
  'user-agent',
  'content-length',
]);
const MAX_READ_VALUE = 256;

/** By these a client has an answer come in pieces, or in other bytes, in which a credential that a host echoes is not seen. */
const RESHAPING = ['accept-encoding', 'accept-charset', 'a-im', 'range', 'if-range'];

export interface OutgoingHeaders {
  rawHeaders: readonly string[];
  authority: string;
  /** Only the usual headers of a download, cut to size. */
  readOnly: boolean;
  /** Only what this ecosystem's clients send, in a fixed form. */
  registry?: RegistryName | undefined;
  /** What the gateway adds; the client's own header of this name goes. */
  credential?: { name: string; value: string };
  /** The answer is searched for a credential: it has to come whole and uncompressed. */
  whole?: boolean;
}

/** Headers for the upstream, Host first. */
export function outgoingHeaders(options: OutgoingHeaders): string[] {
  const { credential } = options;
  const headers = pairs(options.rawHeaders);
  const listed = hopByHop(options.rawHeaders);
  const replaced = new Set([
    ...(credential ? [credential.name.toLowerCase()] : []),
    ...(options.whole === true ? RESHAPING : []),
  ]);
  const kept = headers.filter(([name, value]) => {
    const lower = name.toLowerCase();
    if (DROPPED.has(lower) || replaced.has(lower) || (listed.has(lower) && lower !== 'content-length')) return false;
    return !options.readOnly || (READ_ONLY.has(lower) && value.length <= MAX_READ_VALUE);
  });
  const { registry } = options;
  if (registry !== undefined) return ['Host', options.authority, ...registryHeaders(registry, kept)];
  const added = credential ? [credential.name, credential.value] : [];
  const plain = options.whole === true ? ['Accept-Encoding', 'identity'] : [];
  return ['Host', options.authority, ...kept.flat(), ...added, ...plain];
}

/** DNS over HTTPS on an allowed host would be a resolver that nobody judges. */
export function isDnsOverHttps(rawHeaders: readonly string[]): boolean {
  return rawHeaders.some(
    (value, index) =>
      index % 2 === 1 &&
      /application\/(?:dns-message|dns-json)/i.test(value) &&
      /^(?:accept|content-type)$/i.test(rawHeaders[index - 1] ?? ''),
  );
}

const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'upgrade',
  'transfer-encoding',
  'alt-svc',
  'proxy-authenticate',
]);

/** Headers of an answer for the sandbox. */
export function incomingHeaders(rawHeaders: readonly string[]): string[] {
  const listed = hopByHop(rawHeaders);
  const kept: string[] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? '';
    const lower = name.toLowerCase();
    if (!HOP_BY_HOP.has(lower) && !listed.has(lower)) kept.push(name, rawHeaders[at + 1] ?? '');
  }
  return kept;
}

/** Names that `Connection` lists. */
function hopByHop(rawHeaders: readonly string[]): ReadonlySet<string> {
  return new Set(valuesOf(rawHeaders, 'connection').flatMap((value) => value.toLowerCase().split(/[\s,]+/)));
}

function pairs(raw: readonly string[]): [string, string][] {
  const all: [string, string][] = [];
  for (let at = 0; at < raw.length; at += 2) all.push([raw[at] ?? '', raw[at + 1] ?? '']);
  return all;
}

/** Every value of this name, which is in lower case. By index, not in pairs: this is done several times for each request. */
function valuesOf(rawHeaders: readonly string[], wanted: string): string[] {
  const values: string[] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? '';
    if (name.length === wanted.length && name.toLowerCase() === wanted) values.push(rawHeaders[at + 1] ?? '');
  }
  return values;
}
