/** Who is calling: the App by its signed JWT, an installation or a person by a token, or nobody. */
import { createPublicKey, randomBytes, verify } from 'node:crypto';
import { GitHubError } from './errors.ts';
import type { Installation, Permissions, Repository, Token } from './state.ts';
import { installedRepositories, nowMs, type World } from './world.ts';

export type Caller =
  | { kind: 'app' }
  | { kind: 'installation'; token: Token; installation: Installation }
  | { kind: 'user'; login: string }
  | { kind: 'anonymous' };

const HOUR = 3_600_000;

function decodePart(part: string | undefined): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part ?? '', 'base64url').toString());
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Checks the App's JWT as GitHub does: RS256, our key, issuer, and a life of at most ten minutes. */
function verifyJwt(world: World, jwt: string): Caller {
  const [head, body, signature, ...rest] = jwt.split('.');
  const header = decodePart(head);
  const claims = decodePart(body);
  const undecodable = new GitHubError(401, 'A JSON web token could not be decoded');
  if (header?.['alg'] !== 'RS256' || claims === undefined || signature === undefined || rest.length > 0)
    throw undecodable;
  const signed = Buffer.from(`${head ?? ''}.${body ?? ''}`);
  const key = createPublicKey(world.appPublicKey);
  if (!verify('RSA-SHA256', signed, key, Buffer.from(signature, 'base64url'))) throw undecodable;
  const { iss, iat, exp } = claims;
  const seconds = nowMs(world) / 1000;
  const { id, clientId } = world.state.app;
  if (iss !== id && iss !== String(id) && iss !== clientId)
    throw new GitHubError(401, `'Issuer' claim ('iss') must be an Integer`);
  if (typeof exp !== 'number' || exp <= seconds)
    throw new GitHubError(401, `'Expiration time' claim ('exp') must be a numeric value representing the future time`);
  if (exp > seconds + 660) throw new GitHubError(401, `'Expiration time' claim ('exp') is too far in the future`);
  if (typeof iat !== 'number' || iat > seconds + 60)
    throw new GitHubError(401, `'Issued at' claim ('iat') must be an Integer representing the past`);
  return { kind: 'app' };
}

/** A token as the caller; an unknown or expired one is a 401. */
function callerOfToken(world: World, token: string): Caller {
  const found = world.state.tokens.find((one) => one.token === token);
  if (found !== undefined) {
    if (Date.parse(found.expiresAt) <= nowMs(world)) throw new GitHubError(401, 'Bad credentials');
    const installation = world.state.installations.find((one) => one.id === found.installationId);
    if (installation === undefined) throw new GitHubError(401, 'Bad credentials');
    if (installation.suspendedAt !== null) throw new GitHubError(403, 'This installation has been suspended');
    return { kind: 'installation', token: found, installation };
  }
  const login = Object.hasOwn(world.state.userTokens, token) ? world.state.userTokens[token] : undefined;
  if (login !== undefined) return { kind: 'user', login };
  throw new GitHubError(401, 'Bad credentials');
}

/** The caller of an `Authorization` header: `Bearer` or `token` for the API, `Basic` for git. */
export function callerOf(world: World, authorization: string | undefined): Caller {
  if (authorization === undefined) return { kind: 'anonymous' };
  const [, scheme = '', credential = ''] = /^(\S+)\s+(.+)$/.exec(authorization) ?? [];
  switch (scheme.toLowerCase()) {
    case 'bearer':
    case 'token':
      return credential.split('.').length === 3 && !credential.startsWith('ghs_')
        ? verifyJwt(world, credential)
        : callerOfToken(world, credential);
    case 'basic': {
      const plain = Buffer.from(credential, 'base64').toString();
      return callerOfToken(world, plain.slice(plain.indexOf(':') + 1));
    }
    default:
      throw new GitHubError(401, 'Bad credentials');
  }
}

export interface TokenRequest {
  repositories?: readonly string[] | undefined;
  repositoryIds?: readonly number[] | undefined;
  permissions?: Record<string, string | undefined> | undefined;
}

const ORDER = ['none', 'read', 'write', 'admin'];

function allows(granted: string | undefined, wanted: string): boolean {
  return ORDER.indexOf(granted ?? 'none') >= ORDER.indexOf(wanted);
}

function narrowedPermissions(granted: Permissions, wanted: TokenRequest['permissions']): Permissions {
  if (wanted === undefined) return { ...granted };
  const narrowed: Permissions = { metadata: 'read' };
  for (const [name, level] of Object.entries(wanted)) {
    if (level === undefined) continue;
    if (!allows(granted[name], level))
      throw new GitHubError(422, 'The permissions requested are not granted to this installation.');
    narrowed[name] = level as 'read' | 'write' | 'admin';
  }
  return narrowed;
}

function narrowedRepositories(installed: readonly Repository[], request: TokenRequest): number[] | null {
  if (request.repositories === undefined && request.repositoryIds === undefined) return null;
  const wanted = [
    ...(request.repositories ?? []).map((name) =>
      installed.find((one) => one.name.toLowerCase() === name.toLowerCase()),
    ),
    ...(request.repositoryIds ?? []).map((id) => installed.find((one) => one.id === id)),
  ];
  const ids = wanted.flatMap((one) => (one === undefined ? [] : [one.id]));
  if (ids.length !== wanted.length)
    throw new GitHubError(
      422,
      'There is at least one repository that does not exist or is not accessible to the parent installation.',
    );
  return [...new Set(ids)];
}

/** A new installation token; it lives one hour and its length varies, as GitHub's do. */
export function issueToken(world: World, installation: Installation, request: TokenRequest): Token {
  if (installation.suspendedAt !== null) throw new GitHubError(403, 'This installation has been suspended');
  const random = randomBytes(80);
  const length = 36 + ((random[0] ?? 0) % 60);
  const token: Token = {
    token: `ghs_${random
      .toString('base64')
      .replace(/[^A-Za-z0-9]/g, '0')
      .slice(0, length)}`,
    installationId: installation.id,
    repositoryIds: narrowedRepositories(installedRepositories(world, installation), request),
    permissions: narrowedPermissions(world.state.app.permissions, request.permissions),
    expiresAt: new Date(nowMs(world) + HOUR).toISOString().replace(/\.\d+Z$/, 'Z'),
  };
  world.state.tokens.push(token);
  world.changed();
  return token;
}

/** Does this token reach the repository at all? */
export function reaches(world: World, caller: Caller, repository: Repository): boolean {
  if (caller.kind !== 'installation') return false;
  const { token, installation } = caller;
  if (token.repositoryIds !== null) return token.repositoryIds.includes(repository.id);
  return installedRepositories(world, installation).includes(repository);
}

export function permits(token: Token, permission: string, level: 'read' | 'write'): boolean {
  return allows(token.permissions[permission], level);
}
