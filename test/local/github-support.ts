import { execFile } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import { createAppAuth } from '@octokit/auth-app';
import { Octokit } from '@octokit/rest';
import { startStandIn, type StandIn, type StandInOptions } from '../../src/local/github/stand-in.ts';

export const run = promisify(execFile);

export async function temporaryDir(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'cofferdam-github-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

interface Received {
  event: string;
  guid: string;
  signature: string;
  body: string;
  payload: Record<string, unknown>;
  headers: IncomingHttpHeaders;
}

interface Receiver {
  url: string;
  received: Received[];
  /** The next answers' status codes; 200 when empty. */
  answers: number[];
  close: () => Promise<void>;
}

/** A webhook receiver that keeps everything it gets. */
async function startReceiver(): Promise<Receiver> {
  const received: Received[] = [];
  const answers: number[] = [];
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString();
      received.push({
        event: String(request.headers['x-github-event']),
        guid: String(request.headers['x-github-delivery']),
        signature: String(request.headers['x-hub-signature-256']),
        body,
        payload: JSON.parse(body) as Record<string, unknown>,
        headers: request.headers,
      });
      response.writeHead(answers.shift() ?? 200).end('ok');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/api/github/webhooks`,
    received,
    answers,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

export function signatureOf(secret: string, body: string): string {
  return `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`;
}

export interface Stage extends AsyncDisposable {
  dir: string;
  standIn: StandIn;
  receiver: Receiver;
  /** As the App (JWT). */
  appOctokit: Octokit;
  /** With a new installation token, narrowed as asked. */
  octokit: (narrow?: { permissions?: Record<string, string>; repositories?: string[] }) => Promise<Octokit>;
  token: (narrow?: { permissions?: Record<string, string>; repositories?: string[] }) => Promise<string>;
  events: (name: string) => Received[];
}

/** A stand-in with a receiver for its webhooks and the real clients pointed at it. */
export async function stage(options: Omit<StandInOptions, 'dir'> = {}): Promise<Stage> {
  const dir = await temporaryDir();
  const receiver = await startReceiver();
  const standIn = await startStandIn({
    dir: dir.path,
    webhook: { url: receiver.url, secret: 'it is a secret' },
    ...options,
  });
  const baseUrl = `${standIn.url}/api/v3`;
  const quiet = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
  const common = { baseUrl, request: { retries: 0 }, log: quiet };
  const appOctokit = new Octokit({
    ...common,
    authStrategy: createAppAuth,
    auth: { appId: standIn.app.id, privateKey: standIn.app.privateKeyPem },
  });
  const token: Stage['token'] = async (narrow = {}) => {
    const [installation] = (await appOctokit.rest.apps.listInstallations()).data;
    if (installation === undefined) throw new Error('the App is not installed anywhere');
    const made = await appOctokit.rest.apps.createInstallationAccessToken({
      installation_id: installation.id,
      ...narrow,
    });
    return made.data.token;
  };
  return {
    dir: dir.path,
    standIn,
    receiver,
    appOctokit,
    token,
    octokit: async (narrow) => new Octokit({ ...common, auth: await token(narrow) }),
    events: (name) => receiver.received.filter((one) => one.event === name),
    [Symbol.asyncDispose]: async () => {
      await standIn.stop();
      await receiver.close();
      await dir[Symbol.asyncDispose]();
    },
  };
}

/** Status and message of what a client threw. */
export async function refusal(work: Promise<unknown>): Promise<{ status: number; message: string }> {
  try {
    await work;
  } catch (error) {
    const { status, message } = error as { status?: number; message: string };
    return { status: status ?? 0, message };
  }
  throw new Error('it was not refused');
}

/** A matcher for part of a text, typed so that it can stand in an object. */
export function text(part: string | RegExp): unknown {
  return typeof part === 'string' ? expect.stringContaining(part) : expect.stringMatching(part);
}
