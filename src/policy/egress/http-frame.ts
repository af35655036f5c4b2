/**
 * A strict reader of HTTP/1 request framing. It stands in front of the server's parser, so that a request goes on only
 * where two independent readers agree on where it begins and ends.
 *
 * Trust: every byte is hostile. The grammar of RFC 9112 without its leniencies: CRLF only, single spaces, no folding, no
 * chunk extensions, no trailers, no empty lines before a request.
 */
export interface ParsedHead {
  method: string;
  target: string;
  version: '1.0' | '1.1';
  /** Names and values in turn. */
  rawHeaders: string[];
}

export type HeadResult = { ok: true; head: ParsedHead } | { ok: false; what: string };

/** Bytes of a request line with its headers. */
export const MAX_HEAD = 16_384;
const MAX_CHUNK_LINE = 18;
const REQUEST_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([\x21-\x7e]{1,8192}) HTTP\/(1\.[01])$/;
const HEADER_LINE =
  /^([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*$/;

/** `bytes` ends with the empty line. */
export function parseHead(bytes: Uint8Array): HeadResult {
  const lines = Buffer.from(bytes).toString('latin1').split('\r\n');
  const [first = '', ...rest] = lines.slice(0, -2);
  const start = REQUEST_LINE.exec(first);
  if (!start) return { ok: false, what: 'request line' };
  const rawHeaders: string[] = [];
  for (const line of rest) {
    const header = HEADER_LINE.exec(line);
    if (!header) return { ok: false, what: 'header line' };
    rawHeaders.push(header[1] ?? '', header[2] ?? '');
  }
  const version = start[3] === '1.0' ? '1.0' : '1.1';
  return { ok: true, head: { method: start[1] ?? '', target: start[2] ?? '', version, rawHeaders } };
}

/** Index behind the empty line that ends a head, or -1. A lone CR or LF before it can be told at once. */
export function endOfHead(bytes: Buffer): number | 'bare' {
  const end = bytes.indexOf('\r\n\r\n');
  const head = end === -1 ? bytes : bytes.subarray(0, end);
  for (let at = head.indexOf(10); at !== -1; at = head.indexOf(10, at + 1)) {
    if (at === 0 || head[at - 1] !== 13) return 'bare';
  }
  return end === -1 ? -1 : end + 4;
}

type Body = { kind: 'none' } | { kind: 'length'; left: number } | { kind: 'chunked' };

function valuesOf({ rawHeaders }: ParsedHead, wanted: string): string[] {
  return rawHeaders.filter((_value, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === wanted);
}

/** The one expectation that there is; the server answers every other by itself, and nobody would have judged it. */
function isExpected(head: ParsedHead): boolean {
  const values = valuesOf(head, 'expect');
  return values.length === 0 || (values.length === 1 && values[0]?.toLowerCase() === '100-continue');
}

/** Framing of a head: exactly one way to read it, or a reason. */
function bodyOf(head: ParsedHead): Body | string {
  const lengths = valuesOf(head, 'content-length');
  const codings = valuesOf(head, 'transfer-encoding');
  if (lengths.length + codings.length > 1) return 'framing twice';
  if (codings[0] !== undefined) {
    return codings[0].toLowerCase() === 'chunked' && head.version === '1.1' ? { kind: 'chunked' } : 'Transfer-Encoding';
  }
  if (lengths[0] === undefined) return { kind: 'none' };
  if (!/^(?:0|[1-9]\d{0,14})$/.test(lengths[0])) return 'Content-Length';
  return lengths[0] === '0' ? { kind: 'none' } : { kind: 'length', left: Number(lengths[0]) };
}

/** The head announces no body, in no way. */
export function hasNoBody(head: ParsedHead): boolean {
  const body = bodyOf(head);
  return typeof body === 'object' && body.kind === 'none';
}

/** What a piece of the stream was: how many bytes of it are fine, and what is wrong with the next one. */
export interface Framed {
  accepted: number;
  heads: number;
  violation?: { what: string; tooLarge: boolean };
}

/**
 * Follows the requests of one connection. Bytes of a head are accepted when all of it is there and well formed, bytes of
 * a body at once.
 */
export class RequestFramer {
  #state: 'head' | 'length' | 'size' | 'data' | 'dataEnd' | 'last' = 'head';
  #left = 0;
  /** Requests may follow one another; one that asks for another protocol ends that. */
  #raw = false;

  /** Waiting for a head, complete or not. */
  atHead(): boolean {
    return this.#state === 'head';
  }

  /** From now on bytes are another protocol's. */
  becomeRaw(): void {
    this.#raw = true;
  }

  /** `bytes`: all that was received and not accepted yet. */
  push(bytes: Buffer): Framed {
    const framed: Framed = { accepted: 0, heads: 0 };
    if (this.#raw) return { accepted: bytes.length, heads: 0 };
    while (framed.accepted < bytes.length) {
      const rest = bytes.subarray(framed.accepted);
      const step = this.#step(rest, framed);
      if (typeof step === 'object') return { ...framed, violation: step };
      if (step === 0) break;
      framed.accepted += step;
    }
    return framed;
  }

  /** Bytes that the next part takes of `rest`; 0 when it needs more. */
  #step(rest: Buffer, framed: Framed): number | { what: string; tooLarge: boolean } {
    if (this.#state === 'head') return this.#head(rest, framed);
    if (this.#state === 'length' || this.#state === 'data') return this.#count(rest);
    if (this.#state === 'size') return this.#size(rest);
    return this.#crlf(rest);
  }

  #head(rest: Buffer, framed: Framed): number | { what: string; tooLarge: boolean } {
    const end = endOfHead(rest);
    if (end === 'bare') return bad('bare line feed');
    if (end === -1) return rest.length > MAX_HEAD ? { what: 'head', tooLarge: true } : 0;
    if (end > MAX_HEAD) return { what: 'head', tooLarge: true };
    const parsed = parseHead(rest.subarray(0, end));
    if (!parsed.ok) return bad(parsed.what);
    // The only CONNECT of a connection is the one that was read before this.
    if (parsed.head.method === 'CONNECT') return bad('CONNECT inside a connection');
    const body = bodyOf(parsed.head);
    if (typeof body === 'string') return bad(body);
    if (!isExpected(parsed.head)) return bad('Expect');
    framed.heads += 1;
    if (body.kind === 'chunked') this.#state = 'size';
    if (body.kind === 'length') {
      this.#state = 'length';
      this.#left = body.left;
    }
    return end;
  }

  #count(rest: Buffer): number {
    const taken = Math.min(this.#left, rest.length);
    this.#left -= taken;
    if (this.#left === 0) this.#state = this.#state === 'length' ? 'head' : 'dataEnd';
    return taken;
  }

  #size(rest: Buffer): number | { what: string; tooLarge: boolean } {
    const end = rest.subarray(0, MAX_CHUNK_LINE).indexOf('\r\n');
    if (end === -1) return rest.length >= MAX_CHUNK_LINE || rest.includes(10) ? bad('chunk size') : 0;
    const digits = rest.subarray(0, end).toString('latin1');
    if (!/^[0-9A-Fa-f]{1,13}$/.test(digits)) return bad('chunk size');
    this.#left = Number.parseInt(digits, 16);
    this.#state = this.#left === 0 ? 'last' : 'data';
    return end + 2;
  }

  /** Behind a chunk's data, and behind the last chunk, where trailers would be. */
  #crlf(rest: Buffer): number | { what: string; tooLarge: boolean } {
    if (rest[0] !== 13 || (rest.length > 1 && rest[1] !== 10))
      return bad(this.#state === 'last' ? 'trailer' : 'chunk end');
    if (rest.length < 2) return 0;
    this.#state = this.#state === 'last' ? 'head' : 'size';
    return 2;
  }
}

function bad(what: string): { what: string; tooLarge: boolean } {
  return { what, tooLarge: false };
}
