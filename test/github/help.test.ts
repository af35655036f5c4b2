import { expect, it } from 'vitest';
import { parsePolicy } from '../../src/config/policy-file.ts';
import { helpOf } from '../../src/main/help-of.ts';
import { helpReply, type HelpFacts } from '../../src/policy/markdown/replies.ts';
import { HELP } from './installation.ts';
import { stage } from './stage.ts';

const base: HelpFacts = { ...HELP, hold: 'protected' };
const policy = parsePolicy('egress: { allow: [] }\nllm: { providers: { anthropic: {} } }\n', 'p');
const installation = { policy, agents: ['opencode', 'codex'] };

it.each<[string, string | null, string[], string]>([
  ['no file', null, ['$5.00 and take 30 minutes', '`opencode`'], 'refused here'],
  [
    'a file that narrows',
    'agent: codex\nlimits: { maxCostUsd: 1.5, timeoutMinutes: 7 }\npublish: { hold: always }\n',
    ['$1.50 and take 7 minutes', '`codex`', 'Every result waits'],
    'refused here',
  ],
  ['a file that is not valid', 'a: 1\n', ['refused here', 'line 1, column 1', '$5.00'], 'Every result'],
])('help says what this repository allows: %s', async (_name, text, parts, not) => {
  await using here = await stage();
  if (text !== null) await here.shop.commit({ message: 'x', files: { '.github/cofferdam.yml': text } });
  // A branch of the same file that nobody merged says nothing.
  const other = { '.github/cofferdam.yml': 'limits: { maxCostUsd: 0.25 }\n' };
  await here.shop.commit({ message: 'x', branch: 'topic', files: other });
  const facts = await helpOf(base, { repository: here.repository, defaultBranch: 'main', installation });
  const said = helpReply(facts);
  for (const part of parts) expect(said).toContain(part);
  expect(said).not.toContain(not);
  expect(said).not.toContain('$0.25');
});
