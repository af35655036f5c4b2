import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseEnv } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { setupCommand } from '../../src/cli/setup.ts';
import { readEnvironment } from '../../src/config/environment.ts';
import { createGitHub } from '../../src/github/github.ts';
import { freePort } from '../../src/local/free-port.ts';
import { startStandIn, type StandIn } from '../../src/local/github/stand-in.ts';
import { runCommand } from '../../src/local/machine/process.ts';
import { eventually } from '../queue/redis-server.ts';
import { browser } from './browser.ts';

const PUBLIC = 'https://cofferdam.example.com';
let dir: string;
let output: string;
let standIn: StandIn;
let stop: AbortController;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cofferdam-setup-'));
  output = join(dir, '.env');
  standIn = await startStandIn({ dir: join(dir, 'github') });
  stop = new AbortController();
});
afterEach(async () => {
  stop.abort();
  expect(standIn.violations).toEqual([]);
  await standIn.stop();
  await rm(dir, { recursive: true, force: true });
});

interface Setup {
  /** The link that a person opens. */
  link: URL;
  lines: string[];
  ended: Promise<number>;
}

/** `cofferdam setup`, until it has printed its link. */
async function setup(more: { organization?: string } = {}): Promise<Setup> {
  const environment = readEnvironment({
    GHE_HOST: standIn.host,
    GHE_PROTOCOL: 'http',
    COFFERDAM_PUBLIC_URL: PUBLIC,
    COFFERDAM_POLICY: join(dir, 'policy.yml'),
  });
  const lines: string[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<URL>();
  const print = (line: string): void => {
    lines.push(line);
    if (line.startsWith('Open ')) resolve(new URL(line.slice('Open '.length)));
  };
  const ended = setupCommand({ output, environment, signal: stop.signal, print, ...more });
  ended.catch(reject);
  return { link: await promise, lines, ended };
}

/** Where the page's last form goes, and the values of its fields. */
function form(page: string): { action: string; fields: Record<string, string> } {
  const entities: Record<string, string> = { quot: '"', '#39': "'", lt: '<', gt: '>', amp: '&' };
  const plain = (text = ''): string =>
    text.replaceAll(/&(quot|#39|lt|gt|amp);/g, (_, name: string) => entities[name] ?? '');
  const last = page.slice(page.lastIndexOf('<form'));
  const inputs = [...last.matchAll(/<input\s[^>]*?name="([^"]*)"\s[^>]*?value="([^"]*)"/gs)];
  return {
    action: plain(/<form[^>]*action="([^"]*)"/.exec(last)?.[1]),
    fields: Object.fromEntries(inputs.map(([, name = '', value]) => [name, plain(value)])),
  };
}

/** What GitHub sends the browser to after the person's click: the way back with code and state. */
async function clickThrough(link: URL): Promise<URL> {
  const first = form(await (await fetch(link)).text());
  const asked = await fetch(first.action, { method: 'POST', body: new URLSearchParams(first.fields) });
  expect(asked.status).toBe(200);
  const second = form(await asked.text());
  const action = new URL(second.action, standIn.url);
  const back = await fetch(action, {
    method: 'POST',
    headers: { origin: standIn.url },
    body: new URLSearchParams(second.fields),
    redirect: 'manual',
  });
  expect([302, 303]).toContain(back.status);
  return new URL(back.headers.get('location') ?? '');
}

/** The status of a GET with a Host header of one's choice. */
function statusFor(url: URL, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    get(url, { headers: { host } }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    }).on('error', reject);
  });
}

const absent = async (): Promise<boolean> =>
  stat(output).then(
    () => false,
    () => true,
  );

describe('cofferdam setup', () => {
  it('writes the settings that start reads: mode 0600, and GitHub knows the App', async () => {
    const { link, lines, ended } = await setup();
    expect(link.hostname).toBe('127.0.0.1');
    const done = await fetch(await clickThrough(link));
    expect(done.status).toBe(200);
    expect(await done.text()).toContain(`/apps/${standIn.app.slug}/installations/new`);
    expect(await ended).toBe(0);
    expect(lines.at(-1)).toContain(output);
    expect((await stat(output)).mode & 0o777).toBe(0o600);
    const written = parseEnv(await readFile(output, 'utf8'));
    const environment = readEnvironment(written);
    expect(environment).toMatchObject({
      appId: standIn.app.id,
      webhookSecret: standIn.app.webhookSecret,
      publicUrl: PUBLIC,
      policyFile: join(dir, 'policy.yml'),
      github: { apiUrl: `${standIn.url}/api/v3`, webUrl: standIn.url },
    });
    const { appId = 0, privateKey = '' } = environment;
    const github = createGitHub({ baseUrl: environment.github.apiUrl, appId, privateKey });
    expect(await github.check()).toMatchObject({ slug: standIn.app.slug });
  });

  it('asks GitHub for exactly what app.yml says, with this installation’s addresses', async () => {
    const { link } = await setup({ organization: 'acme corp' });
    const { action, fields } = form(await (await fetch(link)).text());
    expect(action).toMatch(
      new RegExp(`^${standIn.url}/organizations/acme%20corp/settings/apps/new\\?state=[\\w-]{32}$`),
    );
    // GitHub learns the way back, and not what opens the page.
    expect(action).not.toContain(link.searchParams.get('token'));
    expect(JSON.parse(fields['manifest'] ?? '')).toMatchObject({
      public: false,
      hook_attributes: { url: `${PUBLIC}/api/github/webhooks`, active: true },
      redirect_url: `${link.origin}/registered`,
      default_permissions: { contents: 'write', metadata: 'read' },
      default_events: expect.arrayContaining(['issues', 'issue_comment']) as string[],
    });
  });

  it('works for a person with a browser', async () => {
    const { link, ended } = await setup();
    await using chromium = await browser();
    const page = await chromium.newPage();
    await page.goto(link.href);
    await page.getByRole('button', { name: 'Register the App' }).click();
    await page.getByRole('button', { name: 'Create GitHub App' }).click();
    await page.getByText('The App is registered').waitFor();
    expect(await ended).toBe(0);
    expect(parseEnv(await readFile(output, 'utf8'))['APP_ID']).toBe(String(standIn.app.id));
  });

  it('answers nobody without its token, under its own name only', async () => {
    const { link } = await setup();
    const code = standIn.manifestCode();
    const wrong = 'x'.repeat(32);
    const token = link.searchParams.get('token') ?? '';
    for (const path of [
      '/',
      `/?token=${wrong}`,
      `/?state=${token}`,
      `/registered?code=${code}`,
      `/registered?state=${wrong}&code=${code}`,
      `/registered?state=${token}&code=${code}`,
      '//evil.example/?token=x',
    ]) {
      expect({ path, status: (await fetch(`${link.origin}${path}`)).status }).toEqual({ path, status: 403 });
    }
    expect((await fetch(link, { method: 'POST' })).status).toBe(403);
    // DNS rebinding: a name of somebody else's that points to loopback.
    expect(await statusFor(link, 'evil.example')).toBe(403);
    expect(await statusFor(link, link.host)).toBe(200);
    expect(await absent()).toBe(true);
    // None of these spent the code.
    const way = await clickThrough(link);
    way.searchParams.set('code', code);
    expect((await fetch(way)).status).toBe(200);
  });

  it('a code works once: two at the same time make one App, and afterwards nobody listens', async () => {
    const { link, ended } = await setup();
    const way = await clickThrough(link);
    const answers = await Promise.all([fetch(way), fetch(way)].map((one) => one.then(({ status }) => status)));
    expect(answers.toSorted()).toEqual([200, 409]);
    expect(await ended).toBe(0);
    await expect(fetch(way)).rejects.toThrow('fetch failed');
    expect(standIn.requests.filter(({ operationId }) => operationId === 'apps/create-from-manifest')).toHaveLength(1);
  });

  it('denied or failed on GitHub: nothing is written, the person may try again', async () => {
    const { link, lines, ended } = await setup();
    const way = await clickThrough(link);
    const denied = new URL(way);
    denied.searchParams.delete('code');
    expect((await fetch(denied)).status).toBe(400);
    const stale = new URL(way);
    stale.searchParams.set('code', 'spent-already');
    const failed = await fetch(stale);
    expect(failed.status).toBe(502);
    expect(await failed.text()).toContain('GitHub answered 404');
    expect(lines.at(-1)).toContain('GitHub answered 404');
    expect(await absent()).toBe(true);
    expect((await fetch(way)).status).toBe(200);
    expect(await ended).toBe(0);
  });

  it('never overwrites a file: one that is there before is an error, one that appears meanwhile stays', async () => {
    await writeFile(output, 'APP_ID=1\n');
    await expect(setup()).rejects.toMatchObject({ code: 'config', message: expect.stringContaining(output) as string });
    await rm(output);
    const { link } = await setup();
    const way = await clickThrough(link);
    await writeFile(output, 'APP_ID=1\n');
    expect((await fetch(way)).status).toBe(502);
    expect(await readFile(output, 'utf8')).toBe('APP_ID=1\n');
    // The code was not spent on it: with the file out of the way it works.
    await rm(output);
    expect((await fetch(way)).status).toBe(200);
  });

  it('ends when it is stopped, with nothing written', async () => {
    const { ended } = await setup();
    stop.abort();
    expect(await ended).toBe(130);
    expect(await absent()).toBe(true);
  });

  it('wants to know where GitHub reaches the server', async () => {
    const environment = readEnvironment({});
    await expect(setupCommand({ output, environment, signal: stop.signal })).rejects.toMatchObject({
      code: 'config',
      message: expect.stringContaining('COFFERDAM_PUBLIC_URL') as string,
    });
  });

  it('start runs on nothing but the written file, and without it names setup', async () => {
    const port = await freePort();
    const alone = { PATH: process.env['PATH'], HOME: dir, COFFERDAM_DATA_DIR: join(dir, 'data'), PORT: String(port) };
    const none = await runCommand([process.execPath, PROGRAM, 'start'], { cwd: dir, env: alone });
    expect(none).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('setup') as string });
    await chmod(dir, 0o711);
    await writeFile(join(dir, 'policy.yml'), 'egress: { allow: [] }\n');
    const { link, ended } = await setup();
    expect((await fetch(await clickThrough(link))).status).toBe(200);
    expect(await ended).toBe(0);
    const env = { ...alone, ...pass('DOCKER_HOST', 'COFFERDAM_MACHINE_DIR') };
    const started = spawn(process.execPath, [PROGRAM, 'start'], { cwd: dir, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [started.stdout, started.stderr])
      stream.on('data', (text: Buffer) => (said += text.toString()));
    const exit = once(started, 'exit');
    const end = Date.now() + 120_000;
    while (Date.now() < end && !said.includes('worker started') && started.exitCode === null) await sleep(200);
    expect(said).toContain('known to GitHub');
    expect(said).toContain('worker started');
    // Server and worker are two processes, and either may be the first.
    const answers = async () =>
      (await fetch(`http://127.0.0.1:${port}/healthz`).catch(() => undefined))?.status === 200;
    await eventually(answers, 'the server answers');
    started.kill('SIGTERM');
    expect(await exit).toEqual([0, null]);
  });
});

const PROGRAM = join(process.cwd(), 'src/main/cofferdam.ts');

/** These of the machine's own variables that are set. */
function pass(...names: string[]): Record<string, string> {
  return Object.fromEntries(
    names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
}
