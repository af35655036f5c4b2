/** git over HTTP: `git http-backend` behind the same tokens and permissions as the API. The client's bytes go to git unread. */
import { spawn } from 'node:child_process';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { GitHubError } from './errors.ts';
import { takeFault, type Fault } from './faults.ts';
import { gitEnvironment } from './git.ts';
import { movingRefs } from './acts/pushes.ts';
import type { Repository } from './state.ts';
import { callerOf, permits, reaches, type Caller } from './tokens.ts';
import { atLeast, botLogin, findRepository, roleOf, type World, formerly } from './world.ts';

export interface GitRequest {
  owner: string;
  name: string;
  /** `info/refs`, `git-upload-pack` or `git-receive-pack`. */
  endpoint: string;
  push: boolean;
}

/** Recognises git's own addresses, with or without `.git`. */
export function parseGitRequest(url: URL): GitRequest | undefined {
  const found = /^\/([^/]+)\/([^/]+?)(?:\.git)?\/(info\/refs|git-upload-pack|git-receive-pack)$/.exec(url.pathname);
  if (found === null) return undefined;
  const [, owner = '', name = '', endpoint = ''] = found;
  const push = endpoint === 'git-receive-pack' || url.searchParams.get('service') === 'git-receive-pack';
  return { owner, name, endpoint, push };
}

/** GitHub's order: ask for a credential first, then hide what is out of reach, then refuse. */
function authorise(world: World, caller: Caller, request: GitRequest): Repository {
  const repository = findRepository(world, request.owner, request.name);
  const open = repository !== undefined && !repository.private && !request.push;
  if (caller.kind === 'anonymous' && !open) throw new GitHubError(401, 'No anonymous access.');
  if (repository === undefined) throw new GitHubError(404, 'Repository not found.');
  const denied = new GitHubError(
    403,
    `Permission to ${repository.owner}/${repository.name}.git denied to ${caller.kind === 'user' ? caller.login : botLogin(world)}.`,
  );
  if (caller.kind === 'user') {
    const role = roleOf(world, repository, caller.login);
    if (role === 'none') throw new GitHubError(404, 'Repository not found.');
    if (request.push && !atLeast(role, 'write')) throw denied;
  } else if (caller.kind === 'installation') {
    if (!reaches(world, caller, repository))
      throw repository.private ? new GitHubError(404, 'Repository not found.') : denied;
    if (!permits(caller.token, 'contents', request.push ? 'write' : 'read')) throw denied;
  } else if (caller.kind === 'app') throw denied;
  return repository;
}

function environment(
  world: World,
  request: IncomingMessage,
  options: { url: URL; repository: Repository; endpoint: string; caller: Caller },
) {
  const { url, repository, endpoint, caller } = options;
  const workflows = caller.kind !== 'installation' || permits(caller.token, 'workflows', 'write');
  const header = (name: string): string => String(request.headers[name] ?? '');
  return {
    ...gitEnvironment(),
    GIT_PROJECT_ROOT: world.gitDir,
    GIT_HTTP_EXPORT_ALL: '1',
    PATH_INFO: `/${repository.id}.git/${endpoint}`,
    QUERY_STRING: url.search.slice(1),
    REQUEST_METHOD: request.method ?? 'GET',
    CONTENT_TYPE: header('content-type'),
    ...(request.headers['content-length'] === undefined ? {} : { CONTENT_LENGTH: header('content-length') }),
    HTTP_CONTENT_ENCODING: header('content-encoding'),
    HTTP_GIT_PROTOCOL: header('git-protocol'),
    REMOTE_USER: caller.kind === 'user' ? caller.login : 'x-access-token',
    REMOTE_ADDR: '127.0.0.1',
    STAND_IN_WORKFLOWS: workflows ? 'yes' : 'no',
  };
}

/** Splits the CGI answer at its first blank line; header names and values are git's own. */
function writeCgi(response: ServerResponse, head: string): void {
  for (const line of head.split(/\r?\n/)) {
    const colon = line.indexOf(':');
    if (colon < 0) continue;
    const [name, value] = [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
    if (name.toLowerCase() === 'status') response.statusCode = Number.parseInt(value, 10);
    else response.setHeader(name, value);
  }
}

function runBackend(request: IncomingMessage, response: ServerResponse, env: Record<string, string>): Promise<void> {
  const child = spawn('git', ['http-backend'], { env, stdio: ['pipe', 'pipe', 'ignore'] });
  request.pipe(child.stdin);
  child.stdin.on('error', () => undefined); // git may answer before it has read everything
  response.once('close', () => {
    if (child.exitCode === null) child.kill();
  });
  let head: Buffer | undefined = Buffer.alloc(0);
  child.stdout.on('data', (chunk: Buffer) => {
    if (head === undefined) {
      if (!response.write(chunk)) {
        child.stdout.pause();
        response.once('drain', () => child.stdout.resume());
      }
      return;
    }
    head = Buffer.concat([head, chunk]);
    const end = /\r?\n\r?\n/.exec(head.toString('latin1'));
    if (end === null) return;
    writeCgi(response, head.toString('latin1', 0, end.index));
    const rest = head.subarray(end.index + end[0].length);
    head = undefined;
    if (rest.length > 0) response.write(rest);
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => {
      if (head !== undefined) response.statusCode = 500;
      resolve();
    });
  });
}

/** Answers one git request; a push moves refs alone and then causes its webhooks. */
export async function serveGit(
  world: World,
  exchange: { request: IncomingMessage; response: ServerResponse; url: URL; git: GitRequest; faults: Fault[] },
): Promise<void> {
  const { request, response, url, git } = exchange;
  const fault =
    git.endpoint === 'info/refs' ? undefined : takeFault(exchange.faults, git.push ? 'git/push' : 'git/fetch');
  try {
    if (fault?.delayMs !== undefined) await sleep(fault.delayMs);
    if (fault?.status !== undefined && fault.afterwards !== true)
      throw new GitHubError(fault.status, fault.message ?? 'Server Error');
    if (fault?.drop === true && fault.afterwards !== true) {
      response.destroy();
      return;
    }
    const caller = callerOf(world, request.headers.authorization);
    const moved = formerly(world, git.owner, git.name);
    if (moved !== undefined) {
      const location = `${world.origin}/${moved.owner}/${moved.name}.git/${git.endpoint}${url.search}`;
      response.writeHead(301, { location }).end();
      return;
    }
    const repository = authorise(world, caller, git);
    if (git.push && repository.archived === true)
      throw new GitHubError(403, 'ERROR: This repository was archived so it is read-only.');
    const env = environment(world, request, { url, repository, endpoint: git.endpoint, caller });
    const work = (): Promise<void> => runBackend(request, response, env);
    const actor = caller.kind === 'user' ? caller.login : botLogin(world);
    // The answer ends when the pushed branches are known everywhere, so that a client sees what it just did.
    await (git.endpoint === 'git-receive-pack' ? movingRefs(world, repository, actor, work) : work());
    // A lost success: the work is done, and the client never hears the end of it.
    if (fault?.afterwards === true) response.destroy();
    else response.end();
  } catch (error) {
    if (response.headersSent) {
      response.destroy();
      return;
    }
    if (!(error instanceof GitHubError)) throw error;
    if (error.status === 401) response.setHeader('www-authenticate', 'Basic realm="GitHub"');
    response.writeHead(error.status, { 'content-type': 'text/plain; charset=utf-8' });
    response.end(`${error.message}\n`);
  }
}
