import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Trigger } from '../../src/domain/trigger.ts';
import { createLogger } from '../../src/telemetry/log.ts';
import { createWebhookHandler } from '../../src/webhook/handler.ts';
import {
  allExamples,
  clicked,
  commented,
  deliver,
  labeled,
  lineCommented,
  proposed,
  reviewed,
  suiteFailed,
  workflowFailed,
  SECRET,
  type Json,
  type Payload,
} from './deliveries.ts';

const triggers: Trigger[] = [];
let server: Server;
let url: string;

beforeAll(async () => {
  const handler = await createWebhookHandler({
    secret: SECRET,
    prefix: '/agent',
    label: 'agent',
    log: createLogger({ level: 'silent' }),
    sink: { enqueue: (trigger) => (triggers.push(trigger), Promise.resolve('accepted')) },
  });
  server = createServer((request, response) => void handler(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/api/github/webhooks`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  triggers.length = 0;
});

describe('official examples', () => {
  it('are all answered, and none of them asks for a run', async () => {
    expect(allExamples.length).toBeGreaterThan(250);
    for (const { name, payload } of allExamples) {
      const body = JSON.stringify({ ...payload, installation: { id: 77 } });
      expect((await deliver(url, { event: name, body })).status, name).toBe(202);
    }
    // New commits of pull requests are looked at, and ask for nothing.
    const asking = triggers.filter(({ proposal }) => proposal === undefined);
    expect(asking).toEqual([]);
    for (const { commands, problems, texts } of triggers) expect([commands, problems, texts]).toEqual([[], [], []]);
    expect(triggers.length).toBeGreaterThan(0);
  });
});

/** Every path to a value inside a payload. */
function pathsOf(value: Json, at: string[] = []): string[][] {
  if (typeof value !== 'object' || value === null) return [at];
  const below = Object.entries(value).flatMap(([key, inner]) => pathsOf(inner, [...at, key]));
  return at.length === 0 ? below : [at, ...below];
}

function replaceAt(payload: Payload, path: string[], value: Json | undefined): Payload {
  const copy = structuredClone(payload);
  let place = copy as Record<string, Json>;
  for (const key of path.slice(0, -1)) place = place[key] as Record<string, Json>;
  const last = path.at(-1) ?? '';
  if (value === undefined) Reflect.deleteProperty(place, last);
  else place[last] = value;
  return copy;
}

const odd: (Json | undefined)[] = [
  undefined,
  null,
  0,
  -1,
  1e300,
  true,
  '',
  'x'.repeat(70_000),
  '/agent run',
  '\u0000\u202e',
  [],
  {},
  { login: 'x' },
  [[[[]]]],
  { __proto__: { type: 'User' } },
  'helper[bot]',
  'Bot',
];

describe('mutations', () => {
  it('begin with deliveries that do ask', async () => {
    for (const { name, payload } of seeds) {
      triggers.length = 0;
      await deliver(url, { event: name, body: JSON.stringify(payload) });
      expect(triggers, name).toHaveLength(1);
    }
  });

  const seeds: { name: string; payload: Payload }[] = [
    { name: 'issues', payload: labeled() },
    { name: 'issue_comment', payload: commented('/agent fix the login') },
    { name: 'pull_request_review', payload: reviewed() },
    { name: 'pull_request_review_comment', payload: lineCommented('/agent fix the login') },
    { name: 'check_suite', payload: suiteFailed() },
    { name: 'workflow_run', payload: workflowFailed() },
    { name: 'check_run', payload: clicked() },
    { name: 'pull_request', payload: proposed() },
  ];

  it('crash nothing and make no trigger that was not asked for', async () => {
    const mutations = fc.integer({ min: 0, max: seeds.length - 1 }).chain((index) => {
      const seed = seeds[index] ?? { name: '', payload: {} };
      return fc.record({
        seed: fc.constant(seed),
        path: fc.constantFrom(...pathsOf(seed.payload)),
        value: fc.constantFrom(...odd),
      });
    });
    await fc.assert(
      fc.asyncProperty(mutations, async ({ seed, path, value }) => {
        triggers.length = 0;
        const body = JSON.stringify(replaceAt(seed.payload, path, value));
        const { status } = await deliver(url, { event: seed.name, body });
        expect([202, 400]).toContain(status);
        for (const trigger of triggers) {
          expect(Trigger.safeParse(trigger).success).toBe(true);
          // A CI run is nobody's word: the worker finds the person.
          if (trigger.cause !== 'ci' && trigger.proposal === undefined)
            expect(trigger.actor).toMatchObject({ type: 'User' });
          const asked = trigger.commands.length + trigger.problems.length;
          // A click says nothing but which button of which run: what that is stands with the run.
          const { proposal, button } = trigger;
          expect(asked > 0).toBe(proposal === undefined && button === undefined);
          if (button !== undefined) expect([seed.name, trigger.texts]).toEqual(['check_run', []]);
          expect(trigger.installationId).toBe(77);
        }
      }),
      { numRuns: 3000 },
    );
  });

  it('RES-009 deep and wide JSON is answered', async () => {
    const deep = `{"action":"labeled","installation":{"id":77},"x":${'['.repeat(200_000)}${']'.repeat(200_000)}}`;
    expect((await deliver(url, { event: 'issues', body: deep })).status).toBeLessThan(500);
    const wide = `{"action":"labeled","installation":{"id":77},${Array.from({ length: 200_000 }, (_, i) => `"k${i}":1`).join()}}`;
    expect((await deliver(url, { event: 'issues', body: wide })).status).toBe(202);
    expect(triggers).toEqual([]);
  });

  it('handles bytes that are no text', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary' }), async (body) => {
        const { status } = await deliver(url, { event: 'issues', body });
        expect([400, 202, 401]).toContain(status);
      }),
      { numRuns: 100 },
    );
    expect(triggers).toEqual([]);
  });
});
