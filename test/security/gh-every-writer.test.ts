import { globSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { EffectiveSettings } from '../../src/domain/configuration.ts';
import {
  configurationNotes,
  configurationSummary,
  configurationTitle,
  type ConfigurationFacts,
} from '../../src/policy/markdown/configuration.ts';
import { keepBody, keepMessage, keepTitle, type KeepFacts } from '../../src/policy/markdown/keep.ts';
import { stormReply } from '../../src/policy/markdown/replies.ts';
import { limits } from '../github/run.ts';
import { corpus } from '../policy/markdown-corpus.ts';
import { expectHarmless, invisible } from '../policy/rendered.ts';

const effective: EffectiveSettings = {
  agent: 'x',
  model: 'y',
  limits,
  env: {},
  setup: [],
  verify: [],
  added: [],
  protected: [],
  hold: 'protected',
  pull: { labels: [], reviewers: [] },
};

/** Every place of the file that a pull request may fill. */
function configuration(text: string, after?: ConfigurationFacts['after']): ConfigurationFacts {
  const hostile: EffectiveSettings = {
    ...effective,
    agent: text,
    model: text,
    env: { NAME: text, [text]: text },
    setup: [text],
    verify: [text, text],
    added: [{ host: text, methods: [text], paths: [text] }],
    protected: [text],
    pull: { labels: [text, text], reviewers: [] },
  };
  return {
    before: effective,
    beforeValid: false,
    after: after ?? { effective: hostile },
    removed: false,
    defaultBranch: text,
  };
}

const problems = (text: string): ConfigurationFacts =>
  configuration(text, { problems: [{ line: 1, column: 1, message: `${text}\n${text}`, key: text }] });

const keep = (text: string): KeepFacts => ({
  name: text,
  entry: { host: text, methods: [text], paths: [text] },
  requester: text,
  source: { number: 7, isPull: false, url: 'http://runs.test/7' },
});

const budget = { maxCost: 1, repository: { spent: 1, cap: 2 }, installation: { spent: 1, cap: 2 } };

const own = [/<\/?a(?: href="http:\/\/runs\.test\/[^"]*")?>/g, /<br>/g];

const bodies: [string, (text: string) => string][] = [
  ['check of the configuration', (text) => configurationSummary(configuration(text))],
  ['check of a wrong configuration', (text) => configurationSummary(problems(text))],
  ['pull request that keeps a way out', (text) => keepBody(keep(text))],
  ['answer to many at once', (text) => stormReply({ login: text, announced: 3, prefix: '/agent', budget })],
];

describe.each(bodies)('GH-004 the %s', (_name, write) => {
  it.each(corpus)('%s', (_attack, text) => {
    expectHarmless(write(text), own);
  });
});

describe('GH-004 lines that are no Markdown', () => {
  it.each(corpus)('%s', (_attack, text) => {
    const notes = configurationNotes(problems(text)).flatMap(({ message }) => message.split('\n'));
    const lines = [
      configurationTitle(configuration(text)),
      keepTitle(keep(text)),
      ...keepMessage(keep(text)).split('\n'),
    ];
    for (const line of [...lines, ...notes]) {
      expect(line).not.toMatch(/@[a-z0-9]|#\d|GH-\d|:\/\/|`|\[(?:skip|no|ci)\b/i);
      expect(invisible(line)).toEqual([]);
    }
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(120);
  });
});

/** Why a function of the room has no corpus of its own. */
const OTHERWISE: Record<string, string[]> = {
  'tested as what all others are made of, in test/policy/markdown.test.ts': [
    ...['assemble', 'block', 'clean', 'code', 'cut', 'inlineWords', 'lineStart', 'link', 'plainLine', 'prose', 'words'],
  ],
  'a part of those that are tested': [
    ...[
      'agentWords',
      'auditLine',
      'details',
      'failure',
      'filesList',
      'fillTemplate',
      'headline',
      'heldDiff',
      'heldSections',
    ],
    ...[
      'inline',
      'limitsTable',
      'network',
      'policyLines',
      'quiet',
      'remarksList',
      'skipNothing',
      'undelivered',
      'verification',
      'verificationTails',
      'wordsOnThreads',
    ],
  ],
  'nothing of the outside is in it: numbers, our own ids and words': [
    ...['budgetReply', 'duration', 'publishedReply', 'replyMarker', 'runningSummary', 'stopReply', 'stormMarker'],
    ...['nextSteps', 'stepWords'],
    ...['supersededSummary', 'threadMarker', 'touchesWorkflows', 'unavailableReply'],
  ],
};

it('every function that writes for GitHub has met the corpus, or says why not', async () => {
  const room = join(import.meta.dirname, '../../src/policy/markdown');
  const written = new Set<string>();
  for (const file of globSync(join(room, '*.ts'))) {
    const module = (await import(file)) as Record<string, unknown>;
    for (const [name, value] of Object.entries(module)) if (typeof value === 'function') written.add(name);
  }
  const tests = ['gh-markdown.test.ts', basename(import.meta.filename)];
  const sources = await Promise.all(tests.map((name) => readFile(join(import.meta.dirname, name), 'utf8')));
  const met = (name: string): boolean => sources.some((source) => new RegExp(`\\b${name}\\(`).test(source));
  const excused = Object.values(OTHERWISE).flat();
  expect([...written].filter((name) => !met(name) && !excused.includes(name))).toEqual([]);
  // No excuse is older than its function.
  expect(excused.filter((name) => !written.has(name))).toEqual([]);
});
