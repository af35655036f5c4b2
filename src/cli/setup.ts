/**
 * Registers the GitHub App by GitHub's manifest flow. Trust assumptions: anybody on this machine, and any page in the
 * browser, can reach the loopback port, so the page needs a one-time token and the way back another one (GitHub's `state`),
 * and the Host header must be ours; what GitHub answers is parsed, and only known fields are written.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { access, open, readFile, rm, type FileHandle } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { resolve as absolute } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { z } from 'zod';
import type { Environment } from '../config/environment.ts';
import { CofferdamError } from '../domain/errors.ts';
import { escaped } from '../web/html.ts';
import { CALLBACK_PATH } from '../web/login.ts';

const Conversion = z.object({
  id: z.number().int(),
  pem: z.string().min(1),
  /** Null when the App has no webhook. */
  webhook_secret: z.string().min(1).nullable(),
  html_url: z.url(),
  client_id: z.string().optional(),
  client_secret: z.string().optional(),
});

function page(title: string, body: string): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escaped(title)}</title><style>body{font:1rem/1.5 system-ui;max-width:42rem;margin:4rem auto;padding:0 1rem;color-scheme:light dark}
button{font:inherit;padding:.6rem 1.2rem;border-radius:.5rem;border:1px solid}code{font-size:.9em}</style><main><h1>${escaped(title)}</h1>${body}</main></html>`;
}

/** The App's manifest: `app.yml` with this installation's addresses. */
async function manifest(options: { publicUrl: string; redirectUrl: string }): Promise<Record<string, unknown>> {
  const file = fileURLToPath(new URL('../../app.yml', import.meta.url));
  const app = parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  return {
    ...app,
    url: app['url'] ?? options.publicUrl,
    hook_attributes: { url: `${options.publicUrl}/api/github/webhooks`, active: true },
    redirect_url: options.redirectUrl,
    // Where people come back to after they signed in to the run pages.
    callback_urls: [`${options.publicUrl}${CALLBACK_PATH}`],
    public: false,
  };
}

interface Flow {
  /** Opens the page. */
  token: string;
  /** Goes to GitHub and comes back with the code. */
  state: string;
  /** `http://127.0.0.1:PORT`. */
  origin: string;
  environment: Environment;
  publicUrl: string;
  organization: string | undefined;
  output: string;
  /** A code is being turned in, or was: it is valid once. */
  busy: boolean;
  print: (line: string) => void;
  done: (result: { url: string } | Error) => void;
}

interface Answer {
  status: number;
  title: string;
  body: string;
  /** Where the page's form may be sent. */
  formAction?: string;
}

function same(given: string | null, secret: string): boolean {
  const a = Buffer.from(given ?? '');
  const b = Buffer.from(secret);
  return a.length === b.length && timingSafeEqual(a, b);
}

function send(res: ServerResponse, { status, title, body, formAction = "'none'" }: Answer): void {
  res.writeHead(status, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': `default-src 'none'; style-src 'unsafe-inline'; form-action ${formAction}; frame-ancestors 'none'`,
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-store',
  });
  res.end(page(title, body));
}

async function route(flow: Flow, req: IncomingMessage): Promise<Answer> {
  const refused = { status: 403, title: 'Not this way' };
  const own = new URL(flow.origin).host;
  const url = URL.parse(`${flow.origin}${req.url ?? '/'}`);
  // A name of somebody else's that points here gets nothing, whatever it knows.
  if (req.method !== 'GET' || req.headers.host !== own || url?.host !== own) {
    return { ...refused, body: '<p>This page is for the browser of this machine.</p>' };
  }
  if (url.pathname === '/' && same(url.searchParams.get('token'), flow.token)) return startPage(flow);
  if (url.pathname === '/registered' && same(url.searchParams.get('state'), flow.state)) {
    return registered(flow, url.searchParams.get('code'));
  }
  return { ...refused, body: '<p>Open the exact link that <code>cofferdam setup</code> printed.</p>' };
}

async function startPage(flow: Flow): Promise<Answer> {
  const github = flow.environment.github.webUrl;
  const json = JSON.stringify(await manifest({ publicUrl: flow.publicUrl, redirectUrl: `${flow.origin}/registered` }));
  const owner = flow.organization === undefined ? '' : `/organizations/${encodeURIComponent(flow.organization)}`;
  const action = `${github}${owner}/settings/apps/new?state=${flow.state}`;
  const body = `<p>GitHub will show the permissions and create the App; its keys are then written to <code>${escaped(flow.output)}</code> on this machine.</p>
<p>Webhooks will go to <code>${escaped(flow.publicUrl)}/api/github/webhooks</code>.</p>
<form method="post" action="${escaped(action)}"><input type="hidden" name="manifest" value="${escaped(json)}"><button>Register the App on ${escaped(new URL(github).host)}</button></form>`;
  return { status: 200, title: 'Register Cofferdam', body, formAction: new URL(github).origin };
}

async function registered(flow: Flow, code: string | null): Promise<Answer> {
  const again = `<p><a href="/?token=${flow.token}">Back to the start</a></p>`;
  if (flow.busy) return { status: 409, title: 'Already at it', body: '<p>The App is being registered.</p>' };
  if (code === null || !/^[A-Za-z0-9_-]{1,200}$/.test(code)) {
    return { status: 400, title: 'Not registered', body: `<p>GitHub sent no usable code.</p>${again}` };
  }
  flow.busy = true;
  try {
    const app = await takeIn(flow, code);
    const secret =
      app.webhook_secret === null
        ? '<p>GitHub gave no webhook secret: set one in the App’s settings and as <code>WEBHOOK_SECRET</code>.</p>'
        : '';
    flow.done({ url: app.html_url });
    const body = `<p>The App is registered and <code>${escaped(flow.output)}</code> is written.</p>${secret}<p>Next: <a href="${escaped(app.html_url)}/installations/new">install it on a repository</a>, then run <code>npm run -s cofferdam -- start</code>.</p>`;
    return { status: 200, title: 'Done', body };
  } catch (thrown) {
    const message = thrown instanceof CofferdamError ? thrown.message : 'unexpected failure';
    flow.print(`not registered: ${message}`);
    flow.busy = false;
    return { status: 502, title: 'That did not work', body: `<p>${escaped(message)}</p>${again}` };
  }
}

/** The file is made before the code is turned in, since the code is valid once and the key is shown once. */
async function takeIn(flow: Flow, code: string): Promise<z.infer<typeof Conversion>> {
  const file = await open(flow.output, 'wx', 0o600).catch((cause: unknown) => {
    throw inTheWay(flow.output, cause);
  });
  try {
    const app = await convert(flow, code);
    await writeSettings(flow, file, app);
    return app;
  } catch (thrown) {
    await rm(flow.output, { force: true });
    throw thrown;
  } finally {
    await file.close();
  }
}

async function convert(flow: Flow, code: string): Promise<z.infer<typeof Conversion>> {
  const answer = await fetch(`${flow.environment.github.apiUrl}/app-manifests/${code}/conversions`, {
    method: 'POST',
    headers: { accept: 'application/vnd.github+json', 'user-agent': 'cofferdam' },
    redirect: 'error',
    signal: AbortSignal.timeout(30_000),
  }).catch((cause: unknown) => {
    throw new CofferdamError('github', 'cli.setup', `${flow.environment.github.apiUrl} did not answer`, cause);
  });
  const parsed = Conversion.safeParse(await answer.json().catch(() => null));
  if (!answer.ok || !parsed.success)
    throw new CofferdamError(
      'github',
      'cli.setup',
      `GitHub answered ${answer.status}; a code is valid once and for an hour`,
    );
  return parsed.data;
}

function inTheWay(output: string, cause?: unknown): CofferdamError {
  return new CofferdamError('config', 'cli.setup', `cannot create ${output}; move an older one away first`, cause);
}

async function writeSettings(flow: Flow, file: FileHandle, app: z.infer<typeof Conversion>): Promise<void> {
  const { environment } = flow;
  const github = new URL(environment.github.webUrl);
  const elsewhere = github.host !== 'github.com';
  const settings: Record<string, string | number | undefined> = {
    APP_ID: app.id,
    PRIVATE_KEY: Buffer.from(app.pem).toString('base64'),
    WEBHOOK_SECRET: app.webhook_secret ?? undefined,
    COFFERDAM_PUBLIC_URL: flow.publicUrl,
    COFFERDAM_POLICY: environment.policyFile === undefined ? undefined : absolute(environment.policyFile),
    GITHUB_CLIENT_ID: app.client_id,
    GITHUB_CLIENT_SECRET: app.client_secret,
    GHE_HOST: elsewhere ? github.host : undefined,
    GHE_PROTOCOL: elsewhere ? github.protocol.replace(':', '') : undefined,
  };
  const lines = Object.entries(settings).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${quoted(name, String(value))}`],
  );
  await file.writeFile(`${lines.join('\n')}\n`);
  await file.sync();
}

/** A value as Node and compose read it from an .env file. Errors: `github` when there is no such form. */
function quoted(name: string, value: string): string {
  if (/^[A-Za-z0-9_.:/+=@%,-]*$/.test(value)) return value;
  if (/^[^'\r\n]*$/.test(value)) return `'${value}'`;
  throw new CofferdamError('github', 'cli.setup', `${name} has a value that an .env file cannot hold`);
}

/** Serves the page on loopback until the App is registered. Exit codes: 0 registered, 130 stopped. Errors: `config`. */
export async function setupCommand(options: {
  output: string;
  organization?: string | undefined;
  environment: Environment;
  signal: AbortSignal;
  print?: (line: string) => void;
}): Promise<number> {
  const { environment, signal, output } = options;
  const print = options.print ?? ((line) => process.stdout.write(`${line}\n`));
  const { publicUrl } = environment;
  if (publicUrl === undefined) {
    throw new CofferdamError(
      'config',
      'cli.setup',
      'set COFFERDAM_PUBLIC_URL to the address at which GitHub can reach this server, such as https://cofferdam.example.com',
    );
  }
  // Said before anything is registered; it is made sure of again when it is written.
  const taken = await access(output).then(
    () => true,
    () => false,
  );
  if (taken) throw inTheWay(output);
  const { promise, resolve } = Promise.withResolvers<{ url: string } | Error>();
  const [token, state] = [randomBytes(24).toString('base64url'), randomBytes(24).toString('base64url')];
  const { organization } = options;
  const flow: Flow = {
    token,
    state,
    origin: '',
    environment,
    publicUrl,
    organization,
    output,
    busy: false,
    print,
    done: resolve,
  };
  const server = createServer((req, res) => {
    route(flow, req).then(
      (answer) => send(res, answer),
      () => send(res, { status: 500, title: 'That did not work', body: '' }),
    );
  });
  server.listen(0, '127.0.0.1');
  await new Promise((ready) => server.once('listening', ready));
  flow.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  signal.addEventListener('abort', () => resolve(new Error('stopped')), { once: true });
  print(`Open ${flow.origin}/?token=${token}`);
  const result = await promise;
  await new Promise<void>((closed) => {
    server.close(() => closed());
    // The last page is on its way; a browser's spare connections are not waited for.
    server.closeIdleConnections();
    setTimeout(() => server.closeAllConnections(), 2_000).unref();
  });
  if (result instanceof Error) return 130;
  print(`registered ${result.url}; settings are in ${output}`);
  return 0;
}
