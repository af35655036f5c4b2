/**
 * Checks an audit file offline. Trust assumptions: the file and the seal beside it are hostile until proven otherwise;
 * only the public key that the caller brings is trusted. The file is read as a stream, lines are bounded.
 */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { AuditEvent } from '../domain/audit.ts';
import { CofferdamError } from '../domain/errors.ts';
import type { Digest, RunId } from '../domain/ids.ts';
import { runOfFile } from './file-name.ts';
import { digestOf, encodeLine, GENESIS, lineHash, MAX_LINE_BYTES } from './chain.ts';
import { parseSeal, signatureValid } from './seal.ts';

/** `valid`: chain, seal and signature; `unsigned`: chain and seal agree, no key to check the signature; `unsealed`: the chain is whole but has no seal; `broken`: see `problem`. */
export type VerifyVerdict = 'valid' | 'unsigned' | 'unsealed' | 'broken';

export interface VerifyResult {
  verdict: VerifyVerdict;
  lines: number;
  runId?: RunId;
  head?: Digest;
  /** The first thing that is wrong; `line` counts from 1. */
  problem?: { line: number; message: string };
  /** Hashes of the lines that carry a checkpoint (`git.commit`): what a commit's trailer must name. */
  checkpoints: Digest[];
  subject?: Record<string, unknown>;
}

/** Exit codes of `cofferdam verify`. */
export const VERIFY_EXIT: Record<VerifyVerdict, number> = { valid: 0, broken: 1, unsigned: 3, unsealed: 4 };

interface Walk {
  lines: number;
  prev: string;
  /** Whose lines these must be: as asked for, else as the first one says. */
  of?: RunId | undefined;
  runId?: RunId;
  mono: number;
  checkpoints: Digest[];
  problem?: { line: number; message: string };
}

/** Yields each line's bytes; content that does not end in a newline yields its rest with `open: true`. */
async function* readLines(content: AsyncIterable<Uint8Array>): AsyncGenerator<{ bytes: Buffer; open: boolean }> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of content) {
    rest = Buffer.concat([rest, chunk]);
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      yield { bytes: rest.subarray(0, end), open: false };
      rest = rest.subarray(end + 1);
    }
    if (rest.length > MAX_LINE_BYTES) break;
  }
  if (rest.length > 0) yield { bytes: rest, open: true };
}

function checkLine(walk: Walk, bytes: Buffer, open: boolean): string | null {
  if (bytes.length > MAX_LINE_BYTES) return 'the line is too long';
  if (open) return 'the last line is cut off';
  const text = bytes.toString('utf8');
  if (!Buffer.from(text, 'utf8').equals(bytes)) return 'the line is not valid UTF-8';
  let event: AuditEvent;
  try {
    const parsed = AuditEvent.safeParse(JSON.parse(text));
    if (!parsed.success) return `not an audit event: ${parsed.error.issues[0]?.path.join('.') ?? 'unknown field'}`;
    event = parsed.data;
  } catch {
    return 'not JSON';
  }
  // The canonical text is compared too, so that duplicate keys, spaces and extra fields cannot hide in a line.
  if (encodeLine(event) !== text) return 'the line is not in canonical form';
  if (event.seq !== walk.lines) return `sequence number ${event.seq}, expected ${walk.lines}`;
  if (event.prev !== walk.prev)
    return `does not follow from line ${walk.lines}: one of the two is not as it was written`;
  if (event.runId !== (walk.of ?? event.runId)) return `belongs to run ${event.runId}, not to ${walk.of}`;
  if (event.mono < walk.mono) return 'monotonic time runs backwards';
  walk.of = event.runId;
  walk.runId = event.runId;
  walk.mono = event.mono;
  walk.prev = lineHash(bytes);
  if (event.type === 'git.commit') walk.checkpoints.push(digestOf(walk.prev));
  return null;
}

async function walkLines(content: AsyncIterable<Uint8Array>, of: RunId | undefined): Promise<Walk> {
  const walk: Walk = { lines: 0, prev: GENESIS, mono: 0, checkpoints: [], of };
  for await (const { bytes, open } of readLines(content)) {
    const message = checkLine(walk, bytes, open);
    if (message !== null) {
      walk.problem = { line: walk.lines + 1, message };
      break;
    }
    walk.lines += 1;
  }
  return walk;
}

/** More than any seal has. */
const MAX_SEAL_BYTES = 1_048_576;

/** The text beside the file; null when there is none. */
async function readSeal(file: string): Promise<string | null> {
  try {
    const { size } = await stat(file);
    // What is too large is no seal; it is not read.
    return size > MAX_SEAL_BYTES ? '' : await readFile(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new CofferdamError('usage', 'audit.verify', `cannot read ${file}`, cause);
  }
}

/**
 * `verifyAudit` for a file and the seal beside it. A file that is named after a run must be of that run: two files that changed
 * places, each with its seal, are whole. Errors: `usage` when one of them cannot be read.
 */
export async function verifyAuditFile({ file, key }: { file: string; key?: string }): Promise<VerifyResult> {
  const seal = await readSeal(`${file}.seal`);
  try {
    const runId = runOfFile(file);
    return await verifyAudit({ content: createReadStream(file), seal, runId, ...(key === undefined ? {} : { key }) });
  } catch (cause) {
    if (cause instanceof CofferdamError) throw cause;
    throw new CofferdamError('usage', 'audit.verify', `cannot read ${file}`, cause);
  }
}

/** Recomputes the chain, compares it with the seal and checks the seal's signature with `key` when one is given. `runId`: whose record it must be. */
export async function verifyAudit(options: {
  content: AsyncIterable<Uint8Array>;
  seal: string | null;
  runId?: RunId | undefined;
  key?: string;
}): Promise<VerifyResult> {
  const walk = await walkLines(options.content, options.runId);
  const base = {
    lines: walk.lines,
    checkpoints: walk.checkpoints,
    ...(walk.runId === undefined ? {} : { runId: walk.runId }),
    ...(walk.lines === 0 ? {} : { head: digestOf(walk.prev) }),
  };
  const broken = (line: number, message: string): VerifyResult => ({
    ...base,
    verdict: 'broken',
    problem: { line, message },
  });
  if (walk.problem) return broken(walk.problem.line, walk.problem.message);
  if (walk.lines === 0) return broken(1, 'the file is empty');
  if (options.seal === null) return { ...base, verdict: 'unsealed' };
  const sealed = parseSeal(options.seal);
  if (sealed === undefined) return broken(walk.lines, 'the seal is not readable');
  const { seal, body } = sealed;
  if (body.runId !== walk.runId) return broken(1, `the seal belongs to run ${body.runId}`);
  if (body.count !== walk.lines)
    return broken(
      Math.min(body.count, walk.lines) + 1,
      `the seal counts ${body.count} lines, the file has ${walk.lines}`,
    );
  if (body.head !== digestOf(walk.prev)) return broken(walk.lines, 'the last line is not the one that was sealed');
  if (options.key === undefined) return { ...base, verdict: 'unsigned', subject: body.subject };
  if (!signatureValid(seal, readKey(options.key))) return broken(walk.lines, 'the seal was not signed by this key');
  return { ...base, verdict: 'valid', subject: body.subject };
}

function readKey(pem: string): KeyObject {
  try {
    return createPublicKey(pem);
  } catch (cause) {
    throw new CofferdamError('usage', 'audit.verify', 'the key is not a public key in PEM form', cause);
  }
}
