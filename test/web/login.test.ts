import { describe, expect, it, vi } from 'vitest';
import { createLogin } from '../../src/github/login.ts';
import type { RepositoryHandle } from '../../src/local/github/repository-handle.ts';
import type { StandIn } from '../../src/local/github/stand-in.ts';
import {
  BEGINNING,
  directory,
  openLog,
  putAll,
  RUN_ID,
  WHOLE_RUN,
  type Directory,
  type RunLog,
} from '../audit/run-log.ts';
import { stage } from '../local/github-support.ts';
import { pagesStage, record, type PagesStage } from './stage.ts';

const PAGE = `/runs/${RUN_ID}`;
const COOKIE = 'cofferdam_session';

interface Scene extends AsyncDisposable {
  standIn: StandIn;
  pages: PagesStage;
  dir: Directory;
  log: RunLog;
  repository: RepositoryHandle;
}

/** A private repository that alice and bob may read, and the pages signed in through the stand-in's own flow. */
async function scene({ secret, runs = false }: { secret?: string; runs?: boolean } = {}): Promise<Scene> {
  const undo = new AsyncDisposableStack();
  const github = undo.use(await stage());
  const { standIn } = github;
  const dir = undo.use(await directory());
  const log = await openLog(dir);
  await putAll(log, runs ? BEGINNING : WHOLE_RUN);
  if (!runs) await log.seal();
  for (const login of ['alice', 'bob', 'mallory']) standIn.createUser(login);
  const shop = await standIn.createRepository({
    owner: 'octo-owner',
    name: 'kettle',
    private: true,
    collaborators: { alice: 'write', bob: 'read' },
    files: { 'README.md': 'kettle' },
  });
  const { clientId, clientSecret } = standIn.app;
  const login = createLogin({
    apiUrl: `${standIn.url}/api/v3`,
    webUrl: standIn.url,
    clientId,
    clientSecret: secret ?? clientSecret,
  });
  const pages = undo.use(await pagesStage(dir, { mode: { kind: 'github', github: login }, githubUrl: standIn.url }));
  const known = record(RUN_ID, { state: runs ? 'running' : 'succeeded' });
  Object.assign(known.request.repo, { owner: 'octo-owner', name: 'kettle', id: shop.repository.id });
  pages.records.push(known);
  const rest = undo.move();
  return { standIn, pages, dir, log, repository: shop, [Symbol.asyncDispose]: () => rest.disposeAsync() };
}

function cookieOf(response: Response, name: string): string {
  const found = response.headers.getSetCookie().find((one) => one.startsWith(`${name}=`));
  return found?.split(';')[0] ?? '';
}

/** What a person does in a browser: sign in, agree on GitHub, come back. */
async function signIn(
  { standIn, pages }: Scene,
  login: string,
): Promise<{ back: Response; callback: string; pending: string }> {
  const begun = await pages.get(`/runs/-/login?back=${PAGE}`);
  const asked = new URL(begun.headers.get('location') ?? '');
  expect(asked.origin).toBe(standIn.url);
  const person = { cookie: `stand-in-user=${login}` };
  const page = await fetch(asked, { headers: { ...person, accept: 'text/html' } });
  expect(await page.text()).toContain(`You are <b>${login}</b>`);
  const agreed = await fetch(`${standIn.url}/_/authorize`, {
    method: 'POST',
    redirect: 'manual',
    headers: { ...person, origin: standIn.url },
    body: asked.searchParams,
  });
  const callback = agreed.headers.get('location') ?? '';
  const pending = cookieOf(begun, 'cofferdam_login');
  const back = await fetch(callback, { redirect: 'manual', headers: { cookie: pending } });
  return { back, callback, pending };
}

async function sessionOf(here: Scene, login: string): Promise<Record<string, string>> {
  const { back } = await signIn(here, login);
  expect([back.status, back.headers.get('location')]).toEqual([303, PAGE]);
  return { cookie: cookieOf(back, COOKIE) };
}

describe('signing in with GitHub', () => {
  it('shows a run to those who may read its repository, and to nobody else', async () => {
    await using here = await scene();
    const { pages } = here;
    expect((await pages.get(PAGE)).status).toBe(401);
    for (const [login, status] of [
      ['alice', 200],
      ['bob', 200],
      ['mallory', 404],
    ] as const) {
      const session = await sessionOf(here, login);
      for (const path of [PAGE, `${PAGE}/events`, `${PAGE}/audit.jsonl`, `${PAGE}/check`])
        expect([login, path, (await pages.get(path, session)).status]).toEqual([login, path, status]);
      const list = await (await pages.get('/runs', session)).text();
      expect([login, list.includes(PAGE)]).toEqual([login, status === 200]);
    }
    const alice = await sessionOf(here, 'alice');
    expect((await pages.get('/runs/rbbbbbbbbbbbb', alice)).status).toBe(404);
    expect(here.standIn.violations).toEqual([]);
  });

  it.each([
    ['by who loses the right to read the repository', 'alice'],
    ['by who signs out', 'bob'],
  ])('is seen no longer %s: the page that is open ends, and no other one opens', async (_how, login) => {
    // An answer of GitHub is believed for a minute.
    vi.useFakeTimers({ toFake: ['Date'] });
    try {
      await using here = await scene({ runs: true });
      const { pages, repository } = here;
      const [stays, goes] = [await sessionOf(here, login === 'alice' ? 'bob' : 'alice'), await sessionOf(here, login)];
      const heard = async (session: Record<string, string>): Promise<() => string> => {
        const { body } = await pages.get(`${PAGE}/live`, session);
        let text = '';
        void (async () => {
          for await (const chunk of body ?? []) text += Buffer.from(chunk as Uint8Array).toString();
        })().catch(() => undefined);
        await expect.poll(() => text).toContain('Agent works');
        return () => text;
      };
      const [other, mine] = [await heard(stays), await heard(goes)];
      if (login === 'alice') repository.setRole('alice', 'none');
      else {
        const form = { ...goes, 'sec-fetch-site': 'same-origin' };
        await fetch(`${pages.url}/runs/-/logout`, { method: 'POST', redirect: 'manual', headers: form });
      }
      vi.setSystemTime(Date.now() + 61_000);
      await expect.poll(mine).toContain('event: lost');
      const refused = login === 'alice' ? 404 : 401;
      for (const path of [PAGE, `${PAGE}/live`, `${PAGE}/audit.jsonl`])
        expect([path, (await pages.get(path, goes)).status]).toEqual([path, refused]);
      expect((await pages.get(PAGE, stays)).status).toBe(200);
      expect(other()).not.toContain('event: lost');
      await here.log.seal();
    } finally {
      vi.useRealTimers();
    }
  });

  it('does not take another repository with the same name for it', async () => {
    await using here = await scene();
    const [known] = here.pages.records;
    if (known !== undefined) known.request.repo.id = 999_999;
    expect((await here.pages.get(PAGE, await sessionOf(here, 'alice'))).status).toBe(404);
  });

  it('shows a run without a record to its operator only', async () => {
    await using here = await scene();
    here.pages.records.length = 0;
    expect((await here.pages.get(PAGE, await sessionOf(here, 'alice'))).status).toBe(404);
  });

  it('binds the answer to the browser that asked, once', async () => {
    await using here = await scene();
    const { callback, pending } = await signIn(here, 'alice');
    // Once used, and in a browser that never asked.
    for (const cookie of [pending, '', 'cofferdam_login=x']) {
      const again = await fetch(callback, { redirect: 'manual', headers: { cookie } });
      expect([again.status, cookieOf(again, COOKIE)]).toEqual([400, '']);
    }
    const begun = await here.pages.get('/runs/-/login');
    const state = new URL(begun.headers.get('location') ?? '').searchParams.get('state') ?? '';
    const forged = new URL(callback);
    forged.searchParams.set('state', state);
    forged.searchParams.set('code', 'nonsense');
    const response = await fetch(forged, {
      redirect: 'manual',
      headers: { cookie: cookieOf(begun, 'cofferdam_login') },
    });
    expect([response.status, cookieOf(response, COOKIE)]).toEqual([502, '']);
    here.standIn.violations.length = 0;
  });

  it('leads back to its own pages only', async () => {
    await using here = await scene();
    for (const back of ['https://evil.example', '//evil.example', '/other', '/runs/../x', '/runs\\evil']) {
      const begun = await here.pages.get(`/runs/-/login?back=${encodeURIComponent(back)}`);
      const [stored = ''] = [...here.pages.store.values()].slice(-1);
      expect([begun.status, JSON.parse(stored)]).toMatchObject([303, { back: '/runs' }]);
    }
  });

  it('keeps neither the session id nor the token readable in the store', async () => {
    await using here = await scene();
    const session = await sessionOf(here, 'alice');
    const id = session['cookie']?.split('=')[1] ?? '';
    const token = Object.keys(here.standIn.state.userTokens).find((one) => one.startsWith('ghu_')) ?? '';
    const stored = JSON.stringify([...here.pages.store]);
    expect([id.length, token.length > 10]).toEqual([43, true]);
    for (const secret of [id, token, Buffer.from(token).toString('base64').slice(0, 30)])
      expect(stored).not.toContain(secret);
    // Another id finds nothing, nor does a value that was changed.
    expect((await here.pages.get(PAGE, { cookie: `${COOKIE}=${'A'.repeat(43)}` })).status).toBe(401);
    for (const [key, value] of here.pages.store) here.pages.store.set(key, `${value.slice(0, -4)}AAA=`);
    expect((await here.pages.get(PAGE, session)).status).toBe(401);
  });

  it('ends with signing out, which another site cannot do', async () => {
    await using here = await scene();
    const session = await sessionOf(here, 'alice');
    const logout = (site: string): Promise<Response> =>
      fetch(`${here.pages.url}/runs/-/logout`, {
        method: 'POST',
        redirect: 'manual',
        headers: { ...session, 'sec-fetch-site': site },
      });
    expect((await logout('cross-site')).status).toBe(403);
    expect((await here.pages.get(PAGE, session)).status).toBe(200);
    expect((await logout('same-origin')).status).toBe(303);
    expect((await here.pages.get(PAGE, session)).status).toBe(401);
  });

  it('is refused with a wrong client secret, and says so without a detail', async () => {
    await using here = await scene({ secret: 'wrong' });
    const { back } = await signIn(here, 'alice');
    expect(back.status).toBe(502);
    expect(await back.text()).not.toContain('incorrect_client_credentials');
    expect(here.standIn.violations.map((one) => one.details)).toEqual(['incorrect_client_credentials']);
  });
});

describe('the stand-in’s OAuth', () => {
  it.each([
    ['another App', { client_id: 'Iv23other' }, 404],
    ['a callback elsewhere', { redirect_uri: 'https://evil.example/' }, 422],
    ['a plain challenge', { code_challenge_method: 'plain' }, 422],
  ])('refuses %s', async (_name, change, status) => {
    await using here = await scene();
    const begun = await here.pages.get('/runs/-/login');
    const asked = new URL(begun.headers.get('location') ?? '');
    for (const [name, value] of Object.entries(change)) asked.searchParams.set(name, value);
    expect((await fetch(asked, { headers: { accept: 'text/html' } })).status).toBe(status);
  });
});
