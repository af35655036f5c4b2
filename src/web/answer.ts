/** What is sent, and the headers that go with it. */
import type { ServerResponse } from 'node:http';
import type { Markup } from './html.ts';

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  'trusted-types cofferdam',
].join('; ');

export const HEADERS: Record<string, string> = {
  'content-security-policy': POLICY,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'same-origin',
  'cache-control': 'no-store',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
};

export function sendPage(response: ServerResponse, status: number, page: Markup): void {
  response.writeHead(status, { ...HEADERS, 'content-type': 'text/html; charset=utf-8' }).end(page.text);
}

export function redirect(response: ServerResponse, to: string, cookies: readonly string[] = []): void {
  response
    .writeHead(303, { ...HEADERS, location: to, ...(cookies.length === 0 ? {} : { 'set-cookie': [...cookies] }) })
    .end();
}

/** A file to save: never shown by the browser, whatever is in it. */
export function beginDownload(response: ServerResponse, name: string): void {
  const headers = {
    ...HEADERS,
    'content-security-policy': "default-src 'none'; sandbox",
    'content-type': 'application/octet-stream',
    'content-disposition': `attachment; filename="${name}"`,
  };
  response.writeHead(200, headers);
}

/** A cookie that scripts cannot read and other sites cannot send along with forms. */
export function setCookie(options: {
  name: string;
  value: string;
  path: string;
  seconds: number;
  secure: boolean;
}): string {
  const { name, value, path, seconds, secure } = options;
  return `${name}=${value}; Path=${path}; Max-Age=${seconds}; HttpOnly; SameSite=Lax${secure ? '; Secure' : ''}`;
}
