import { execFile, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';

/** A temporary directory that is removed at the end. */
export interface Workbench {
  directory: string;
  path: (...parts: string[]) => string;
  remove: () => void;
}

export function workbench(): Workbench {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'cofferdam-git-'));
  return {
    directory,
    path: (...parts) => path.join(directory, ...parts),
    remove: () => {
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

const quiet = {
  PATH: process.env['PATH'] ?? '',
  HOME: '/nonexistent',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_AUTHOR_NAME: 'Ada',
  GIT_AUTHOR_EMAIL: 'ada@example.test',
  GIT_COMMITTER_NAME: 'Ada',
  GIT_COMMITTER_EMAIL: 'ada@example.test',
  LC_ALL: 'C',
};

/** Runs git as a person would, independently of the code under test; returns trimmed stdout. */
export function run(
  args: string[],
  options: { cwd?: string; input?: string | Buffer; env?: Record<string, string> } = {},
): string {
  return execFileSync('git', args, {
    cwd: options.cwd ?? '/',
    env: { ...quiet, ...options.env },
    input: options.input ?? '',
    stdio: ['pipe', 'pipe', 'pipe'],
    maxBuffer: 2 ** 30,
  })
    .toString('latin1')
    .trim();
}

/** `run` for a client of a server in this process. Rejects with what git wrote to stderr. */
export function client(args: string[], cwd = '/'): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile('git', args, { cwd, env: quiet, timeout: 120_000 }, (error, stdout, stderr) => {
      if (error) reject(new Error(stderr === '' ? error.message : stderr));
      else resolve(stdout.trim());
    });
  });
}

/** Writes files (path → content) below a directory. */
export function write(directory: string, files: Record<string, string | Buffer>): void {
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(directory, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, content);
  }
}

/** A work tree on branch `main` with one commit of these files. */
export function project(directory: string, files: Record<string, string>): string {
  mkdirSync(directory, { recursive: true });
  run(['init', '-q', '-b', 'main', directory]);
  write(directory, files);
  return commitAll(directory, 'first');
}

export function commitAll(directory: string, message: string): string {
  run(['add', '-A'], { cwd: directory });
  run(['commit', '-q', '--allow-empty', '-m', message], { cwd: directory });
  return run(['rev-parse', 'HEAD'], { cwd: directory });
}

/** A bare copy of a work tree at `<root>/<owner>/<name>.git`, which accepts pushes over HTTP. */
export function bare(source: string, destination: string): string {
  mkdirSync(path.dirname(destination), { recursive: true });
  run(['clone', '-q', '--bare', source, destination]);
  run(['config', 'http.receivepack', 'true'], { cwd: destination });
  return destination;
}

export interface GitServer {
  url: string;
  requests: { method: string; url: string; authorization: string | undefined }[];
  close: () => Promise<void>;
}

export type Handler = (request: IncomingMessage, response: ServerResponse) => boolean;

/** Serves the bare repositories below `root` with git's own CGI; `first` may answer instead. */
export async function serveGit(root: string, first: Handler = () => false): Promise<GitServer> {
  const requests: GitServer['requests'] = [];
  const server = createServer((request, response) => {
    requests.push({
      method: request.method ?? '',
      url: request.url ?? '',
      authorization: request.headers.authorization,
    });
    if (!first(request, response)) backend(root, request, response);
  });
  const url = await listen(server);
  return {
    url,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => {
          resolve();
        });
      }),
  };
}

export async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function backend(root: string, request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '', 'http://local.test');
  const child = spawn('git', ['http-backend'], {
    env: {
      ...quiet,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      PATH_INFO: decodeURIComponent(url.pathname),
      QUERY_STRING: url.search.slice(1),
      REQUEST_METHOD: request.method ?? '',
      CONTENT_TYPE: request.headers['content-type'] ?? '',
      HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '',
      HTTP_GIT_PROTOCOL: String(request.headers['git-protocol'] ?? ''),
      REMOTE_USER: 'app',
    },
  });
  request.pipe(child.stdin);
  child.stdin.on('error', () => undefined);
  const parts: Buffer[] = [];
  child.stdout.on('data', (part: Buffer) => parts.push(part));
  child.once('close', () => {
    const all = Buffer.concat(parts);
    const end = all.indexOf('\r\n\r\n');
    for (const line of all.subarray(0, end).toString().split('\r\n')) {
      const [name = '', value = ''] = line.split(/: (.*)/s);
      if (name.toLowerCase() === 'status') response.statusCode = Number.parseInt(value, 10);
      else response.setHeader(name, value);
    }
    response.end(all.subarray(end + 4));
  });
}
