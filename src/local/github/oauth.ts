/** The second half of the App's OAuth web flow: a code, once and in time, for a token of the person. The first half is a page. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { readBody } from './api.ts';
import { nowMs, type World } from './world.ts';

/** What a person agreed to, until it is asked for. */
interface Grant {
  login: string;
  redirectUri: string;
  challenge: string | undefined;
  untilMs: number;
}

export interface OAuth {
  clientSecret: string;
  /** Where browsers may be sent back to; undefined: anywhere on loopback. */
  callbackUrls: readonly string[] | undefined;
  grants: Map<string, Grant>;
}

/** GitHub's codes live ten minutes. */
const CODE_MS = 600_000;

export function createOAuth(options: { clientSecret?: string; callbackUrls?: readonly string[] }): OAuth {
  const { clientSecret = randomBytes(20).toString('hex'), callbackUrls } = options;
  return { clientSecret, callbackUrls, grants: new Map() };
}

/** May browsers be sent there with a code? */
export function knownCallback(world: World, address: string): boolean {
  const { callbackUrls } = world.oauth;
  if (callbackUrls !== undefined) return callbackUrls.includes(address);
  return URL.canParse(address) && ['127.0.0.1', 'localhost', '[::1]'].includes(new URL(address).hostname);
}

/** A code for what the person agreed to. */
export function grant(world: World, agreed: Omit<Grant, 'untilMs'>): string {
  const code = randomBytes(10).toString('hex');
  world.oauth.grants.set(code, { ...agreed, untilMs: nowMs(world) + CODE_MS });
  return code;
}

function same(left: string, right: string): boolean {
  const [a, b] = [Buffer.from(left), Buffer.from(right)];
  return a.length === b.length && timingSafeEqual(a, b);
}

/** The token, or GitHub's word for why there is none. */
function redeem(world: World, fields: Record<string, string>): { token: string } | { error: string } {
  const { oauth, state } = world;
  const {
    client_id: clientId = '',
    client_secret: secret = '',
    code = '',
    redirect_uri: redirectUri,
    code_verifier: verifier,
  } = fields;
  if (clientId !== state.app.clientId || !same(secret, oauth.clientSecret))
    return { error: 'incorrect_client_credentials' };
  const found = oauth.grants.get(code);
  oauth.grants.delete(code);
  if (found === undefined || found.untilMs <= nowMs(world)) return { error: 'bad_verification_code' };
  if (redirectUri !== undefined && redirectUri !== found.redirectUri) return { error: 'redirect_uri_mismatch' };
  const challenge = createHash('sha256')
    .update(verifier ?? '')
    .digest('base64url');
  if (found.challenge !== undefined && !same(challenge, found.challenge)) return { error: 'bad_verification_code' };
  const token = `ghu_${randomBytes(27).toString('hex').slice(0, 36)}`;
  state.userTokens[token] = found.login;
  world.changed();
  return { token };
}

function fieldsOf(type: string, body: string): Record<string, string> {
  if (!type.includes('json')) return Object.fromEntries(new URLSearchParams(body));
  try {
    const value: unknown = JSON.parse(body);
    const entries = Object.entries(typeof value === 'object' && value !== null ? value : {});
    return Object.fromEntries(entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
  } catch {
    return {};
  }
}

/** `POST /login/oauth/access_token`: also a refusal is a 200, as on GitHub. */
export async function serveAccessToken(
  world: World,
  exchange: { request: IncomingMessage; response: ServerResponse },
): Promise<void> {
  const { request, response } = exchange;
  const body = (await readBody(request, 64 * 1024)).toString();
  const result = redeem(world, fieldsOf(request.headers['content-type'] ?? '', body));
  if ('error' in result)
    world.violations.push({ kind: 'credentials', where: '/login/oauth/access_token', details: result.error });
  const answer = 'error' in result ? result : { access_token: result.token, token_type: 'bearer', scope: '' };
  const json = (request.headers.accept ?? '').includes('application/json');
  response.writeHead(200, {
    'content-type': json ? 'application/json; charset=utf-8' : 'application/x-www-form-urlencoded',
  });
  response.end(json ? JSON.stringify(answer) : new URLSearchParams(answer).toString());
}
