import { createServer, get, request, type ClientRequest } from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { AuditEntry } from '../../src/domain/audit.ts';
import { createGitProxy } from '../../src/gateway/git-proxy.ts';
import { bare, listen, project, workbench, type Workbench } from '../git/fixture.ts';

let bench: Workbench;
beforeAll(() => {
  bench = workbench();
});
afterAll(() => bench.remove());

test('NET-028 eight packs at one time: the ninth request is refused and recorded, and is served when one has ended', async () => {
  const work = bench.path('work');
  project(work, { 'a.txt': 'one\n' });
  const events: AuditEntry[] = [];
  const proxy = createGitProxy({
    repositories: { 'o/r': { path: bare(work, bench.path('mirror.git')) } },
    audit: (entry) => Promise.resolve(void events.push(entry)),
    signal: new AbortController().signal,
  });
  let reached = 0;
  const server = createServer((incoming, response) => {
    reached += 1;
    void Promise.resolve(proxy(incoming, response)).catch(() => response.destroy());
  });
  const url = await listen(server);
  const refs = (): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      get(`${url}/o/r.git/info/refs?service=git-upload-pack`, (answer) => {
        answer.resume().once('close', () => resolve(answer.statusCode));
      }).once('error', reject);
    });
  const slow: ClientRequest[] = [];
  try {
    for (let count = 0; count < 8; count += 1) {
      const one = request(`${url}/o/r.git/git-upload-pack`, {
        method: 'POST',
        headers: { 'content-type': 'application/x-git-upload-pack-request' },
      });
      one.on('error', () => undefined).write('0');
      slow.push(one);
    }
    await expect.poll(() => reached).toBe(8);
    expect(await refs()).toBe(503);
    expect(events).toMatchObject([
      { type: 'git.request', decision: { allow: false, rule: 'limit: git', reason: 'too_many_connections' } },
    ]);
    slow[0]?.destroy();
    await expect.poll(refs).toBe(200);
  } finally {
    for (const one of slow) one.destroy();
    server.closeAllConnections();
    server.close();
  }
});
