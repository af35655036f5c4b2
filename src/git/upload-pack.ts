import { PassThrough, Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { allow, deny, type Decision, type DenyReason } from '../domain/decision.ts';
import { collectTail, runGit, startGit, succeeded } from './git.ts';
import { packet, parsePackets, wantedIds } from './pkt-line.ts';
import type { RunningProcess } from './process.ts';

// Trust assumptions: the request is hostile, all of it. The repository is ours and read only. git itself checks wants in
// protocol 0 and 1, but protocol 2 hands out any object whose name is known: so wants are checked here for all of them.

export interface UploadPackRequest {
  method: string;
  /** What follows the repository's name: `/info/refs` or `/git-upload-pack`. */
  path: string;
  /** Without the question mark. */
  query: string;
  /** Names in lower case. */
  headers: Readonly<Record<string, string | undefined>>;
  body: Readable;
}

export interface UploadPackResponse {
  status: number;
  headers: Record<string, string>;
  body: Readable;
  /** For the audit: what was decided, before any byte is sent. */
  decision: Decision;
}

export interface UploadPackLimits {
  /** Of the request, after decompression. */
  requestBytes: number;
  timeoutMs: number;
  cpuSeconds: number;
  memoryBytes: number;
}

const UPLOAD_PACK_LIMITS: UploadPackLimits = {
  requestBytes: 8 * 2 ** 20,
  timeoutMs: 600_000,
  cpuSeconds: 300,
  memoryBytes: 2 * 2 ** 30,
};

export const PUSH_REFUSED =
  'Pushing is not possible from the sandbox. Leave your changes in the working tree (committed or not): ' +
  'when you are done they are collected, checked and published as one commit.\n';

const SERVICE = 'git-upload-pack';
const RULE = 'git proxy';
const VISIBLE = ['refs/heads', 'refs/tags', 'refs/pull'];

/**
 * Answers one smart-HTTP request for reading, from a bare repository: the advertisement or a pack. Anything else is
 * refused with a text that git shows to its user. Never rejects; the caller bounds the number of calls at one time.
 */
export async function serveUploadPack(options: {
  repository: string;
  /** Descriptors that git inherits, as 3 and up, for a repository that is reached through one of them. */
  inherit?: readonly number[] | undefined;
  request: UploadPackRequest;
  limits?: Partial<UploadPackLimits>;
  signal: AbortSignal;
}): Promise<UploadPackResponse> {
  const work: Work = { ...options, limits: { ...UPLOAD_PACK_LIMITS, ...options.limits } };
  const { method, path, query } = options.request;
  const route = `${method} ${path}${query === '' ? '' : `?${query}`}`;
  if (route === `GET /info/refs?service=${SERVICE}`) return advertise(work);
  if (route === `POST /${SERVICE}`) return upload(work);
  options.request.body.resume();
  if (path === '/git-receive-pack' || query === 'service=git-receive-pack')
    return refuse('git_push', 403, PUSH_REFUSED);
  return refuse('path_not_allowed', 404, 'Only fetching over the smart HTTP protocol is served here.\n');
}

interface Work {
  repository: string;
  inherit?: readonly number[] | undefined;
  request: UploadPackRequest;
  limits: UploadPackLimits;
  signal: AbortSignal;
}

function refuse(reason: DenyReason, status: number, text: string): UploadPackResponse {
  const headers = { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-cache' };
  return { status, headers, body: Readable.from([Buffer.from(text)]), decision: deny(RULE, reason) };
}

async function advertise(work: Work): Promise<UploadPackResponse> {
  work.request.body.resume();
  const version = protocolVersion(work.request.headers['git-protocol']);
  const prefix = version === 2 ? undefined : Buffer.concat([packet(`# service=${SERVICE}\n`), Buffer.from('0000')]);
  const child = start(work, ['--advertise-refs'], version);
  child.stdin.end();
  return answer(work, child, { type: `application/x-${SERVICE}-advertisement`, prefix });
}

async function upload(work: Work): Promise<UploadPackResponse> {
  const { headers } = work.request;
  if (headers['content-type'] !== `application/x-${SERVICE}-request`) {
    work.request.body.resume();
    return refuse('malformed', 415, 'A fetch request was expected.\n');
  }
  const body = await readBody(work);
  if (body === 'too_large') return refuse('too_large', 413, 'The fetch request is too large.\n');
  const packets = body === undefined ? undefined : parsePackets(body);
  const wants = packets === undefined ? undefined : wantedIds(packets);
  if (body === undefined || wants === undefined) return refuse('malformed', 400, 'The fetch request is malformed.\n');
  if (!(await wantable(work, wants)))
    return refuse('ref_not_allowed', 403, 'A wanted object is on no visible branch.\n');
  const child = start(work, [], protocolVersion(headers['git-protocol']));
  child.stdin.end(body);
  return answer(work, child, { type: `application/x-${SERVICE}-result` });
}

/** The highest version that the client names, of those that git speaks. */
function protocolVersion(header: string | undefined): 0 | 1 | 2 {
  const items = (header ?? '').slice(0, 256).split(':');
  if (items.includes('version=2')) return 2;
  return items.includes('version=1') ? 1 : 0;
}

function start(work: Work, flags: string[], version: 0 | 1 | 2): RunningProcess {
  return startGit({
    args: ['upload-pack', '--strict', '--stateless-rpc', ...flags, work.repository],
    env: version === 0 ? {} : { GIT_PROTOCOL: `version=${version}` },
    config: [
      // The gateway may run as another user than the one that made the mirror.
      ['safe.directory', work.inherit ? '*' : work.repository],
      ['transfer.hideRefs', 'refs/'],
      ...VISIBLE.map((prefix): [string, string] => ['transfer.hideRefs', `!${prefix}`]),
      ['uploadpack.allowTipSHA1InWant', 'false'],
      ['uploadpack.allowReachableSHA1InWant', 'false'],
      ['uploadpack.allowAnySHA1InWant', 'false'],
      ['uploadpack.allowRefInWant', 'false'],
      ['uploadpack.allowFilter', 'false'],
      ['uploadpack.advertiseBundleURIs', 'false'],
      ['transfer.advertiseObjectInfo', 'false'],
    ],
    limits: { cpuSeconds: work.limits.cpuSeconds, memoryBytes: work.limits.memoryBytes },
    inherit: work.inherit,
  });
}

async function readBody(work: Work): Promise<Buffer | 'too_large' | undefined> {
  const encoding = work.request.headers['content-encoding'] ?? 'identity';
  if (!['identity', 'gzip', 'x-gzip'].includes(encoding)) return undefined;
  const parts: Buffer[] = [];
  let size = 0;
  const seen = { tooLarge: false };
  const cap = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      size += chunk.length;
      seen.tooLarge = size > work.limits.requestBytes;
      if (seen.tooLarge) {
        done(new Error('request too large'));
        return;
      }
      parts.push(chunk);
      done();
    },
  });
  cap.resume();
  const signal = AbortSignal.any([work.signal, AbortSignal.timeout(work.limits.timeoutMs)]);
  try {
    if (encoding === 'identity') await pipeline(work.request.body, cap, { signal });
    else await pipeline(work.request.body, createGunzip(), cap, { signal });
    return Buffer.concat(parts);
  } catch {
    return seen.tooLarge ? 'too_large' : undefined;
  }
}

/** Every wanted object is a visible tip, or a commit reachable from one. */
async function wantable(work: Work, wants: readonly string[]): Promise<boolean> {
  if (wants.length === 0) return true;
  const common = {
    op: 'git.serveUploadPack',
    gitDir: work.repository,
    inherit: work.inherit,
    config: [['safe.directory', '*']] as const,
    limits: { cpuSeconds: work.limits.cpuSeconds, memoryBytes: work.limits.memoryBytes },
    timeoutMs: work.limits.timeoutMs,
    signal: work.signal,
  };
  const args = ['for-each-ref', '--format=%(objectname) %(*objectname)', ...VISIBLE];
  const tips = await runGit({ ...common, args, maxOutputBytes: 256 * 2 ** 20 });
  if (!succeeded(tips)) return false;
  const visible = new Set(tips.stdout.toString('latin1').split(/\s+/));
  const others = wants.filter((want) => !visible.has(want));
  if (others.length === 0) return true;
  // A branch that moved since the advertisement: its old tip is fine as long as it is still an ancestor of one.
  const types = await runGit({ ...common, args: ['cat-file', '--batch-check=%(objecttype)'], stdin: lines(others) });
  if (!succeeded(types) || types.stdout.toString('latin1') !== 'commit\n'.repeat(others.length)) return false;
  const excluded = [...visible].filter((id) => id !== '').map((id) => `^${id}`);
  const reach = ['rev-list', '--max-count=1', '--stdin'];
  const unreachable = await runGit({ ...common, args: reach, stdin: lines([...others, ...excluded]) });
  return succeeded(unreachable) && unreachable.stdout.length === 0;
}

function lines(items: readonly string[]): string {
  return items.map((item) => `${item}\n`).join('');
}

/** Waits for the first bytes, so that a failure before them is a status and not a broken body. */
async function answer(
  work: Work,
  child: RunningProcess,
  reply: { type: string; prefix?: Buffer | undefined },
): Promise<UploadPackResponse> {
  const body = new PassThrough();
  // The caller may hang up at any time; then the body's error is nobody's business.
  body.on('error', () => undefined);
  const stop = (error: Error) => {
    child.kill();
    body.destroy(error);
  };
  const onAbort = () => {
    stop(new Error('stopped'));
  };
  work.signal.addEventListener('abort', onAbort, { once: true });
  if (work.signal.aborted) onAbort();
  const timer = setTimeout(() => {
    stop(new Error('took too long'));
  }, work.limits.timeoutMs);
  collectTail(child.stderr, 4096);
  body.once('close', () => {
    clearTimeout(timer);
    work.signal.removeEventListener('abort', onAbort);
    child.kill();
  });
  const first = await firstChunk(child);
  if (first === undefined || body.destroyed) {
    body.destroy();
    return refuse('malformed', 500, 'The repository could not be read.\n');
  }
  if (reply.prefix) body.write(reply.prefix);
  body.write(first);
  pipeline(child.stdout, body).catch(() => {
    child.kill();
  });
  const headers = { 'content-type': reply.type, 'cache-control': 'no-cache' };
  return { status: 200, headers, body, decision: allow(RULE) };
}

function firstChunk(child: RunningProcess): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const onData = (chunk: Buffer) => {
      child.stdout.pause();
      child.stdout.off('data', onData);
      resolve(chunk);
    };
    child.stdout.on('data', onData);
    void child.exited.then(() => {
      resolve(undefined);
    });
  });
}
