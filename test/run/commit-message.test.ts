import { expect, it } from 'vitest';
import { noreplyOf } from '../../src/main/worker-run.ts';
import { commitMessage } from '../../src/run/commit-message.ts';
import { digest, memoryAudit } from '../github/run.ts';

type Given = Parameters<typeof commitMessage>[0];

const messageOf = (job: Partial<Given['job']>): ReturnType<typeof commitMessage> => {
  const run = { audit: memoryAudit(), notes: {}, spec: { title: 'fix: x', base: 'a'.repeat(40) }, job };
  return commitMessage(run as unknown as Given, { tree: 'b'.repeat(40), files: [] });
};
const at = (webUrl: string): string =>
  noreplyOf({ environment: { github: { webUrl } } } as unknown as Parameters<typeof noreplyOf>[0]);

it.each([
  ['https://github.com', 'users.noreply.github.com'],
  ['https://github.corp.test', 'users.noreply.github.corp.test'],
  ['http://127.0.0.1:8080', 'users.noreply.127.0.0.1'],
])('the requester is co-author, by an address that is not their own: %s', async (webUrl, domain) => {
  const requester = { login: 'alice', id: 7 };
  const { trailers } = await messageOf({ runId: 'r1' as Given['job']['runId'], requester, noreply: at(webUrl) });
  expect(trailers).toEqual([
    ['Co-authored-by', `alice <7+alice@${domain}>`],
    ['Cofferdam-Run', 'r1'],
    ['Cofferdam-Audit', digest],
  ]);
});

it('a run that nobody asked for on GitHub has no co-author', async () => {
  const { trailers } = await messageOf({ runId: 'r1' as Given['job']['runId'] });
  expect(trailers.map(([key]) => key)).toEqual(['Cofferdam-Run', 'Cofferdam-Audit']);
});
