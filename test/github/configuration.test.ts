import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parsePolicy } from '../../src/config/policy-file.ts';
import { checkRepositoryFile } from '../../src/config/repository-file.ts';
import type { Trigger } from '../../src/domain/trigger.ts';
import type { CheckRun } from '../../src/local/github/state.ts';
import { checkConfiguration } from '../../src/run/trigger/configuration.ts';
import { createLogger } from '../../src/telemetry/log.ts';
import { createWebhookHandler } from '../../src/webhook/handler.ts';
import { active, invisible, render } from '../policy/rendered.ts';
import { publisherOf, requestOn, resultOf } from './run.ts';
import { branch, stage, type Stage } from './stage.ts';

const FILE = '.github/cofferdam.yml';
const SECRET = 'a secret of the test';
const policy = parsePolicy(
  `egress: { allow: [npm], mayAdd: [pip] }
limits: { maxCostUsd: 5 }
llm: { default: anthropic/claude-x, providers: { anthropic: {} }, models: ["claude-*"] }
`,
  'policy.yml',
);

let here: Stage;
let server: Server;
let triggers: Trigger[];
let claimed: Set<string>;

beforeEach(async () => {
  here = await stage();
  [triggers, claimed] = [[], new Set()];
  const sink = {
    enqueue: (trigger: Trigger) => (triggers.push(trigger), Promise.resolve('accepted' as const)),
  };
  const log = createLogger({ level: 'silent' });
  const handler = await createWebhookHandler({ secret: SECRET, prefix: '/agent', label: 'agent', sink, log });
  server = createServer((request, response) => void handler(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  here.standIn.setWebhook({ url: `http://127.0.0.1:${port}/api/github/webhooks`, secret: SECRET });
});
afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await here[Symbol.asyncDispose]();
});

/** What the worker does with everything that was delivered. */
async function work(): Promise<void> {
  await here.standIn.webhooks.idle();
  for (const trigger of triggers.splice(0)) {
    const { proposal } = trigger;
    expect(trigger.commands).toEqual([]);
    if (proposal === undefined) throw new Error(`${trigger.event} is no proposal`);
    const ports = {
      claim: ({ key }: Trigger) => Promise.resolve(claimed.has(key) ? null : (claimed.add(key), [])),
      repository: () => here.repository,
      check: (text: string | null) => checkRepositoryFile(text, { policy, agents: ['opencode', 'codex'] }),
    };
    await checkConfiguration(ports, { ...trigger, proposal });
  }
}

async function proposed(text: string | null, patch: { branch?: string; author?: string } = {}): Promise<CheckRun[]> {
  const name = patch.branch ?? 'tune';
  await here.shop.commit({ branch: name, message: 'Tune', files: { [FILE]: text, 'other.txt': `${name}\n` } });
  const pull = await here.shop.openPull({ head: name, base: 'main', title: 'Tune', author: patch.author ?? 'eve' });
  await work();
  return here.shop.checkRuns(pull.pull.headSha);
}

async function onDefault(text: string): Promise<void> {
  await here.shop.commit({ branch: 'main', message: 'Settings', files: { [FILE]: text } });
}

describe('the check of a proposed configuration', () => {
  it('shows each error in its place, with what to write instead', async () => {
    const text = 'verfy: [npm test]\n';
    expect(await proposed(text)).toMatchObject([
      {
        name: 'Cofferdam configuration',
        conclusion: 'failure',
        title: '1 error',
        annotations: [
          {
            path: FILE,
            start_line: 1,
            end_line: 1,
            start_column: 1,
            annotation_level: 'failure',
            message: 'unknown key "verfy"; did you mean "verify"?',
          },
        ],
      },
    ]);
    const ceilings = 'setup: npm ci\nlimits:\n  maxCostUsd: 9\negress:\n  allow:\n    - pip\n    - { host: a.test }\n';
    const [check] = await proposed(ceilings, { branch: 'more' });
    expect(check?.annotations.map((one) => [one.start_line, one.start_column])).toEqual([
      [3, 15],
      [7, 7],
    ]);
    expect(check?.annotations[0]?.message).toContain('write 5 or less');
    expect(check?.annotations[1]?.message).toContain('- { host: a.test }');
    expect(check?.summary).toContain('```yaml\n- { host: a.test }\n```');
  });

  it('shows what would change, within the operator’s ceilings', async () => {
    await onDefault('limits: { maxCostUsd: 1 }\nverify: [npm test]\n');
    const [check] = await proposed('limits: { maxCostUsd: 2 }\negress: { allow: [pip] }\nagent: codex\nverify: []\n');
    expect(check).toMatchObject({ conclusion: 'success', title: 'Valid; 4 settings change', annotations: [] });
    expect(check?.summary).toContain('| limits: cost | $1.00 | $2.00 |');
    expect(check?.summary).toContain('| verify | `npm test` | nothing: results are not verified |');
    expect(check?.summary).toContain('| egress.allow, all within `mayAdd` | none | `pip` |');
    expect(check?.summary).toContain('| agent | `opencode` | `codex` |');
    expect(check?.summary).not.toContain('model');
  });

  it('INJ-009 is written for a fork’s pull request by somebody who may only read, and starts nothing', async () => {
    const fork = await here.shop.fork('eve');
    await fork.commit({ branch: 'tune', message: 'Tune', files: { [FILE]: 'agent: gpt\n' }, author: 'eve' });
    const pull = await here.shop.openPull({ head: 'eve:tune', base: 'main', title: 'T', author: 'eve' });
    await work();
    expect(here.shop.checkRuns(pull.pull.headSha)).toMatchObject([{ conclusion: 'failure', title: '1 error' }]);
    expect(here.shop.comments(pull.number)).toEqual([]);
  });

  it('is written once for a commit, and anew for the next', async () => {
    const [first] = await proposed('verfy: x\n');
    const number = here.shop.pulls()[0]?.number ?? 0;
    // Another delivery of the same; then one whose worker ended after it had written.
    for (const forget of [false, true]) {
      if (forget) claimed.clear();
      await here.shop.update(number, { state: 'closed' });
      await here.shop.update(number, { state: 'open' });
      await here.standIn.webhooks.idle();
      expect(triggers).toHaveLength(1);
      await work();
    }
    expect(here.shop.checkRuns(first?.headSha)).toHaveLength(1);
    await here.shop.commit({ branch: 'tune', message: 'Again', files: { [FILE]: 'verify: x\n' } });
    await work();
    expect(here.shop.checkRuns().map(({ title }) => title)).toEqual(['1 error', 'Valid; 1 setting changes']);
  });

  it('is not written when the file stays as it is', async () => {
    await onDefault('verify: x\n');
    await here.shop.commit({ branch: 'code', message: 'Code', files: { 'a.txt': 'a\n' } });
    await here.shop.openPull({ head: 'code', base: 'main', title: 'Code', author: 'alice' });
    await work();
    expect(here.shop.checkRuns()).toEqual([]);
  });

  it('is not written on a commit of the default branch', async () => {
    await here.shop.commit({ branch: 'release', message: 'R', files: { 'a.txt': 'a\n' } });
    await onDefault('verfy: x\n');
    await here.shop.openPull({ head: 'main', base: 'release', title: 'Release', author: 'alice' });
    await here.standIn.webhooks.idle();
    expect(triggers).toEqual([]);
    branch(here.shop, 'same');
    await here.shop.openPull({ head: 'same', base: 'release', title: 'Release', author: 'alice' });
    await here.standIn.webhooks.idle();
    expect(triggers).toHaveLength(1);
    await work();
    expect(here.shop.checkRuns()).toEqual([]);
    // The twin: one commit more, and it is.
    expect(await proposed('verfy: [y]\n')).toHaveLength(1);
  });

  it('says that the file goes, that it is valid again, and that it is no file', async () => {
    await onDefault('limits: { maxCostUsd: 1 }\n');
    expect(await proposed(null, { branch: 'gone' })).toMatchObject([
      { conclusion: 'success', title: "Removed: the operator's settings hold" },
    ]);
    await onDefault('verfy: x\n');
    const [mended] = await proposed('verify: x\n', { branch: 'mend' });
    expect(mended).toMatchObject({ conclusion: 'success', title: 'Valid again; 1 setting changes' });
    expect(mended?.summary).toContain('is not valid, so runs are refused there');
    const link = { mode: '120000' as const, content: '../secrets.yml' };
    await here.shop.commit({ branch: 'link', message: 'L', files: { [FILE]: link } });
    const pull = await here.shop.openPull({ head: 'link', base: 'main', title: 'L', author: 'eve' });
    await work();
    const [linked] = here.shop.checkRuns(pull.pull.headSha);
    expect(linked?.annotations[0]?.message).toBe(`${FILE} is not a plain file`);
    const [large] = await proposed(`# ${'x'.repeat(300_000)}\n`, { branch: 'large' });
    expect(large?.annotations[0]?.message).toBe('the file is larger than 256 KiB');
  });

  it('lets nothing of the file into Markdown but text', async () => {
    const hostile = '@octo-owner [x](https://evil.test) <img src=x> | `a` ::set-output name=x::y';
    const [check] = await proposed(`verify: ${JSON.stringify(hostile)}\nenv: { A: "\\u202ehidden" }\n`);
    const [wrong] = await proposed(`${JSON.stringify(hostile)}: x\n`, { branch: 'wrong' });
    for (const text of [check?.summary ?? '', wrong?.summary ?? '']) {
      expect(text).toMatch(/octo(?:-|&#45;)owner/);
      expect([active(render(text)), invisible(text)]).toEqual([[], []]);
    }
    expect(wrong?.annotations[0]?.message).not.toMatch(/@octo|:\/\//);
  });
});

describe('a configuration that is wrong on the default branch', () => {
  it('is said once on a thread, with its place, however often somebody asks', async () => {
    const { number } = await here.shop.openIssue({ title: 'T', author: 'alice' });
    const message = `${FILE}:3:1: unknown key "verfy"; did you mean "verify"?`;
    for (let turn = 0; turn < 3; turn += 1) {
      const request = requestOn(here, { number });
      const publisher = publisherOf(here, request);
      await publisher.queued({ ahead: 0 });
      const error = { code: 'repository_file' as const, op: 'config.readRepositoryFile', message };
      await publisher.finish({ result: resultOf(request, { state: 'refused', files: [], error }) });
    }
    const said = here.shop.comments(number);
    expect(said).toHaveLength(1);
    expect(said[0]?.body).toContain(message);
    expect(said[0]?.body).toContain('Correct `.github/cofferdam.yml` on the default branch.');
    expect(here.shop.checkRuns()).toEqual([]);
  });
});
