import { describe, expect, it } from 'vitest';
import type { EgressEntry } from '../../src/domain/policy.ts';
import { mayAdd, operatorLine, readWaysOut, writeWaysOut } from '../../src/policy/authority/may-add.ts';
import { mayAsk, teamsToAsk, type TeamStanding } from '../../src/policy/authority/may-ask.ts';

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

  it.each<[string, string, Parameters<typeof mayAsk>[1], string[], string]>([
    ['who is named', 'ann', 'write', ['bob', 'ann'], 'allow'],
    ['who is named in another case', 'Ann', 'admin', ['aNN'], 'allow'],
    ['who is not named', 'ann', 'admin', ['bob', 'annie'], 'not_an_asker'],
    ['nobody is named', 'ann', 'admin', [], 'not_an_asker'],
    ['who is named and may only read', 'ann', 'read', ['ann'], 'no_write_access'],
    ['a bot that is named', 'helper[bot]', 'write', ['helper[bot]'], 'bot'],
  ])('with askers: %s', (_what, login, permission, askers, expected) => {
    const decision = mayAsk({ login, type: 'User' }, permission, askers);
    expect(decision.allow ? 'allow' : decision.reason).toBe(expected);
  });

  it.each<[string, Parameters<typeof mayAsk>[1], string[], TeamStanding, string]>([
    ['a member of a team', 'write', ['corp/core'], 'member', 'write access and a team of askers'],
    ['who is in none', 'write', ['corp/core'], 'none', 'not_an_asker'],
    ['whose teams may not be read', 'write', ['corp/core'], 'unreadable', 'teams_unreadable'],
    [
      'who is named, with teams that may not be read',
      'write',
      ['ann', 'corp/core'],
      'unreadable',
      'write access and askers',
    ],
    ['a member who may only read', 'read', ['corp/core'], 'member', 'no_write_access'],
    ['a login like the organisation of a team', 'write', ['ann/core'], 'none', 'not_an_asker'],
  ])('with teams: %s', (_what, permission, askers, teams, expected) => {
    const decision = mayAsk(user, permission, askers, teams);
    expect(decision.allow ? decision.rule : decision.reason).toBe(expected);
  });

  it.each<[string, Parameters<typeof mayAsk>[1], string[] | undefined, string[]]>([
    ['the teams of the owner, each once', 'write', ['Corp/Core', 'corp/core', 'corp/docs', 'bob'], ['core', 'docs']],
    ['no team of another organisation', 'write', ['other/core', 'corporation/core'], []],
    ['nobody, for who is named', 'write', ['corp/core', 'ann'], []],
    ['nobody, for who may not write', 'read', ['corp/core'], []],
    ['nobody, without a list', 'write', undefined, []],
  ])('asks about %s', (_what, permission, askers, expected) => {
    expect(teamsToAsk(user, permission, { owner: 'corp', askers })).toEqual(expected);
  });

  it('does not know other rights', () => {
    for (const odd of ['maintain', 'WRITE', '', 'true', 'triage']) {
      expect(mayAsk(user, odd as 'write').allow).toBe(false);
    }
  });
});

describe('what people may add', () => {
  const permitted: EgressEntry[] = [
    'pip',
    { host: 'api.example.com', methods: ['GET', 'POST'], paths: ['/v1/**'] },
    { host: '*.docs.example.com', methods: ['GET'] },
    { host: 'open.example.com' },
  ];
  it.each([
    ['pip', 'pip'],
    ['npm', undefined],
    ['pip=GET', undefined],
    ['api.example.com', { host: 'api.example.com', methods: ['GET'], paths: ['/v1/**'] }],
    ['api.example.com=GET+POST', { host: 'api.example.com', methods: ['GET', 'POST'], paths: ['/v1/**'] }],
    ['api.example.com=DELETE', undefined],
    ['api.example.com=GET+DELETE', undefined],
    ['a.docs.example.com', { host: 'a.docs.example.com', methods: ['GET'] }],
    ['docs.example.com', undefined],
    ['evildocs.example.com', undefined],
    ['open.example.com', { host: 'open.example.com', methods: ['GET', 'HEAD'] }],
    ['open.example.com=PUT', { host: 'open.example.com', methods: ['PUT'] }],
    ['*.example.com', undefined],
    ['other.test', undefined],
  ])('%s: %j', (flag, entry) => {
    const [way] = readWaysOut(flag);
    const found = mayAdd(permitted, way ?? { name: '', methods: [] });
    expect('entry' in found ? found.entry : undefined).toEqual(entry);
    expect(found.decision).toMatchObject({ allow: entry !== undefined, rule: 'egress.mayAdd' });
    expect(writeWaysOut([way ?? { name: '', methods: [] }])).toBe(flag);
  });

  it('nothing is covered by nothing', () => {
    expect(mayAdd([], { name: 'a.test', methods: [] }).decision).toEqual({
      allow: false,
      rule: 'egress.mayAdd',
      reason: 'not_allowed',
    });
    expect(operatorLine({ name: 'a.test', methods: ['POST'] })).toBe('- { host: "a.test", methods: [POST] }');
  });
});
