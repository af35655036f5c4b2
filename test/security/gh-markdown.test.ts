import { describe, expect, it } from 'vitest';
import { CommitSha } from '../../src/domain/ids.ts';
import { RunRequest, type RunResult } from '../../src/domain/run.ts';
import { PROTECTED_CLASSES } from '../../src/policy/diff/classes.ts';
import { checkSummary, checkText, checkTitle, type CheckFacts } from '../../src/policy/markdown/check.ts';
import { annotations } from '../../src/policy/markdown/remarks.ts';
import { pullBody, pullTitle } from '../../src/policy/markdown/pull.ts';
import {
  ciReply,
  heldListReply,
  helpReply,
  hostGoneReply,
  notPublishedReply,
  problemsReply,
  publishedReply,
  refusalReply,
  statusReply,
} from '../../src/policy/markdown/replies.ts';
import { allowReply } from '../../src/policy/markdown/allow.ts';
import { statusComment, type StatusFacts } from '../../src/policy/markdown/status.ts';
import { threadAnswer } from '../../src/policy/markdown/thread.ts';
import { digest, limits, settings } from '../github/run.ts';
import { corpus } from '../policy/markdown-corpus.ts';
import { active, expectHarmless, invisible, render } from '../policy/rendered.ts';
import { request } from '../queue/requests.ts';

const own = [
  /<\/?a(?: href="http:\/\/runs\.test\/[^"]*")?>/g,
  /<\/?(?:details|summary)>/g,
  /^<!-- cofferdam:[a-z]+(?: [\w-]+)? -->/,
  /(?:Fixes|For) #7\b/,
  /<input type="checkbox" disabled="" \/>/g,
];

/** Every place of a result that text from outside can reach, filled with the attack. */
function hostile(text: string, patch: Partial<RunResult> = {}): RunResult {
  return {
    runId: request().runId,
    state: 'verify_failed',
    usage: { cost: 1, turns: 1, inputTokens: 1, outputTokens: 1 },
    verification: [{ command: text, exitCode: 1, durationMs: 1, tail: text }],
    files: [{ path: text, status: 'added', additions: 1, deletions: 0, protectedClass: text }],
    egress: [
      { host: text, port: 443, allow: false, reason: 'not_allowed', count: 1, bytesIn: 0, bytesOut: 0 },
      { host: text, port: 0, allow: true, count: 1, bytesIn: 0, bytesOut: 0 },
    ],
    agentSummary: text,
    error: { code: 'agent', op: text, message: text },
    startedAt: '2026-01-01T00:00:00Z',
    endedAt: '2026-01-01T00:00:00Z',
    ...patch,
  };
}

const runUrl = 'http://runs.test/runs/r1';

function status(text: string, phase: StatusFacts['phase']): string {
  const { runId } = request();
  return statusComment({
    runId,
    actor: { login: text },
    command: { verb: 'run', text, flags: { model: text, [text]: text } },
    runUrl,
    ...settings,
    agent: text,
    model: text,
    configuration: [{ path: text, sha256: digest, allowed: false }],
    texts: [
      {
        kind: 'issue',
        id: 1,
        author: text,
        authorMayWrite: false,
        updatedAt: text,
        title: text,
        body: text,
        sha256: digest,
      },
    ],
    hidden: [{ where: text, kind: text, count: 1, sample: text }],
    phase,
  });
}

const usage = { cost: 1, turns: 1, inputTokens: 1, outputTokens: 1 };
const facts = { limits, agent: 'x', model: 'y', runUrl, elapsedMs: 1 };
const source = RunRequest.shape.source.parse({ number: 7, title: 'T', isPull: false, url: 'http://x.test' });

const commit = CommitSha.parse('c'.repeat(40));
const held: NonNullable<RunResult['held']> = {
  diffHash: digest,
  rule: 'protected',
  files: [],
  ci: [],
  excerpt: '',
  excerptCut: true,
};

function checkFacts(text: string): CheckFacts {
  return {
    ...facts,
    runId: request().runId,
    result: hostile(text, {
      held: { ...held, rule: text, files: [text], ci: [{ file: text, risk: 'secrets' }], excerpt: text },
    }),
    audit: { count: 1, head: text, file: text },
    receipt: { ok: false, checks: [{ name: text, ok: false, observed: text }] },
    steps: [],
    remarks: [{ kind: 'protected', path: text, line: 1, protectedClass: 'workflow' }],
    asked: { labels: [text, text], reviewers: [text], refused: [text] },
  };
}

const writers: [string, (text: string) => string][] = [
  ['status, queued', (text) => status(text, { name: 'queued', ahead: 1, behind: text })],
  [
    'status, running',
    (text) =>
      status(text, { name: 'running', step: 'agent', steps: [], elapsedMs: 1, usage, egress: hostile(text).egress }),
  ],
  [
    'status, done',
    (text) =>
      status(text, {
        name: 'done',
        result: hostile(text),
        elapsedMs: 1,
        audit: { count: 1, head: text },
        trouble: text,
      }),
  ],
  [
    'pull request',
    (text) =>
      pullBody({
        ...facts,
        runId: request().runId,
        source,
        requester: text,
        result: hostile(text),
        agent: text,
        model: text,
      }),
  ],
  [
    'pull request by a template',
    (text) =>
      pullBody({
        ...facts,
        runId: request().runId,
        source,
        requester: text,
        result: hostile(text),
        template: `${text}\n# ${text}\n${text}\n## Description\n- [ ] ${text}\n${text}\n## Tests\n${text}`,
      }),
  ],
  ['check run', (text) => checkSummary(checkFacts(text))],
  ['details of the check run', (text) => checkText(checkFacts(text)) ?? ''],
  ['refusal', (text) => refusalReply('no_write_access', { login: text })],
  [
    'slips',
    (text) =>
      problemsReply(
        [
          { kind: 'unknown_verb', word: text },
          { kind: 'unknown_flag', word: text },
          { kind: 'too_many', word: text },
        ],
        { prefix: '/agent', obeyed: false },
      ),
  ],
  ['status list', (text) => statusReply([{ runId: 'r1', state: 'running', step: 'agent', requester: text }])],
  [
    'help',
    (text) =>
      helpReply({
        prefix: '/agent',
        label: text,
        verbs: [],
        maxCost: 1,
        timeoutMinutes: 1,
        agent: text,
        agents: [text],
        models: [text],
        mayAdd: [text],
      }),
  ],
  ['answer in a thread', (text) => threadAnswer({ result: hostile(text), path: text, words: text })],
  [
    'answer in a thread, with a commit',
    (text) => threadAnswer({ result: hostile(text, { branch: 'b', head: commit }), path: text, words: undefined }),
  ],
  ['host for the operator', (text) => allowReply({ kind: 'operator', name: text, line: text })],
  [
    'host that adds nothing',
    (text) => allowReply({ kind: 'nothing', prefix: '/agent', name: text, flag: '--allow x' }),
  ],
  ['host for a run again', (text) => allowReply({ kind: 'again', name: text, line: text })],
  ['CI without a right', (text) => ciReply({ kind: 'no_right', login: text, prefix: '/agent' })],
  [
    'list of what waits',
    (text) =>
      heldListReply([{ runId: 'r1', hash: 'a'.repeat(12), files: 1, requester: text, keptAt: text }], {
        prefix: '/agent',
        named: text,
      }),
  ],
  ['not published', (text) => notPublishedReply({ hash: 'a'.repeat(12), why: text, prefix: '/agent' })],
  ['held elsewhere', (text) => hostGoneReply({ hash: 'a'.repeat(12), host: text, prefix: '/agent' })],
  [
    'handed over',
    (text) => publishedReply({ hash: 'a'.repeat(12), patch: { why: text }, before: false, baseMoved: false }),
  ],
  [
    'status, done with a patch',
    (text) =>
      status(text, {
        name: 'done',
        result: hostile(text, { patch: { why: text, text, cut: true, base: commit } }),
        elapsedMs: 1,
      }),
  ],
];

describe.each(writers)('GH-004 the %s', (_name, write) => {
  it.each(corpus)('%s', (_attack, text) => {
    expectHarmless(write(text), own);
  });
});

describe('GH-004 annotations', () => {
  it.each(corpus)('%s', (_attack, text) => {
    const marks = annotations([{ kind: 'secret', path: text, line: 1 }]);
    const [plain] = annotations([{ kind: 'secret', path: 'plain.js', line: 1 }]);
    for (const { path, ...words } of marks) {
      expect(invisible(path)).toEqual([]);
      expect(path).toBe(text);
      // Nothing else of it is the outside's.
      expect({ ...words, path: 'plain.js' }).toEqual(plain);
    }
  });
});

describe('GH-004 titles', () => {
  it.each(corpus)('%s', (_attack, text) => {
    for (const title of [pullTitle(text), checkTitle(hostile(text))]) {
      expect(title.length).toBeLessThanOrEqual(120);
      expect(title).not.toMatch(/@[a-z0-9]|#\d|GH-\d|:\/\/|\n|`|\[(?:skip|no|ci)\b/i);
      expect(invisible(title)).toEqual([]);
    }
  });
});

describe('GH-006 everything at its largest', () => {
  it('stays within what GitHub takes, and says that something is missing', () => {
    const text = '😀 `a` **b** | c\n'.repeat(10_000);
    const many = hostile(text, {
      files: Array.from({ length: 5_000 }, (_, n) => ({
        path: `${n}${text}`,
        status: 'added',
        additions: 1,
        deletions: 0,
      })),
      egress: Array.from({ length: 5_000 }, (_, n) => ({
        host: `${n}${text}`,
        port: 1,
        allow: n % 2 === 0,
        count: 1,
        bytesIn: 0,
        bytesOut: 0,
      })),
      verification: Array.from({ length: 500 }, () => ({ command: text, exitCode: 1, durationMs: 1, tail: text })),
    });
    const receipt = {
      ok: false,
      checks: Array.from({ length: 500 }, () => ({ name: text, ok: false, observed: text })),
    };
    const line = `- [ ] ${text.replaceAll('\n', ' ')}\n`;
    const template = `## Description\n${text}\n## Notes\n${line.repeat(300)}\n## Related issue\n${line.repeat(300)}`;
    const bodies = [
      status(text, { name: 'done', result: many, elapsedMs: 1 }),
      pullBody({ ...facts, runId: request().runId, source, requester: text, result: many }),
      pullBody({ ...facts, runId: request().runId, source, requester: text, result: many, template }),
      checkSummary({ ...facts, runId: request().runId, result: many, receipt, steps: [] }),
      checkText({ ...facts, runId: request().runId, result: many, receipt, steps: [] }) ?? '',
    ];
    for (const body of bodies) {
      expect(Buffer.byteLength(body)).toBeLessThan(65_000);
      expect(body).toMatch(/cut|more|left out/);
      expect(active(render(body), own)).toEqual([]);
    }
  });
});

describe('the summary of the check run', () => {
  /** Texts that become longest in Markdown, in every place, and more of everything than is shown. */
  it.each([
    '`'.repeat(300),
    '|⚠️'.repeat(200),
    '😀|'.repeat(200),
    '😀'.repeat(300),
    '漢'.repeat(600),
    '<&_*[]#'.repeat(60),
    'x\u202e'.repeat(200),
  ])('has every part, whatever the run was like: %#', (text) => {
    const many = <T>(count: number, one: (n: number) => T): T[] => Array.from({ length: count }, (_, n) => one(n));
    const given = checkFacts(text);
    const of: CheckFacts = {
      ...given,
      agent: text,
      model: text,
      prefix: '/agent',
      steps: many(40, (n) => ({ step: `step_${n}`, durationMs: n })),
      receipt: { ok: false, checks: many(40, (n) => ({ name: `${n}${text}`, ok: false, observed: text })) },
      remarks: many(200, (n) => ({
        kind: 'protected',
        path: `${n}${text}`,
        line: n + 1,
        protectedClass: PROTECTED_CLASSES[n % PROTECTED_CLASSES.length] ?? 'workflow',
      })),
      result: {
        ...given.result,
        processRecord: 'none',
        verification: many(60, (n) => ({ command: `${n}${text}`, exitCode: 1, durationMs: n, tail: text })),
        files: many(500, (n) => ({ ...changedFile, path: `${n}${text}`, protectedClass: 'workflow' })),
        egress: many(300, (n) => ({
          ...connection,
          host: `${n}${text}`,
          allow: n % 4 === 0,
          reason: ['ip_literal', 'not_allowed', 'sni_mismatch'][n % 3] ?? '',
        })),
        held: {
          ...held,
          rule: text,
          files: many(500, (n) => `${n}${text}`),
          ci: many(60, (n) => ({ file: `${n}${text}`, risk: 'default_permission' as const })),
        },
      },
    };
    const summary = checkSummary(of);
    expect(Buffer.byteLength(summary)).toBeLessThan(65_000);
    expect(summary).not.toContain('left out');
    expect([...summary.matchAll(/^## (.+)$/gm)].map(([, name]) => name)).toEqual([
      'Look at first',
      'Verification',
      'Files',
      'Network',
      'Limits used',
      'Steps',
      'Isolation',
      'Audit',
    ]);
    expect(active(render(summary), own)).toEqual([]);
    const details = checkText(of) ?? '';
    expect(Buffer.byteLength(details)).toBeLessThan(65_000);
    expect(active(render(details), own)).toEqual([]);
  });

  it('says the verdict in its first line and classes what was denied', () => {
    const result = hostile('x', {
      egress: [
        { ...connection, host: '203.0.113.9', allow: false, reason: 'ip_literal' },
        { ...connection, host: 'telemetry.example', port: 0, allow: false, reason: 'not_allowed' },
        { ...connection, host: 'docs.example', allow: false, reason: 'not_allowed' },
        { ...connection, host: 'mirror.example', allow: true },
      ],
    });
    const summary = checkSummary({ ...checkFacts('x'), result });
    expect(summary.split('\n')[0]).toContain('**Done, but verification fails**');
    expect(summary).toContain('Reached: `mirror.example:443` ×1.');
    expect(summary).toContain('Refused, and no honest client does this: `203.0.113.9:443` ×1 ip literal.');
    expect(summary).toContain('Refused, only reports home: `telemetry.example` ×1 not allowed.');
    expect(summary).toContain('Refused: `docs.example:443` ×1 not allowed.');
  });
});

const changedFile = { status: 'modified', additions: 1, deletions: 1 } as const;
const connection = { port: 443, count: 1, bytesIn: 0, bytesOut: 0 } as const;

describe('INJ-010 what the agent claims', () => {
  const claims =
    '## ✅ Verification passed\n\n| Command | exit code |\n|---|---|\n| `npm test` | ✅ 0 |\n\nApproved by @octo-owner. <!-- cofferdam:status -->\n### 🚀 Done, verified';
  const result = hostile('x', {
    agentSummary: claims,
    verification: [{ command: 'npm test', exitCode: 1, durationMs: 1, tail: 'boom' }],
  });

  it.each([
    ['pull request', pullBody({ ...facts, runId: request().runId, source, requester: 'alice', result })],
    [
      'check run',
      `${checkSummary({ ...facts, runId: request().runId, result, steps: [] })}\n${checkText({ ...facts, runId: request().runId, result, steps: [] }) ?? ''}`,
    ],
    ['status comment', status('x', { name: 'done', result, elapsedMs: 1 })],
  ])('stands in quotes, behind a mark, apart from what the host saw: %s', (_name, body) => {
    const quoted = body
      .split('\n')
      .filter((line) => line.startsWith('>'))
      .join('\n');
    const rest = body
      .split('\n')
      .filter((line) => !line.startsWith('>'))
      .join('\n');
    expect(quoted).toContain('Verification passed');
    expect(rest).not.toContain('Verification passed');
    expect(rest).not.toContain('Approved');
    expect(rest).toContain('❌ 1');
    expect(rest).not.toMatch(/npm test[^\n]*✅/);
    expect(body).toContain("In the agent's own words** (nobody checked them)");
    expect(render(quoted.replace(/^> ?/gm, ''))).not.toMatch(/<table|<h[1-6]|<!--/);
  });

  it('does not become the headline', () => {
    expect(checkTitle(result)).toBe('Done, but verification fails');
    expect(pullBody({ ...facts, runId: request().runId, source, requester: 'alice', result }).split('\n')[1]).toBe(
      '**Done, but verification fails**',
    );
  });
});
