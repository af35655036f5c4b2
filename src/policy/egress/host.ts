/**
 * The one canonicaliser of host names. CONNECT authority, SNI, Host header, certificate name and policy patterns all pass
 * through here, so that two of them can only be equal or different, never "equal for one reader".
 *
 * Trust: the input is hostile. Nothing is repaired except letter case and one trailing dot.
 */
import { domainToASCII } from 'node:url';

export type CanonicalHost = { ok: true; host: string } | { ok: false; reason: 'malformed' | 'ip_literal' };
export type CanonicalAuthority =
  { ok: true; host: string; port: number } | { ok: false; reason: 'malformed' | 'ip_literal' };

const LABEL = /^(?!-)[a-z0-9-]{1,63}(?<!-)$/;
const NUMBER = /^(?:\d+|0x[0-9a-f]*)$/;

/** Lower case, without one trailing dot; IP literals in any notation and everything that is not a host name are refused. */
export function canonicalHost(raw: string): CanonicalHost {
  if (raw.length === 0 || raw.length > 254) return { ok: false, reason: 'malformed' };
  if (looksLikeIpv6(raw)) return { ok: false, reason: 'ip_literal' };
  if (!/^[A-Za-z0-9.-]+$/.test(raw)) return { ok: false, reason: 'malformed' };
  const host = (raw.endsWith('.') ? raw.slice(0, -1) : raw).toLowerCase();
  const labels = host.split('.');
  // A name whose last label is a number is an IPv4 address to every URL parser (decimal, octal, hexadecimal, short forms).
  if (NUMBER.test(labels.at(-1) ?? '')) return { ok: false, reason: 'ip_literal' };
  if (host.length > 253 || !labels.every((label) => LABEL.test(label))) return { ok: false, reason: 'malformed' };
  // The IDNA step: a name in its ASCII form must be its own result, or another reader would see another name.
  if (domainToASCII(host) !== host) return { ok: false, reason: 'malformed' };
  return { ok: true, host };
}

function looksLikeIpv6(raw: string): boolean {
  return (
    /^\[[0-9A-Fa-f:.]+(?:%[0-9A-Za-z._~-]*)?\]$/.test(raw) ||
    /^[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(?:%[0-9A-Za-z._~-]*)?$/.test(raw)
  );
}

/** A port in strict decimal: no sign, space or leading zero, 1 to 65535. */
export function canonicalPort(raw: string): number | undefined {
  if (!/^[1-9]\d{0,4}$/.test(raw)) return undefined;
  const port = Number(raw);
  return port <= 65535 ? port : undefined;
}

/** `host:port`; the port may be left out only when `defaultPort` is given. */
export function canonicalAuthority(raw: string, defaultPort?: number): CanonicalAuthority {
  const bracketed = /^(\[[^\]]*\])(?::([^:]*))?$/.exec(raw);
  const plain = bracketed ?? /^([^:]*)(?::([^:]*))?$/.exec(raw);
  if (!plain) return { ok: false, reason: looksLikeIpv6(raw) ? 'ip_literal' : 'malformed' };
  const [, name = '', digits] = plain;
  const port = digits === undefined ? defaultPort : canonicalPort(digits);
  const host = canonicalHost(name);
  if (port === undefined) return { ok: false, reason: 'malformed' };
  return host.ok ? { ok: true, host: host.host, port } : host;
}

/**
 * A pattern of an allow list: an exact name, or `*.` and a suffix for exactly one label more
 * (`*.example.com` is neither `example.com` nor `a.b.example.com`).
 */
export function matchesAllow(pattern: string, host: string): boolean {
  if (!pattern.startsWith('*.')) return pattern === host;
  const suffix = pattern.slice(1);
  return host.endsWith(suffix) && host.length > suffix.length && !host.slice(0, -suffix.length).includes('.');
}

/** A pattern of a deny list: as above, but `*.` stands for any number of labels, since a denial that is too wide is safe. */
export function matchesDeny(pattern: string, host: string): boolean {
  if (!pattern.startsWith('*.')) return pattern === host;
  return host.endsWith(pattern.slice(1)) && host.length > pattern.length - 1;
}
