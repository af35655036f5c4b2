import { execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { NetConnectOpts } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getCACertificates } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePort } from '../../src/local/free-port.ts';
import { debianArchives, hostRelease, sourceLines } from '../../src/local/machine/sources.ts';
import { unpackPackages } from '../../src/local/machine/unpack.ts';
import { createMemoryLedger } from '../../src/run/ledger.ts';
import { startGateway } from './gateway.ts';
import { memoryOf, secondsOf } from './measure.ts';
import { startProgram } from './programs.ts';
import type { Program } from './programs.ts';

/** The host that everything is fetched from. */
export const HOST = 'localhost';
/** Bytes of one flood, of a small answer, of a large one. */
export const FLOOD = 256 * 2 ** 20;
export const SMALL = 1024;
export const LARGE = 4 * 2 ** 20;

export interface Upstream {
  ports: { passed: number; read: number; flood: number };
  ca: string;
  /** SHA-256 of what it sends, by the number of bytes. */
  hashes: Record<number, string>;
  stop(): void;
}

/** A proxy, or the host itself. */
export interface Target {
  name: string;
  /** Where a CONNECT is sent to; undefined for the host itself. */
  proxy: NetConnectOpts | undefined;
  /** What a client trusts for a connection that the proxy reads; undefined where it reads none. */
  readingCa: string | undefined;
  memory(): number;
  /** Seconds of processor time so far. */
  seconds(): number;
  stop(): Promise<void>;
}

const run = promisify(execFile);

export async function startUpstream(): Promise<Upstream> {
  const child = fork(
    fileURLToPath(new URL('egress-upstream.child.ts', import.meta.url)),
    [FLOOD, SMALL, LARGE].map(String),
  );
  const [told] = (await once(child, 'message')) as [Omit<Upstream, 'stop'>];
  return { ...told, stop: () => void child.kill() };
}

export function direct({ ca }: Upstream): Target {
  return {
    name: 'direct',
    proxy: undefined,
    readingCa: ca,
    memory: () => 0,
    seconds: () => 0,
    stop: () => Promise.resolve(),
  };
}

/** The gateway process of a run: names, addresses, server names and each connection or request judged and recorded. */
export async function cofferdam(upstream: Upstream): Promise<Target & { record(): string }> {
  const { passed, read, flood } = upstream.ports;
  const directory = temporary();
  const caFile = join(directory.path, 'ca.pem');
  // Beside all that a host trusts, since reading that is a part of the work.
  writeFileSync(caFile, [upstream.ca, ...getCACertificates('system')].join('\n'));
  const rule = { host: HOST, allowPrivate: true, source: 'bench' };
  const gateway = await startGateway({
    ledger: createMemoryLedger(),
    llm: undefined,
    caFile,
    policy: {
      rules: [
        { ...rule, ports: [passed, flood], passThrough: true },
        { ...rule, ports: [read] },
      ],
      deny: [],
      gitRepositories: [],
    },
    secrets: [],
  });
  directory.remove();
  return {
    name: 'cofferdam',
    proxy: { path: gateway.socketPath },
    readingCa: gateway.ca,
    memory: () => memoryOf(gateway.pid),
    seconds: () => secondsOf(gateway.pid),
    record: () => gateway.record(),
    stop: () => gateway.stop(),
  };
}

/** Squid, from the host's own Debian archive into a temporary directory. Each of these rejects with the reason when it does not run. */
export async function squid(): Promise<Target> {
  return unpacked('squid', ['squid', 'squid-common', 'squid-langpack', 'libecap3', 'libltdl7', 'libtdb1'], (at) => {
    const share = join(at.root, 'usr/share/squid');
    // Its record is on, as ours is; nothing is cached.
    const settings = [
      `http_port 127.0.0.1:${at.port}`,
      'http_access allow all',
      'cache deny all',
      `access_log stdio:${join(at.directory, 'access.log')}`,
      `cache_log ${join(at.directory, 'cache.log')}`,
      'pid_filename none',
      `coredump_dir ${at.directory}`,
      `mime_table ${join(share, 'mime.conf')}`,
      `icon_directory ${join(share, 'icons')}`,
      `error_directory ${join(share, 'errors/templates')}`,
      `unlinkd_program ${join(at.root, 'usr/lib/squid/unlinkd')}`,
      'pinger_enable off',
      'max_filedescriptors 8192',
    ];
    const file = at.write('squid.conf', settings);
    return [join(at.root, 'usr/sbin/squid'), '-N', '-f', file];
  });
}

export async function tinyproxy(): Promise<Target> {
  return unpacked('tinyproxy', ['tinyproxy-bin'], (at) => {
    const settings = [
      `Port ${at.port}`,
      'Listen 127.0.0.1',
      'Timeout 600',
      'MaxClients 2000',
      `LogFile "${join(at.directory, 'tinyproxy.log')}"`,
      'LogLevel Connect',
      'Allow 127.0.0.1',
    ];
    return [join(at.root, 'usr/bin/tinyproxy'), '-d', '-c', at.write('tinyproxy.conf', settings)];
  });
}

interface Unpacked {
  /** What the packages were unpacked into. */
  root: string;
  directory: string;
  port: number;
  write(name: string, lines: string[]): string;
}

async function unpacked(
  name: string,
  packages: string[],
  command: (at: Unpacked) => [string, ...string[]],
): Promise<Target> {
  return inDirectory(name, async (directory) => {
    const archives = await debianArchives();
    const sources = sourceLines(archives, hostRelease(archives), true);
    const root = await unpackPackages({ names: packages, sources, work: join(directory, 'packages') });
    const port = await freePort();
    const write = (file: string, lines: string[]): string => {
      writeFileSync(join(directory, file), `${lines.join('\n')}\n`);
      return join(directory, file);
    };
    const libraries = join(root, 'usr/lib', process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu');
    const env = { PATH: '/usr/bin:/bin', LD_LIBRARY_PATH: libraries };
    const program = await startProgram({ command: command({ root, directory, port, write }), env, cwd: '/', port });
    return { program, port };
  });
}

/** smokescreen, built by the Go of this machine; private addresses have to be allowed to reach the host. */
export async function smokescreen(): Promise<Target> {
  return inDirectory('smokescreen', async (directory) => {
    const env = {
      PATH: `${process.env['PATH'] ?? ''}:/usr/local/go/bin`,
      HOME: directory,
      GOPATH: join(directory, 'go'),
      GOCACHE: join(directory, 'cache'),
      GOFLAGS: '-modcacherw',
      ...(process.env['GOPROXY'] === undefined ? {} : { GOPROXY: process.env['GOPROXY'] }),
    };
    await run('go', ['install', 'github.com/stripe/smokescreen@v0.1.0'], { env, cwd: directory, timeout: 600_000 });
    const port = await freePort();
    const allowed = ['127.0.0.0/8', '::1/128'].flatMap((range) => ['--allow-range', range]);
    const program = await startProgram({
      command: [
        join(directory, 'go/bin/smokescreen'),
        '--listen-ip',
        '127.0.0.1',
        '--listen-port',
        String(port),
        ...allowed,
      ],
      env: {},
      cwd: directory,
      port,
    });
    return { program, port };
  });
}

/** mitmproxy, from the registry into a virtual environment of its own; it passes bodies on while they come. */
export async function mitmproxy({ ca }: Upstream): Promise<Target> {
  return inDirectory('mitmproxy', async (directory) => {
    const env = join(directory, 'env');
    await run('python3', ['-m', 'venv', env], { timeout: 120_000 });
    const install = ['install', '--quiet', '--disable-pip-version-check', 'mitmproxy'];
    await run(join(env, 'bin/pip'), install, { timeout: 600_000 });
    const caFile = join(directory, 'upstream.pem');
    writeFileSync(caFile, ca);
    const port = await freePort();
    const own = join(directory, 'own');
    const settings = {
      confdir: own,
      ssl_verify_upstream_trusted_ca: caFile,
      stream_large_bodies: '64k',
      http2: 'false',
      flow_detail: '0',
    };
    const set = Object.entries(settings).flatMap(([name, value]) => ['--set', `${name}=${value}`]);
    const program = await startProgram({
      command: [join(env, 'bin/mitmdump'), '-q', '--listen-host', '127.0.0.1', '-p', String(port), ...set],
      env: { PATH: join(env, 'bin'), HOME: directory },
      cwd: directory,
      port,
    });
    const certificate = join(own, 'mitmproxy-ca-cert.pem');
    if (!existsSync(certificate)) throw new Error('it made no certificate');
    return { program, port, certificate };
  });
}

/** What a proxy in Node costs that reads requests and does nothing else. */
export async function relay({ ca }: Upstream): Promise<Target> {
  const child = fork(fileURLToPath(new URL('egress-relay.child.ts', import.meta.url)), [ca]);
  const [told] = (await once(child, 'message')) as [{ port: number; ca: string }];
  const pid = child.pid ?? 0;
  return {
    name: 'relay',
    proxy: { host: '127.0.0.1', port: told.port },
    readingCa: told.ca,
    memory: () => memoryOf(pid),
    seconds: () => secondsOf(pid),
    stop: () => {
      child.kill();
      return Promise.resolve();
    },
  };
}

/** A program that lives in a directory which goes with it. */
async function inDirectory(
  name: string,
  open: (directory: string) => Promise<{ program: Program; port: number; certificate?: string }>,
): Promise<Target> {
  const directory = temporary();
  try {
    const { program, port, certificate } = await open(directory.path);
    return {
      name,
      proxy: { host: '127.0.0.1', port },
      readingCa: certificate === undefined ? undefined : readFileSync(certificate, 'utf8'),
      memory: () => memoryOf(program.pid),
      seconds: () => secondsOf(program.pid),
      stop: () => program.stop().finally(() => directory.remove()),
    };
  } catch (error) {
    directory.remove();
    throw error;
  }
}

function temporary(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'cfbe-'));
  // Some of these give up root and write their record here.
  chmodSync(path, 0o777);
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}
