import { createServer, type Server } from 'node:http';
import { existsSync } from 'node:fs';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { serveUploadPack, type UploadPackLimits } from '../../src/git/upload-pack.ts';
import { bare, client, commitAll, listen, project, run, workbench, write, type Workbench } from './fixture.ts';

let bench: Workbench;
let server: Server;
let url: string;
let repository: string;
let head: string;
let hidden: string;
let orphaned: string;

beforeAll(async () => {
  bench = workbench();
  const work = bench.path('work');
  project(work, { 'a.txt': 'one\n', 'dir/b.txt': 'two\n' });
  write(work, { 'a.txt': 'changed\n' });
  head = commitAll(work, 'second');
  run(['tag', '-a', 'v1', '-m', 'one'], { cwd: work });
  repository = bare(work, bench.path('mirror.git'));
  hidden = commitOn(repository, 'hidden');
  run(['update-ref', 'refs/cofferdam/secret', hidden], { cwd: repository });
  orphaned = commitOn(repository, 'orphaned');
  server = createServer((request, response) => {
    const [path = '', query = ''] = (request.url ?? '').split('?');
    const headers = Object.fromEntries(Object.entries(request.headers).map(([k, v]) => [k, v?.toString()]));
    const controller = new AbortController();
    response.once('close', () => {
      controller.abort();
    });
    void serveUploadPack({
      repository,
      request: { method: request.method ?? '', path: path.replace('/r.git', ''), query, headers, body: request },
      signal: controller.signal,
    }).then((answer) => {
      response.writeHead(answer.status, answer.headers);
      answer.body.pipe(response);
    });
  });
  url = `${await listen(server)}/r.git`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
  bench.remove();
});

function commitOn(gitDir: string, message: string): string {
  return run(['commit-tree', '-p', head, '-m', message, `${head}^{tree}`], { cwd: gitDir });
}

function ask(options: {
  method?: string;
  path?: string;
  query?: string;
  headers?: Record<string, string>;
  body?: Buffer;
  limits?: Partial<UploadPackLimits>;
}) {
  return serveUploadPack({
    repository,
    request: {
      method: options.method ?? 'POST',
      path: options.path ?? '/git-upload-pack',
      query: options.query ?? '',
      headers: { 'content-type': 'application/x-git-upload-pack-request', ...options.headers },
      body: Readable.from(options.body ? [options.body] : []),
    },
    ...(options.limits ? { limits: options.limits } : {}),
    signal: new AbortController().signal,
  });
}

const line = (text: string) => `${(text.length + 4).toString(16).padStart(4, '0')}${text}`;
const wantV0 = (id: string) => Buffer.from(`${line(`want ${id} ofs-delta agent=x\n`)}0000${line('done\n')}`);
const wantV2 = (id: string) => Buffer.from(`${line('command=fetch')}0001${line(`want ${id}\n`)}${line('done\n')}0000`);
const V2 = { 'git-protocol': 'version=2' };

describe('real clients', () => {
  test.each(['0', '1', '2'])('clone with protocol %s', async (version) => {
    const to = bench.path(`clone-${version}`);
    await client(['-c', `protocol.version=${version}`, 'clone', '-q', url, to]);
    expect(run(['rev-parse', 'HEAD'], { cwd: to })).toBe(head);
    expect(run(['for-each-ref', '--format=%(refname)'], { cwd: to })).not.toContain('cofferdam');
  });

  test('shallow, then deepened; filter is ignored; later fetch', async () => {
    const to = bench.path('shallow');
    await client(['clone', '-q', '--depth=1', '--filter=blob:none', url, to]);
    expect(run(['rev-list', '--count', 'HEAD'], { cwd: to })).toBe('1');
    await client(['fetch', '-q', '--unshallow'], to);
    expect(run(['rev-list', '--count', 'HEAD'], { cwd: to })).toBe('2');
    await client(['fetch', '-q', '--tags'], to);
    expect(existsSync(`${to}/dir/b.txt`)).toBe(true);
  });

  test('GIT-018 a push is refused with a text that the user sees', async () => {
    const to = bench.path('pusher');
    await client(['clone', '-q', url, to]);
    commitAll(to, 'mine');
    const pushed = client(['push', '-q', 'origin', 'HEAD:refs/heads/evil'], to);
    await expect(pushed).rejects.toThrow(/Pushing is not possible from the sandbox/);
    expect(run(['for-each-ref', '--format=%(refname)'], { cwd: repository })).not.toContain('evil');
  });
});

describe('GIT-018 only upload-pack is served', () => {
  test.each([
    ['POST', '/git-receive-pack', '', 403, 'git_push'],
    ['GET', '/info/refs', 'service=git-receive-pack', 403, 'git_push'],
    ['GET', '/info/refs', '', 404, 'path_not_allowed'],
    ['GET', '/info/refs', 'service=git-upload-pack&x=1', 404, 'path_not_allowed'],
    ['GET', '/info/refs', 'service=git-upload-archive', 404, 'path_not_allowed'],
    ['POST', '/git-upload-pack', 'x', 404, 'path_not_allowed'],
    ['POST', '/git-upload-archive', '', 404, 'path_not_allowed'],
    ['GET', '/HEAD', '', 404, 'path_not_allowed'],
    ['GET', '/objects/info/packs', '', 404, 'path_not_allowed'],
    ['GET', '/../other.git/info/refs', 'service=git-upload-pack', 404, 'path_not_allowed'],
    ['PUT', '/git-upload-pack', '', 404, 'path_not_allowed'],
  ])('%s %s?%s', async (method, path, query, status, reason) => {
    const answer = await ask({ method, path, query });
    expect(answer.status).toBe(status);
    expect(answer.decision).toMatchObject({ allow: false, reason });
  });
});

describe('GIT-019 hostile requests', () => {
  test.each([
    ['version 0', {}, wantV0],
    ['version 2', V2, wantV2],
  ])('wants in protocol %s: a tip is served, hidden and unreachable objects are not', async (_name, headers, body) => {
    const good = await ask({ headers, body: body(head) });
    expect(good.status).toBe(200);
    expect((await buffer(good.body)).includes('PACK')).toBe(true);
    const parent = await ask({ headers, body: body(run(['rev-parse', `${head}^`], { cwd: repository })) });
    expect((await buffer(parent.body)).includes('PACK')).toBe(true);
    for (const id of [hidden, orphaned, 'f'.repeat(40), run(['rev-parse', 'HEAD^{tree}'], { cwd: repository })]) {
      const bad = await ask({ headers, body: body(id) });
      expect(bad.decision).toMatchObject({ allow: false, reason: 'ref_not_allowed' });
      expect((await buffer(bad.body)).includes('PACK')).toBe(false);
    }
  });

  test('the control: git alone would hand out the hidden object in protocol 2', () => {
    const answer = run(['upload-pack', '--stateless-rpc', repository], {
      input: wantV2(hidden),
      env: { GIT_PROTOCOL: 'version=2' },
    });
    expect(answer).toContain('PACK');
  });

  test.each([
    ['a length that is no number', Buffer.from('zzzzwant')],
    ['a length beyond the end', Buffer.from('ffffwant x')],
    ['a reserved length', Buffer.from('0003')],
    ['a cut packet', wantV2('a'.repeat(40)).subarray(0, 30)],
    ['a want without a name', Buffer.from(line('want refs/heads/main\n'))],
    ['a want with a short name', Buffer.from(line('want abc\n'))],
    ['a body that is not gzip', Buffer.from('0000'), { 'content-encoding': 'gzip' }],
    ['an unknown encoding', Buffer.from('0000'), { 'content-encoding': 'br' }],
  ])('%s is malformed', async (_name, body, headers: Record<string, string> = {}) => {
    expect((await ask({ body, headers })).decision).toMatchObject({ allow: false, reason: 'malformed' });
  });

  test('another content type is refused', async () => {
    const answer = await ask({ headers: { 'content-type': 'text/plain' }, body: wantV0(head) });
    expect(answer.status).toBe(415);
  });

  test('a gzip body works, a gzip bomb does not', async () => {
    const gzip = { 'content-encoding': 'gzip' };
    const good = await ask({ headers: { ...V2, ...gzip }, body: gzipSync(wantV2(head)) });
    expect((await buffer(good.body)).includes('PACK')).toBe(true);
    const bomb = gzipSync(Buffer.alloc(20 * 2 ** 20, '0'));
    expect((await ask({ headers: gzip, body: bomb })).decision).toMatchObject({ allow: false, reason: 'too_large' });
  });

  test('protocol numbers that do not exist, and mixtures, end in one that does', async () => {
    for (const version of ['version=9', 'version=0:version=2', 'x'.repeat(10_000), 'version=2\nA=b']) {
      const answer = await ask({
        method: 'GET',
        path: '/info/refs',
        query: 'service=git-upload-pack',
        headers: { 'git-protocol': version },
      });
      expect(answer.status).toBe(200);
      expect((await buffer(answer.body)).toString()).toMatch(/^001e# service|^000eversion 2/);
    }
  });

  test('a repository that cannot be read is a status, not a broken body', async () => {
    const answer = await serveUploadPack({
      repository: bench.path('nothing.git'),
      request: {
        method: 'GET',
        path: '/info/refs',
        query: 'service=git-upload-pack',
        headers: {},
        body: Readable.from([]),
      },
      signal: new AbortController().signal,
    });
    expect(answer.status).toBe(500);
  });

  test('an aborted call ends its git', async () => {
    const controller = new AbortController();
    const body = new Readable({ read: () => undefined });
    const pending = serveUploadPack({
      repository,
      request: {
        method: 'POST',
        path: '/git-upload-pack',
        query: '',
        headers: { 'content-type': 'application/x-git-upload-pack-request' },
        body,
      },
      signal: controller.signal,
    });
    controller.abort();
    expect((await pending).status).toBe(400);
  });
});
