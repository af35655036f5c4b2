/**
 * How a field is redacted before it is written, by its declared class. Everything here may have been written by an attacker, who
 * wants a secret to stay, or the record to be empty: every expression is linear, and what is no secret is left as it was.
 */
import type { DataClass } from '../../domain/events/data-class.ts';
import { redactArguments, redactCommand } from './command-line.ts';
import { knownForms } from './known.ts';
import { MARK, maskTokens } from './mask.ts';
import { isSecretName } from './names.ts';

/** GitHub's tokens, whose length varies: some hold a whole JWT. */
const GITHUB_TOKEN = /\b(?:gh[pousr]_[a-z0-9_.-]{16,}|github_pat_[a-z0-9_]{16,})/gi;
const USERINFO = /\b([a-z][a-z0-9+.-]{0,20}:\/\/)([^\s/?#"'<>]{1,512})@/gi;
/** Someone's name, not a token: `git@`. */
const PLAIN_USER = /^[a-z][a-z0-9._-]{0,31}$/i;
const QUERY_PART = /(^|[?&;#])([\w.~%[\]-]{1,64})=([^&;#\s"'<>]+)/g;
const AUTHORIZATION = /\b((?:bearer|basic)\s{1,4})([A-Za-z0-9._~+/=-]{16,})/gi;

/** References stay readable: a value of this form is never searched. What has another form is no reference, but text. */
const HASH = /^(?:sha(?:256|512):)?[0-9a-f]{40,128}$/;
const ID = /^[A-Za-z0-9@_][A-Za-z0-9._:/@+~[\]=-]{0,255}$/;
const FACT = /^[a-z_.]{0,32}$/i;

/** No secret is shorter. */
const MIN_LENGTH = 8;

export interface FieldRedactor {
  /** A value of a class that is one text. */
  text: (dataClass: DataClass, value: string) => string;
  /** The arguments of one program. */
  argv: (values: readonly string[]) => string[];
}

/** `secrets`: those that the installation knows. They are taken out wherever they stand, in each of their encodings. */
export function createFieldRedactor(secrets: readonly string[]): FieldRedactor {
  const known = knownMask(secrets);
  const any = (text: string): string => {
    if (text.length < MIN_LENGTH) return text;
    return masked(maskTokens(known(text)));
  };
  const encoded = (text: string): string => {
    const plain = any(text);
    if (!plain.includes('%')) return plain;
    // A secret of which each character is escaped has no form of its own.
    const decoded = percentDecoded(plain);
    return known(decoded) === decoded && maskTokens(decoded) === decoded ? plain : MARK;
  };
  const query = (text: string): string => encoded(text.replace(QUERY_PART, hideSecretPart));
  const by: Record<DataClass, (text: string) => string> = {
    fact: (text) => (FACT.test(text) ? text : any(text)),
    hash: (text) => (HASH.test(text) ? text : any(text)),
    id: (text) => (ID.test(text) ? text.replace(GITHUB_TOKEN, MARK) : any(text)),
    host: encoded,
    url: query,
    query,
    argv: (text) => any(redactCommand(text)),
    command: (text) => any(redactCommand(text)),
    text: any,
    record: any,
  };
  return {
    text: (dataClass, value) => by[dataClass](value),
    argv: (values) => redactArguments(values).map(any),
  };
}

/** What is a secret by where it stands in a URL or after a scheme of authentication. */
function masked(text: string): string {
  let out = text.replace(GITHUB_TOKEN, MARK);
  if (out.includes('://')) {
    out = out.replace(USERINFO, (all, scheme: string, user: string) => {
      const colon = user.indexOf(':');
      if (colon >= 0) return `${scheme}${user.slice(0, colon)}:${MARK}@`;
      return PLAIN_USER.test(user) ? all : `${scheme}${MARK}@`;
    });
    if (out.includes('='))
      out = out.replace(QUERY_PART, (all, before: string, name: string) =>
        before === '' ? all : hideSecretPart(all, before, name),
      );
  }
  return out.replace(AUTHORIZATION, `$1${MARK}`);
}

function hideSecretPart(all: string, before: string, name: string): string {
  return isSecretName(percentDecoded(name)) ? `${before}${name}=${MARK}` : all;
}

function percentDecoded(text: string): string {
  return text.replaceAll(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** Replaces the known secrets, longest form first, so that no part of a longer one stays behind. */
function knownMask(secrets: readonly string[]): (text: string) => string {
  const { exact, folded } = knownForms(secrets);
  const base64 = secrets.map((secret) => Buffer.from(secret).toString('base64').replace(/=+$/, ''));
  const exactly = search([...exact.keys(), ...secrets, ...base64], 'g');
  // Also as a host's name, which is written in lower case whatever was asked for.
  const anyCase = search([...folded.keys(), ...secrets.map((secret) => secret.toLowerCase())], 'gi');
  return (text) => {
    let out = text;
    if (out.length >= exactly.shortest) out = out.replace(exactly.all, MARK);
    // A search that minds no case is several times slower than one in a text of one case.
    if (out.length >= anyCase.shortest && anyCase.one.test(out.toLowerCase())) out = out.replace(anyCase.all, MARK);
    return out;
  };
}

function search(forms: readonly string[], flags: string): { shortest: number; one: RegExp; all: RegExp } {
  const long = [...new Set(forms)].filter((form) => form.length >= MIN_LENGTH).sort((a, b) => b.length - a.length);
  // Nothing matches the empty list.
  const source = long.map((form) => form.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')).join('|') || '(?!)';
  return { shortest: long.at(-1)?.length ?? Infinity, one: new RegExp(source), all: new RegExp(source, flags) };
}
