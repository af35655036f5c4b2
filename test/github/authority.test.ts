import { describe, expect, it } from 'vitest';
import { stage, type Stage } from './stage.ts';

const ASKERS = ['bob', 'octo-owner/core', 'elsewhere/all'];

function calls({ standIn }: Stage): string[] {
  return standIn.requests.map(({ operationId }) => operationId ?? '').filter((id) => /permission-level|teams/.test(id));
}

async function ask(here: Stage, login: string, askers: readonly string[] | null = ASKERS): Promise<string> {
  const { id, type } = here.standIn.createUser(login);
  const decision = await here.repository.authority({ login, id, type }, askers ?? undefined);
  return decision.allow ? decision.rule : decision.reason;
}

/** alice, carol and dave may write, eve may not. */
async function scene(permissions: Record<string, 'read' | 'write'> = { members: 'read' }): Promise<Stage> {
  const here = await stage(permissions);
  for (const login of ['bob', 'carol', 'dave']) here.shop.setRole(login, 'write');
  here.standIn.setTeam('octo-owner', 'core', { alice: 'active', carol: 'pending', eve: 'active' });
  here.standIn.setTeam('elsewhere', 'all', { dave: 'active' });
  return here;
}

describe('who may make it act, with teams among the askers', () => {
  it.each([
    ['a member', 'alice', 'write access and a team of askers'],
    ['a member in another spelling', 'ALICE', 'write access and a team of askers'],
    ['who is named', 'bob', 'write access and askers'],
    ['who was invited and has not accepted', 'carol', 'not_an_asker'],
    ['a member of a team of another organisation', 'dave', 'not_an_asker'],
    ['a member without write access', 'eve', 'no_write_access'],
  ])('%s', async (_name, login, expected) => {
    await using here = await scene();
    expect(await ask(here, login)).toBe(expected);
    expect(calls(here).filter((id) => id.startsWith('teams'))).toHaveLength(/alice|carol|dave/i.test(login) ? 1 : 0);
  });

  it('nobody is in a team that was deleted, nor in one that never was', async () => {
    await using here = await scene();
    expect(await ask(here, 'alice')).toMatch(/team/);
    here.standIn.setTeam('octo-owner', 'core', null);
    expect(await ask(here, 'alice')).toBe('not_an_asker');
    expect(await ask(here, 'alice', ['octo-owner/never'])).toBe('not_an_asker');
  });

  it('without the permission nobody is let in by a team, and whoever is named still is', async () => {
    await using here = await scene({});
    expect(await ask(here, 'alice')).toBe('teams_unreadable');
    expect(await ask(here, 'bob')).toBe('write access and askers');
    expect(await ask(here, 'eve')).toBe('no_write_access');
  });

  it('a permission that was taken back since the token was made is a no as well', async () => {
    await using here = await scene();
    expect(await ask(here, 'alice')).toMatch(/team/);
    here.standIn.fault({ operationId: 'teams/get-membership-for-user-in-org', status: 403 });
    expect(await ask(here, 'alice')).toBe('teams_unreadable');
  });

  it('an answer that does not come is no answer', async () => {
    await using here = await scene();
    here.standIn.fault({ operationId: 'teams/get-membership-for-user-in-org', status: 502, times: 20 });
    await expect(ask(here, 'alice')).rejects.toMatchObject({ kind: 'unavailable' });
  });

  it('asks nobody about a bot, and about teams only where the list has some', async () => {
    await using here = await scene();
    const bot = { login: 'helper[bot]', id: 7, type: 'Bot' };
    expect(await here.repository.authority(bot, ASKERS)).toMatchObject({ allow: false, reason: 'bot' });
    expect(calls(here)).toEqual([]);
    expect(await ask(here, 'alice', null)).toBe('write access');
    expect(calls(here)).toEqual(['repos/get-collaborator-permission-level']);
  });

  it('a name that belongs to another account by now is in no team', async () => {
    await using here = await scene();
    const actor = { login: 'alice', id: 1, type: 'User' };
    expect(await here.repository.authority(actor, ASKERS)).toMatchObject({ allow: false, reason: 'no_write_access' });
  });
});
