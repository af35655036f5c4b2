/**
 * Registers the GitHub App by GitHub's manifest flow. Trust assumptions: anybody on this machine can reach the loopback
 * port, so every request needs the one-time token (as `token`, or as the `state` that GitHub hands back); what GitHub
 * answers is parsed, and only known fields are written.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { open, readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { z } from 'zod';
import type { Environment } from '../config/environment.ts';
import { CofferdamError } from '../domain/errors.ts';

const Conversion = z.object({
  id: z.number().int(),
  pem: z.string().min(1),
  webhook_secret: z.string().min(1),
  html_url: z.url(),
  client_id: z.string().optional(),
  client_secret: z.string().optional(),
});

const escapes: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
function html(text: string): string {
  return text.replace(/[&<>"']/g, (c) => escapes[c] ?? c);
}

function page(title: string, body: string): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${html(title)}</title><style>body{font:1rem/1.5 system-ui;max-width:42rem;margin:4rem auto;padding:0 1rem;color-scheme:light dark}
button{font:inherit;padding:.6rem 1.2rem;border-radius:.5rem;border:1px solid}code{font-size:.9em}</style><main><h1>${html(title)}</h1>${body}</main></html>`;
}

/** The App's manifest: `app.yml` with this installation's addresses. */
export async function manifest(options: { publicUrl: string; redirectUrl: string }): Promise<Record<string, unknown>> {
  const file = fileURLToPath(new URL('../../app.yml', import.meta.url));
  const app = parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  return {
    ...app,
    url: app['url'] ?? options.publicUrl,
    hook_attributes: { url: `${options.publicUrl}/api/github/webhooks`, active: true },
    redirect_url: options.redirectUrl,
    public: false,
  };
}

interface Flow {
  token: string;
  environment: Environment;
  publicUrl: string;
  organization: string | undefined;
  output: string;
  done: (result: { url: string } | Error) => void;
}

function authorised(flow: Flow, given: string | null): boolean {
  const a = Buffer.from(given ?? '');
  const b = Buffer.from(flow.token);
  return a.length === b.length && timingSafeEqual(a, b);
}

function send(res: ServerResponse, status: number, body: string, formAction: string): void {
  res.writeHead(status, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': `default-src 'none'; style-src 'unsafe-inline'; form-action ${formAction}; frame-ancestors 'none'`,
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-store',
  });
  res.end(body);
}

async function handle(flow: Flow, req: IncomingMessage, res: ServerResponse): Promise<void> {
  const origin = `http://${req.headers.host ?? ''}`;
  const url = new URL(req.url ?? '/', origin);
  const github = flow.environment.github.webUrl;
  if (req.method !== 'GET' || !authorised(flow, url.searchParams.get('token') ?? url.searchParams.get('state'))) {
    send(
      res,
      403,
      page('Not this way', '<p>Open the exact link that <code>cofferdam setup</code> printed.</p>'),
      "'none'",
    );
    return;
  }
  if (url.pathname === '/') {
    const json = JSON.stringify(await manifest({ publicUrl: flow.publicUrl, redirectUrl: `${origin}/registered` }));
    const owner = flow.organization === undefined ? '' : `/organizations/${encodeURIComponent(flow.organization)}`;
    const action = `${github}${owner}/settings/apps/new?state=${flow.token}`;
    const body = `<p>GitHub will show the permissions and create the App; its keys are then written to <code>${html(flow.output)}</code> on this machine.</p>
<p>Webhooks will go to <code>${html(flow.publicUrl)}/api/github/webhooks</code>.</p>
<form method="post" action="${html(action)}"><input type="hidden" name="manifest" value="${html(json)}"><button>Register the App on ${html(new URL(github).host)}</button></form>`;
    send(res, 200, page('Register Cofferdam', body), new URL(github).origin);
    return;
  }
  if (url.pathname !== '/registered') {
    send(res, 404, page('Nothing here', ''), "'none'");
    return;
  }
  const app = await convert(flow, url.searchParams.get('code') ?? '');
  await writeSettings(flow, app);
  const install = `<p>The App is registered and <code>${html(flow.output)}</code> is written. Next: <a href="${html(app.html_url)}/installations/new">install it on a repository</a>, then run <code>npm run -s cofferdam -- start</code>.</p>`;
  send(res, 200, page('Done', install), "'none'");
  flow.done({ url: app.html_url });
}

async function convert(flow: Flow, code: string): Promise<z.infer<typeof Conversion>> {
  if (!/^[A-Za-z0-9_-]{1,200}$/.test(code))
    throw new CofferdamError('github', 'cli.setup', 'GitHub sent no usable code; start again');
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
      `GitHub answered ${answer.status}; the code is valid for one hour and once, start again`,
    );
  return parsed.data;
}

/** The file must not exist: an App's key is never overwritten. */
async function writeSettings(flow: Flow, app: z.infer<typeof Conversion>): Promise<void> {
  const { environment } = flow;
  const github = new URL(environment.github.webUrl);
  const lines = [
    `APP_ID=${app.id}`,
    `PRIVATE_KEY=${Buffer.from(app.pem).toString('base64')}`,
    `WEBHOOK_SECRET=${app.webhook_secret}`,
    `COFFERDAM_PUBLIC_URL=${flow.publicUrl}`,
    ...(app.client_id === undefined ? [] : [`GITHUB_CLIENT_ID=${app.client_id}`]),
    ...(app.client_secret === undefined ? [] : [`GITHUB_CLIENT_SECRET=${app.client_secret}`]),
    ...(github.host === 'github.com'
      ? []
      : [`GHE_HOST=${github.host}`, `GHE_PROTOCOL=${github.protocol.replace(':', '')}`]),
  ];
  if (lines.some((line) => /[\r\n]/.test(line)))
    throw new CofferdamError('github', 'cli.setup', 'GitHub sent a value with a line break');
  const handle = await open(flow.output, 'wx', 0o600).catch((cause: unknown) => {
    throw new CofferdamError(
      'config',
      'cli.setup',
      `cannot create ${flow.output}; move an older one away first`,
      cause,
    );
  });
  try {
    await handle.writeFile(`${lines.join('\n')}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Serves the page on loopback until the App is registered. Exit codes: 0 registered, 130 stopped. */
export async function setupCommand(options: {
  output: string;
  organization?: string | undefined;
  environment: Environment;
  signal: AbortSignal;
  print?: (line: string) => void;
}): Promise<number> {
  const { environment, signal } = options;
  const print = options.print ?? ((line) => process.stdout.write(`${line}\n`));
  if (environment.publicUrl === undefined) {
    throw new CofferdamError(
      'config',
      'cli.setup',
      'set COFFERDAM_PUBLIC_URL to the address at which GitHub can reach this server, such as https://cofferdam.example.com',
    );
  }
  const token = randomBytes(24).toString('base64url');
  const { promise, resolve } = Promise.withResolvers<{ url: string } | Error>();
  const flow: Flow = {
    token,
    environment,
    publicUrl: environment.publicUrl,
    organization: options.organization,
    output: options.output,
    done: resolve,
  };
  const server = createServer((req, res) => {
    handle(flow, req, res).catch((thrown: unknown) => {
      const message = thrown instanceof CofferdamError ? thrown.message : 'unexpected failure';
      send(res, 500, page('That did not work', `<p>${html(message)}</p>`), "'none'");
    });
  });
  server.listen(0, '127.0.0.1');
  await new Promise((ready) => server.once('listening', ready));
  signal.addEventListener('abort', () => resolve(new Error('stopped')), { once: true });
  print(`Open http://127.0.0.1:${(server.address() as AddressInfo).port}/?token=${token}`);
  const result = await promise;
  server.close();
  server.closeIdleConnections();
  if (result instanceof Error) return 130;
  print(`registered ${result.url}; settings are in ${options.output}`);
  return 0;
}
