import { get } from 'node:https';
import { z } from 'zod';
import { CofferdamError } from '../domain/errors.ts';
import type { RegistryName } from '../domain/policy.ts';
import type { RegistryPlace } from '../policy/egress/registry.ts';

/** Reads one document of a registry on the host. Rejects when it cannot be had; `status` of an answer that is none. */
export type ReadDocument = (
  address: string,
  options: { accept: string; signal: AbortSignal },
) => Promise<{ status: number; text: string; address: string }>;

const NpmVersion = z.object({ dist: z.object({ tarball: z.url() }) });
const CargoConfig = z.object({ dl: z.string() });
const PipProject = z.object({ files: z.array(z.object({ url: z.string() })) });

/**
 * Where a registry keeps its files, by its own word: a fixed document, read on the host before any run, so that no answer
 * that a run caused can name a host. Errors: `policy`.
 */
export async function withFiles(options: {
  preset: RegistryName;
  places: readonly RegistryPlace[];
  read: ReadDocument;
  signal: AbortSignal;
}): Promise<RegistryPlace[]> {
  const { preset, places } = options;
  const found = await Promise.all(
    places.map(async (place) => {
      const base = place.address.replace(/\/+$/, '');
      if (place.part === 'checksums') return (await mirrorsChecksums(options)) ? [] : [place];
      if (preset === 'npm') return [place, ...npmFiles(base, await document(options, `${base}/npm/latest`))];
      if (preset === 'cargo') return [place, ...cargoFiles(await document(options, `${base}/config.json`))];
      if (preset === 'pip') return [place, ...pipFiles(await document(options, `${base}/pip/`))];
      return [place];
    }),
  );
  return found.flat();
}

interface Asked {
  preset: RegistryName;
  places: readonly RegistryPlace[];
  read: ReadDocument;
  signal: AbortSignal;
}

async function document(asked: Asked, address: string): Promise<{ text: string; address: string }> {
  const fail = (what: string, cause?: unknown): CofferdamError =>
    new CofferdamError(
      'policy',
      'main.registryDocument',
      `the preset "${asked.preset}" needs ${address} to know where files are: ${what}`,
      cause,
    );
  const accept = 'application/json, application/vnd.pypi.simple.v1+json, text/html; q=0.1';
  const answer = await asked.read(address, { accept, signal: asked.signal }).catch((cause: unknown) => {
    throw fail(cause instanceof Error ? cause.message : 'it cannot be read', cause);
  });
  if (answer.status !== 200) throw fail(`it answers ${answer.status}`);
  return answer;
}

/** A proxy that says it serves the checksum database is what Go asks; the database's own host is not needed then. */
async function mirrorsChecksums(asked: Asked): Promise<boolean> {
  const database = asked.places.find((place) => place.part === 'checksums');
  const name = URL.parse(database?.address ?? '')?.host ?? '';
  const proxies = asked.places.filter((place) => place.part === 'index');
  const answers = await Promise.all(
    proxies.map(({ address }) =>
      asked
        .read(`${address.replace(/\/+$/, '')}/sumdb/${name}/supported`, { accept: '*/*', signal: asked.signal })
        .then(({ status }) => status === 200)
        .catch(() => false),
    ),
  );
  return answers.length > 0 && answers.every(Boolean);
}

function npmFiles(base: string, { text }: { text: string }): RegistryPlace[] {
  const { tarball } = parsed(NpmVersion, text).dist;
  const end = tarball.indexOf('/npm/-/');
  const files = end === -1 ? new URL(tarball).origin : tarball.slice(0, end);
  return files === base ? [] : [{ part: 'files', address: files }];
}

function cargoFiles({ text }: { text: string }): RegistryPlace[] {
  return [{ part: 'files', address: parsed(CargoConfig, text).dl }];
}

/** For each host of the project page's links the directory that all of them are in. */
function pipFiles(page: { text: string; address: string }): RegistryPlace[] {
  const links = page.text.trimStart().startsWith('{')
    ? parsed(PipProject, page.text).files.map(({ url }) => url)
    : Array.from(page.text.matchAll(/href="([^"#]+)/g), ([, link = '']) => link);
  const directories = new Map<string, string[]>();
  for (const link of links) {
    const url = URL.parse(link, page.address);
    if (url?.protocol !== 'https:') continue;
    const segments = url.pathname.split('/').slice(1, -1);
    // Below a directory of the project's own name only this project's files are.
    const own = segments.indexOf('pip');
    const directory = own === -1 ? segments : segments.slice(0, own);
    const before = directories.get(url.origin) ?? directory;
    const end = before.findIndex((segment, index) => segment !== directory[index]);
    directories.set(url.origin, end === -1 ? before : before.slice(0, end));
  }
  return [...directories].map(([origin, path]) => ({ part: 'files', address: [origin, ...path].join('/') }));
}

function parsed<T extends z.ZodType>(schema: T, text: string): z.output<T> {
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    const message = 'a registry answered with a document that cannot be read';
    throw new CofferdamError('policy', 'main.registryDocument', message, cause);
  }
}

const MAX_DOCUMENT = 16 * 2 ** 20;
const MAX_REDIRECTS = 3;
const DOCUMENT_MS = 30_000;

/** Reads over https, verified with this bundle (default: what the host trusts). */
export function httpsDocuments(ca: string | undefined): ReadDocument {
  return async function read(address, options) {
    let at = address;
    for (let redirects = 0; ; redirects += 1) {
      const answer = await once(at, { ...options, ca });
      const next = answer.location === undefined ? undefined : URL.parse(answer.location, at);
      if (!next) return { status: answer.status, text: answer.text, address: at };
      if (next.protocol !== 'https:' || redirects === MAX_REDIRECTS) throw new Error('it is redirected elsewhere');
      at = next.href;
    }
  };
}

function once(
  address: string,
  options: { accept: string; ca: string | undefined; signal: AbortSignal },
): Promise<{ status: number; text: string; location: string | undefined }> {
  const { accept, ca, signal } = options;
  const limit = AbortSignal.any([signal, AbortSignal.timeout(DOCUMENT_MS)]);
  return new Promise((resolve, reject) => {
    const request = get(
      address,
      { signal: limit, headers: { accept, 'user-agent': 'cofferdam' }, ...(ca === undefined ? {} : { ca }) },
      (response) => {
        const { statusCode: status = 0, headers } = response;
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (piece: string) => {
          text += piece;
          if (text.length > MAX_DOCUMENT) request.destroy(new Error('it is too long'));
        });
        response.once('end', () =>
          resolve({ status, text, location: status >= 300 && status < 400 ? headers.location : undefined }),
        );
        response.once('error', reject);
      },
    );
    request.once('error', reject);
  });
}
