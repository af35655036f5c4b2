/** Style, script and icon: files of this room, served under a name that changes with their content. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { HEADERS } from './answer.ts';

export interface Assets {
  /** First part of their addresses. */
  readonly version: string;
  /** False when there is no such file. */
  serve(path: string, response: ServerResponse): boolean;
}

const TYPES: Record<string, string> = { css: 'text/css', js: 'text/javascript', svg: 'image/svg+xml' };

export function loadAssets(): Assets {
  const directory = join(import.meta.dirname, 'assets');
  // The library's module is served as it came.
  const idiomorph = createRequire(import.meta.url).resolve('idiomorph/dist/idiomorph.esm.js');
  const files = new Map(
    ['style.css', 'live.js', 'icon.svg'].map((name): [string, Buffer] => [name, readFileSync(join(directory, name))]),
  );
  files.set('idiomorph.js', readFileSync(idiomorph));
  const hash = createHash('sha256');
  for (const content of files.values()) hash.update(content);
  const version = hash.digest('hex').slice(0, 12);
  return {
    version,
    serve(path, response) {
      const [, name = ''] = /^\/runs\/-\/[0-9a-f]{12}\/([a-z.]+)$/.exec(path) ?? [];
      const content = files.get(name);
      if (content === undefined) return false;
      const type = `${TYPES[name.split('.').at(-1) ?? ''] ?? 'text/plain'}; charset=utf-8`;
      response.writeHead(200, {
        ...HEADERS,
        'content-type': type,
        'cache-control': 'public, max-age=31536000, immutable',
      });
      response.end(content);
      return true;
    },
  };
}
