/**
 * `policy test` beside the gateway: the same policy file, the same question, the same verdict; and the line that a denial
 * names is accepted and lets exactly what was refused arrive.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { policyTestCommand } from '../../src/cli/policy.ts';
import { readEnvironment } from '../../src/config/environment.ts';
import { parsePolicy, parseRepositoryFile } from '../../src/config/policy-file.ts';
import { settleEgress } from '../../src/config/settle.ts';
import type { Decision } from '../../src/domain/decision.ts';
import type { EgressPolicy } from '../../src/domain/policy.ts';
import { connectTo, hermetic, PUBLIC, tlsTo, type Hermetic } from './hermetic.ts';

/** More of them, as for the other tests by generated input. */
const FACTOR = Number(process.env['COFFERDAM_FUZZ'] ?? '1');
const LONG = 'x'.repeat(41);
const ADDRESSES: Record<string, string> = { 'private.test': '10.0.0.1', 'metadata.test': '169.254.169.254' };
const PORTS = [80, 443, 8080];

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cofver-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

interface Question {
  host: string;
  port: number;
  /** Without one only the connection is asked for. */
  method?: string | undefined;
  path: string;
  upgrade: boolean;
}

interface Verdict {
  decision: Decision;
  wouldAllow?: string | undefined;
  /** Something of the request came to the far end. */
  arrived: boolean;
}

const rule = fc.record(
  {
    host: fc.constantFrom(
      ...['a.test', 'b.test', '*.w.test', 'x.w.test', 'private.test', 'metadata.test', '1e3', 'null', 'github.com'],
    ),
    ports: fc.constantFrom([443], [80], [8080], [80, 8080]),
    methods: fc.constantFrom(['GET'], ['GET', 'HEAD'], ['PROPFIND'], ['POST', 'PUT']),
    paths: fc.constantFrom(['/v1/*'], ['/v1/**', '/x'], ['/o/n/archive/**'], ['/@s%2F*']),
    upgrade: fc.constant(true),
    allowPrivate: fc.constant(true),
  },
  { requiredKeys: ['host'] },
);

const question: fc.Arbitrary<Question> = fc
  .record({
    host: fc.constantFrom(
      ...[
        'a.test',
        'A.test.',
        'b.test',
        'x.w.test',
        'y.w.test',
        `${LONG}.w.test`,
        'a.b.w.test',
        'w.test',
        'c.test',
        '1e3',
      ],
      ...['private.test', 'metadata.test', '127.1', '[::1]', 'a_b.test', 'null', 'github.com', 'gist.github.com'],
      ...['codeload.github.com', 'api.anthropic.com', 'metadata.google.internal', 'nobody.cofferdam.internal'],
    ),
    port: fc.constantFrom(...PORTS),
    method: fc.constantFrom(undefined, 'GET', 'HEAD', 'POST', 'DELETE', 'PROPFIND', 'TRACE'),
    path: fc.constantFrom(
      ...[
        '/',
        '/v1/a',
        '/v1/a%2fb',
        '/v1/%61?q=1',
        '/v1/../x',
        '/v1/..;/x',
        '/x',
        '/x"y',
        '/a*b',
        '/@s%2fp',
        '/dns-query',
      ],
      ...['/o/n/archive/main.zip', '/O/N/archive/main.zip', `/${'p'.repeat(600)}`, '/a,b]}'],
    ),
    upgrade: fc.boolean(),
  })
  .map((asked) => ({
    ...asked,
    // Nobody certifies a name without a dot, and the host behind TLS agrees to no upgrade.
    method: asked.host.includes('.') ? asked.method : undefined,
    upgrade: asked.upgrade && asked.port !== 443,
  }));

function policyText(rules: readonly object[], deny: readonly string[], more: readonly string[] = []): string {
  const lines = [...rules.map((one) => `- ${JSON.stringify(one)}`), ...more].map((line) => `    ${line}\n`);
  return `egress:\n  allow:${lines.length === 0 ? ' []' : ''}\n${lines.join('')}  deny: ${JSON.stringify(deny)}\n`;
}

/** Undefined for a policy that is refused when it is loaded. */
function policyOf(text: string): EgressPolicy | undefined {
  try {
    const loaded = parsePolicy(text, 'policy.yml');
    const rules = settleEgress(loaded, parseRepositoryFile(null)).flatMap(({ entry, source }) =>
      typeof entry === 'string' ? [] : [{ ...entry, source }],
    );
    return { rules, deny: loaded.policy.egress.deny, gitRepositories: [] };
  } catch {
    return undefined;
  }
}

/** Asks a gateway of its own. */
async function askGateway(policy: EgressPolicy, asked: Question): Promise<Verdict> {
  const h = await hermetic({ policy });
  try {
    const host = asked.host.toLowerCase().replace(/\.$/, '');
    const address = ADDRESSES[host] ?? PUBLIC;
    h.internet.names.set(host, [address]);
    const at = `${address}:${asked.port}`;
    await serve(h, at, { host, tls: asked.port === 443 });
    const { raw, status } = await connectTo(h.socketPath, `${asked.host}:${asked.port}`);
    raw.close();
    if (status === 200 && asked.method !== undefined) await request(h, { ...asked, host });
    const last = h.events.filter(({ type, decision }) => type !== 'egress.name' && decision !== undefined).at(-1);
    const named = last ?? h.events.filter(({ decision }) => decision !== undefined).at(-1);
    if (named?.decision === undefined) throw new Error('nothing was decided');
    const line = named.data?.['wouldAllow'];
    return {
      decision: named.decision,
      ...(typeof line === 'string' ? { wouldAllow: line } : {}),
      arrived: h.internet.sink(at).length > 0,
    };
  } finally {
    await h.close();
  }
}

async function serve(h: Hermetic, at: string, how: { host: string; tls: boolean }): Promise<void> {
  if (how.tls) {
    const context = await (await h.internet.authority()).contextFor(how.host);
    await h.internet.serveTls(at, context, (_request, response) => response.end('ok'));
    return;
  }
  await h.internet.serve(at, (socket) => {
    socket.once('data', (bytes: Buffer) => {
      h.internet.keep(at, bytes);
      const upgrade = /^upgrade: websocket/im.test(bytes.toString('latin1'));
      socket.end(
        upgrade
          ? 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'
          : 'HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n',
      );
    });
  });
}

async function request(h: Hermetic, asked: Question): Promise<void> {
  const { host, port, method = 'GET', path } = asked;
  const raw = port === 443 ? await tlsTo(h, host) : (await connectTo(h.socketPath, `${host}:${port}`)).raw;
  const authority = port === 443 || port === 80 ? host : `${host}:${port}`;
  const upgrade = asked.upgrade ? 'Connection: Upgrade\r\nUpgrade: websocket\r\n' : 'Connection: close\r\n';
  raw.send(`${method} ${path} HTTP/1.1\r\nHost: ${authority}\r\n${upgrade}\r\n`);
  await raw.finish();
  raw.close();
}

/** What `policy test` says of it. */
async function askCommand(text: string, asked: Question): Promise<Decision> {
  const policy = join(dir, 'policy.yml');
  await writeFile(policy, text);
  const out: string[] = [];
  await policyTestCommand({
    policy,
    json: true,
    environment: readEnvironment({ COFFERDAM_DATA_DIR: dir }),
    signal: new AbortController().signal,
    stdout: { write: (line: string) => out.push(line) },
    target: `${asked.host}:${asked.port}`,
    method: asked.method,
    path: asked.path,
  });
  const told = JSON.parse(out.at(-1) ?? '') as Decision & { wouldAllow?: string };
  delete told.wouldAllow;
  return told;
}

const policies = fc.record({
  rules: fc.array(rule, { maxLength: 4 }),
  deny: fc.constantFrom([], ['b.test'], ['*.w.test']),
});

test(
  'policy test says what the gateway does, and the line of a denial lets through what was refused',
  async () => {
    await fc.assert(
      fc.asyncProperty(policies, question, async ({ rules, deny }, asked) => {
        const text = policyText(rules, deny);
        const policy = policyOf(text);
        fc.pre(policy !== undefined);
        const found = await askGateway(policy, asked);
        const { decision } = found;
        // A denial sends nothing; of a request that was allowed something came.
        expect(found.arrived).toBe(decision.allow && asked.method !== undefined);
        // The command resolves nothing, and knows of no upgrades.
        const beyond = !decision.allow && ['address_forbidden', 'upgrade_not_allowed'].includes(decision.reason);
        if (!beyond) expect(await askCommand(text, asked)).toEqual(decision);
        if (decision.allow || found.wouldAllow === undefined) return;
        const more = policyOf(policyText(rules, deny, [found.wouldAllow]));
        if (more === undefined) throw new Error(`${found.wouldAllow} is not accepted`);
        const again = await askGateway(more, asked);
        // What comes after it may still be refused, for another reason.
        if (!again.decision.allow) expect(again.decision).not.toEqual(decision);
        else expect(again.arrived).toBe(asked.method !== undefined);
      }),
      { numRuns: Math.ceil(60 * FACTOR) },
    );
  },
  60_000 + 60_000 * FACTOR,
);

const ASKED: Question = { host: 'a.test', port: 8080, method: 'GET', path: '/v1/a', upgrade: false };

test.each<[string, object[], Partial<Question>, string]>([
  ['not_allowed', [], {}, '- { host: a.test, ports: [8080] }'],
  ['not_allowed', [], { host: '1e3', method: undefined }, '- { host: "1e3", ports: [8080] }'],
  ['port_not_allowed', [{ host: 'a.test' }], {}, '- { host: a.test, ports: [8080] }'],
  [
    'method_not_allowed',
    [{ host: 'a.test', ports: [8080], methods: ['GET'] }],
    { method: 'PUT', path: '/v1/%61"b?c=d' },
    '- { host: a.test, ports: [8080], methods: [PUT], paths: ["/v1/a\\"b"] }',
  ],
  [
    'path_not_allowed',
    [{ host: 'a.test', ports: [8080], paths: ['/x'] }],
    { path: '/v1/a%2fb' },
    '- { host: a.test, ports: [8080], methods: [GET], paths: ["/v1/a%2Fb"] }',
  ],
  [
    'upgrade_not_allowed',
    [{ host: 'a.test', ports: [8080] }],
    { upgrade: true },
    '- { host: a.test, ports: [8080], upgrade: true }',
  ],
  [
    'address_forbidden',
    [{ host: 'private.test', ports: [8080] }],
    { host: 'private.test' },
    '- { host: private.test, ports: [8080], allowPrivate: true }',
  ],
])('%s by %j of %j: %s opens it', async (reason, rules, part, line) => {
  const asked = { ...ASKED, ...part };
  const refused = await askGateway(policyOf(policyText(rules, [])) as EgressPolicy, asked);
  expect(refused).toMatchObject({ decision: { reason }, wouldAllow: line, arrived: false });
  const opened = await askGateway(policyOf(policyText(rules, [], [line])) as EgressPolicy, asked);
  expect(opened).toMatchObject({ decision: { allow: true }, arrived: asked.method !== undefined });
});

test.each<[string, object[], Partial<Question>]>([
  ['address_forbidden', [{ host: 'metadata.test', ports: [8080] }], { host: 'metadata.test' }],
  ['not_allowed', [], { host: 'api.anthropic.com' }],
  ['not_allowed', [], { host: 'metadata.google.internal' }],
  ['not_allowed', [], { host: 'gist.github.com' }],
  ['not_allowed', [{ host: 'a.test', ports: [8080] }], { path: '/dns-query' }],
  ['denied_by_policy', [], { host: 'b.test' }],
  ['method_not_allowed', [{ host: 'a.test', ports: [8080] }], { method: 'TRACE' }],
])('%s by %j of %j: no line is named, since none would open it', async (reason, rules, part) => {
  const found = await askGateway(policyOf(policyText(rules, ['b.test'])) as EgressPolicy, { ...ASKED, ...part });
  expect(found).toMatchObject({ decision: { reason }, arrived: false });
  expect(found.wouldAllow).toBeUndefined();
});
