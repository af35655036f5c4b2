import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createTransport } from '../../src/github/transport.ts';

interface Host {
  server: Server;
  origin: string;
  seen: {
    method: string | undefined;
    url: string | undefined;
    authorization: string | undefined;
    cookie: string | undefined;
  }[];
  answer: (request: IncomingMessage, response: ServerResponse) => void;
}

async function host(): Promise<Host> {
  const one: Partial<Host> = { seen: [] };
  const server = createServer((request, response) => {
    const { authorization, cookie } = request.headers;
    one.seen?.push({ method: request.method, url: request.url, authorization, cookie });
    one.answer?.(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  one.server = server;
  one.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return one as Host;
}

let github: Host;
let other: Host;
const headers = { authorization: 'token canary', cookie: 'canary', accept: 'application/json' };

beforeAll(async () => {
  [github, other] = await Promise.all([host(), host()]);
});
afterAll(() => {
  for (const { server } of [github, other]) {
    server.closeAllConnections();
    server.close();
  }
});
beforeEach(() => {
  github.seen.length = 0;
  other.seen.length = 0;
  github.answer = (_, response) => response.writeHead(200).end('{}');
  other.answer = (_, response) => response.writeHead(200).end('log');
});

function transport(patch: { writeGapMs?: number } = {}) {
  return createTransport({ baseUrl: `${github.origin}/api/v3`, writeGapMs: 0, backoffMs: 1, maxWaitMs: 50, ...patch });
}

function redirect(to: string, status = 302): Host['answer'] {
  return (request, response) => {
    if (request.url?.includes('/from') === true) response.writeHead(status, { location: to }).end();
    else response.writeHead(200).end('{}');
  };
}

describe('the guard', () => {
  it.each([
    ['another host', () => `${other.origin}/api/v3/x`],
    ['the public API', () => 'https://api.github.com/app'],
    ['another path', () => `${github.origin}/login/oauth/access_token`],
    ['a path that begins alike', () => `${github.origin}/api/v3evil/x`],
    ['a way out of the path', () => `${github.origin}/api/v3/../x`],
    ['a user in the URL', () => `${github.origin.replace('//', '//a@')}/api/v3/x`],
    ['another protocol', () => `${github.origin.replace('http:', 'https:')}/api/v3/x`],
  ])('refuses %s', async (_name, url) => {
    await expect(transport()(url(), { headers })).rejects.toMatchObject({ kind: 'foreign_host' });
    expect([...github.seen, ...other.seen]).toEqual([]);
  });

  it('follows a redirect to another host once, without credentials', async () => {
    github.answer = redirect(`${other.origin}/logs`);
    const response = await transport()(`${github.origin}/api/v3/from`, { headers });
    expect(await response.text()).toBe('log');
    expect(other.seen).toEqual([{ method: 'GET', url: '/logs', authorization: undefined, cookie: undefined }]);
  });

  it.each([
    ['a write to another host', 'POST', () => `${other.origin}/x`],
    ['a deletion to another host', 'DELETE', () => `${other.origin}/x`],
    ['a file', 'GET', () => 'file:///etc/passwd'],
    ['nonsense', 'GET', () => 'http://'],
  ])('does not follow %s', async (_name, method, to) => {
    github.answer = redirect(to(), 307);
    await expect(transport()(`${github.origin}/api/v3/from`, { method, headers })).rejects.toMatchObject({
      kind: 'foreign_host',
    });
    expect(other.seen).toEqual([]);
  });

  it('does not follow a second redirect', async () => {
    github.answer = redirect(`${other.origin}/logs`);
    other.answer = (_, response) => response.writeHead(302, { location: `${other.origin}/again` }).end();
    await expect(transport()(`${github.origin}/api/v3/from`, { headers })).rejects.toMatchObject({
      kind: 'foreign_host',
    });
    expect(other.seen).toHaveLength(1);
  });

  it('follows the new name of a repository with credentials and body', async () => {
    github.answer = redirect('/api/v3/repositories/1/to', 307);
    await transport()(`${github.origin}/api/v3/from`, { method: 'PATCH', body: '{}', headers });
    expect(github.seen.map(({ method, url }) => `${method} ${url}`)).toEqual([
      'PATCH /api/v3/from',
      'PATCH /api/v3/repositories/1/to',
    ]);
    expect(github.seen[1]?.authorization).toBe('token canary');
  });
});

describe('patience', () => {
  const statuses = async (list: number[], method: string, extra = {}) => {
    const left = [...list];
    github.answer = (_, response) => response.writeHead(left.shift() ?? 200, extra).end('{}');
    return (await transport()(`${github.origin}/api/v3/x`, { method })).status;
  };
  it.each([
    ['GET', [500, 502, 503], 200, 4],
    ['GET', [500, 500, 500, 500], 500, 4],
    ['PATCH', [502], 200, 2],
    ['DELETE', [502], 200, 2],
    ['POST', [502], 502, 1],
    ['GET', [404], 404, 1],
    ['POST', [422], 422, 1],
    ['POST', [403], 403, 1],
  ])('%s answered %j ends with %i after %i calls', async (method, list, last, count) => {
    expect(await statuses(list, method)).toBe(last);
    expect(github.seen).toHaveLength(count);
  });

  it('repeats a limited call after the time GitHub names, when that is short', async () => {
    expect(await statuses([403, 429], 'POST', { 'retry-after': '0' })).toBe(200);
    expect(await statuses([429], 'POST', { 'retry-after': '900' })).toBe(429);
    expect(await statuses([403], 'POST', { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': '99999999999' })).toBe(
      403,
    );
  });

  it('leaves a gap between writes', async () => {
    const times: number[] = [];
    github.answer = (_, response) => {
      times.push(performance.now());
      response.writeHead(200).end('{}');
    };
    const send = transport({ writeGapMs: 120 });
    await Promise.all([1, 2, 3].map(() => send(`${github.origin}/api/v3/x`, { method: 'POST' })));
    // Generous below: only the order of magnitude tells a gap from none.
    expect((times[2] ?? 0) - (times[0] ?? 0)).toBeGreaterThan(100);
  });

  it('ends with its signal', async () => {
    github.answer = (_, response) => response.writeHead(500).end();
    const controller = new AbortController();
    controller.abort();
    await expect(transport()(`${github.origin}/api/v3/x`, { signal: controller.signal })).rejects.toThrow();
  });
});
