/**
 * GitHub's own hosts through the real gateway, on a hermetic internet: reads of named repositories and their signed
 * downloads, and nothing else. Judged at the sink; each denial has an allowed twin.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { denials, hermetic, policyOf, tlsTo, type Hermetic } from '../gateway/hermetic.ts';

const HOSTS = {
  'api.github.com': '93.184.100.1',
  'github.com': '93.184.100.2',
  'release-assets.githubusercontent.com': '93.184.100.3',
  'raw.githubusercontent.com': '93.184.100.4',
  'gist.github.com': '93.184.100.5',
} as const;
type Host = keyof typeof HOSTS;
const SIGNED = '/asset/1?sig=a%2Fb&se=2026';

let h: Hermetic;
let seen: string[];

beforeEach(async () => {
  const policy = policyOf([
    { host: 'api.github.com' },
    { host: 'github.com', paths: ['/Octo/Tool/releases/download/**'] },
  ]);
  h = await hermetic({ policy: { ...policy, gitRepositories: ['own/repo'] } });
  seen = [];
  for (const [host, address] of Object.entries(HOSTS)) {
    h.internet.names.set(host, [address]);
    await h.internet.serveHttps(`${address}:443`, host, (request, response) => {
      seen.push(`${request.method ?? ''} ${host}${request.url ?? ''}`);
      const location = `https://release-assets.githubusercontent.com${SIGNED}`;
      if (host === 'github.com') response.writeHead(302, { location, 'content-length': 0 }).end();
      else response.writeHead(200, { 'content-length': 5 }).end('hello');
    });
  }
});
afterEach(async () => {
  await h.close();
});

function sink(host: Host): string {
  return h.internet.sink(`${HOSTS[host]}:443`).toString('latin1');
}

async function ask(host: Host, line: string, headers = ''): Promise<string> {
  const raw = await tlsTo(h, host);
  raw.send(`${line} HTTP/1.1\r\nHost: ${host}\r\n${headers}Connection: close\r\n\r\n`);
  return raw.finish();
}

async function twin(): Promise<void> {
  expect(await ask('api.github.com', 'GET /repos/OWN/Repo/releases')).toContain('hello');
}

describe('NET-023 GH-016 TLS-014', () => {
  test.each([
    ['a gist', 'POST /gists'],
    ['an issue', 'POST /repos/own/repo/issues'],
    ['a comment', 'POST /repos/own/repo/issues/1/comments'],
    ['a release', 'POST /repos/own/repo/releases'],
    ['a dispatch', 'POST /repos/own/repo/actions/workflows/1/dispatches'],
    ['GraphQL', 'POST /graphql'],
    ['a deploy key', 'POST /repos/own/repo/keys'],
    ['a secret', 'PUT /repos/own/repo/actions/secrets/X'],
    ['a token', 'POST /app/installations/1/access_tokens'],
    ['another repository', 'GET /repos/octo/tool/contents/x'],
    ['a numeric id', 'GET /repositories/1296269'],
    ['code search', 'GET /search/code?q=exfil'],
    ['who I am', 'GET /user'],
    ['a path that is climbed out of', 'GET /repos/own/repo/%2e%2e/%2e%2e/user'],
  ])('%s is refused, with the attacker’s own token or without', async (_what, line) => {
    const text = await ask('api.github.com', line, 'Authorization: token ghp_attacker\r\nContent-Length: 0\r\n');
    expect(text).toMatch(/^HTTP\/1\.1 4/);
    expect(seen).toEqual([]);
    expect(denials(h.events).length).toBeGreaterThan(0);
    await twin();
  });

  test('a read of the run’s own repository carries no credential of the client', async () => {
    const text = await ask(
      'api.github.com',
      'GET /repos/own/repo',
      'Authorization: token ghp_attacker\r\nX-Data: exfil\r\n',
    );
    expect(text).toContain('hello');
    expect(sink('api.github.com')).not.toMatch(/attacker|exfil/);
  });

  test('gists have a host that no rule allows', async () => {
    await expect(tlsTo(h, 'gist.github.com')).rejects.toThrow(/403/);
    expect(seen).toEqual([]);
    await twin();
  });
});

describe('signed downloads', () => {
  const DOWNLOAD = 'GET /octo/tool/releases/download/v1/a.tgz?data=exfil';

  test('may be asked for right after the answer that named them, and once', async () => {
    expect(await ask('release-assets.githubusercontent.com', `GET ${SIGNED}`)).toMatch(/path_not_allowed/);
    expect(seen).toEqual([]);
    const answer = await ask('github.com', DOWNLOAD);
    expect(answer).toMatch(/^HTTP\/1\.1 302/);
    // The query is none of GitHub's business there.
    expect(sink('github.com')).not.toContain('exfil');
    expect(await ask('release-assets.githubusercontent.com', `GET ${SIGNED}`)).toContain('hello');
    expect(await ask('release-assets.githubusercontent.com', `GET ${SIGNED}`)).toMatch(/path_not_allowed/);
    expect(seen.filter((line) => line.includes('release-assets'))).toEqual([
      `GET release-assets.githubusercontent.com${SIGNED}`,
    ]);
  });

  test.each([
    ['another path', 'GET /asset/2?sig=a%2Fb&se=2026'],
    ['another query', `GET ${SIGNED}&data=exfil`],
    ['a write', `PUT ${SIGNED}`],
  ])('%s is refused', async (_what, line) => {
    await ask('github.com', DOWNLOAD);
    expect(await ask('release-assets.githubusercontent.com', line, 'Content-Length: 0\r\n')).toMatch(/^HTTP\/1\.1 403/);
    expect(sink('release-assets.githubusercontent.com')).toBe('');
    expect(await ask('release-assets.githubusercontent.com', `GET ${SIGNED}`)).toContain('hello');
  });

  test('a release of a repository that the rule does not name is refused, and names nothing', async () => {
    expect(await ask('github.com', 'GET /evil/tool/releases/download/v1/a.tgz')).toMatch(/path_not_allowed/);
    expect(await ask('release-assets.githubusercontent.com', `GET ${SIGNED}`)).toMatch(/path_not_allowed/);
    expect(seen).toEqual([]);
    await twin();
  });
});
