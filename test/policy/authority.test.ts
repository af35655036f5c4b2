import { describe, expect, it } from 'vitest';
import { mayAsk } from '../../src/policy/authority/may-ask.ts';

describe('mayAsk', () => {
  const user = { login: 'ann', type: 'User' };
  const cases: [string, { login: string; type: string }, Parameters<typeof mayAsk>[1], string][] = [
    ['an admin', user, 'admin', 'allow'],
    ['a writer', user, 'write', 'allow'],
    ['a reader', user, 'read', 'no_write_access'],
    ['nobody', user, 'none', 'no_write_access'],
    ['a person that GitHub does not know', user, null, 'no_write_access'],
    ['a bot with write access', { login: 'helper[bot]', type: 'Bot' }, 'write', 'bot'],
    ['a bot that says it is a user', { login: 'helper[bot]', type: 'User' }, 'admin', 'bot'],
    ['a bot in capitals', { login: 'helper[BOT]', type: 'User' }, 'admin', 'bot'],
    ['an organisation', { login: 'corp', type: 'Organization' }, 'admin', 'bot'],
    ['a mannequin', { login: 'old', type: 'Mannequin' }, 'write', 'bot'],
    ['no type at all', { login: 'ann', type: '' }, 'write', 'bot'],
  ];
  it.each(cases)('%s', (_name, actor, permission, expected) => {
    const decision = mayAsk(actor, permission);
    expect(decision.allow ? 'allow' : decision.reason).toBe(expected);
  });

  it('does not know other rights', () => {
    for (const odd of ['maintain', 'WRITE', '', 'true', 'triage']) {
      expect(mayAsk(user, odd as 'write').allow).toBe(false);
    }
  });
});
