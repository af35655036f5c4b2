/**
 * Rules of the registry presets: what each ecosystem's clients read, and nothing else.
 *
 * Trust: the places come from the clients and the registries' own documents, asked on the host; requests are hostile. What
 * a request may carry to a registry is the choice of a path, so its shape, length and headers are bound here.
 */
import type { RegistryName } from '../../domain/policy.ts';
import type { PolicyRule } from './decide.ts';
import { canonicalPath } from './path.ts';

/** One address that an ecosystem's clients read from: an index of packages, its files, or a checksum database. */
export interface RegistryPlace {
  part: 'index' | 'files' | 'checksums';
  /** Base address without a final slash; for cargo's files the template of its configuration document. */
  address: string;
}

/** Longest path of a request to a registry. Real ones are below 300; what is longer carries something else. */
const MAX_REGISTRY_PATH = 512;

const READ = ['GET', 'HEAD'];

/**
 * Path patterns below the base address, by ecosystem and part.
 * npm: package documents, one version's document, tarballs, signing keys; the slash of a scope may be escaped. pip: project pages; files are anywhere below.
 * cargo: configuration and index files by the length of the name. go: the module proxy's protocol with its mirror of the
 * checksum database. maven: files of a version and the lists of versions. apt: releases and the pool.
 */
const SHAPES: Record<RegistryName, Partial<Record<RegistryPlace['part'], readonly string[]>>> = {
  npm: {
    index: [
      ...['/*', '/*/*', '/*/-/*', '/*/-/*/*', '/*/*/-/*', '/*/*/-/*/*', '/-/npm/v1/keys'],
      ...['/@*%2F*', '/@*%2F*/*', '/@*%2F*/-/*', '/@*%2F*/-/*/*'],
    ],
    files: ['/*/-/*', '/*/*/-/*', '/@*%2F*/-/*'],
  },
  pip: { index: ['/*', '/*/'], files: ['/**'] },
  cargo: { index: ['/config.json', '/1/*', '/2/*', '/3/*/*', '/*/*/*'] },
  go: {
    index: [
      '/**/@v/list',
      '/**/@v/*.info',
      '/**/@v/*.mod',
      '/**/@v/*.zip',
      '/**/@latest',
      '/sumdb/*/supported',
      '/sumdb/*/latest',
      '/sumdb/*/lookup/**',
      '/sumdb/*/tile/**',
    ],
    checksums: ['/supported', '/latest', '/lookup/**', '/tile/**'],
  },
  maven: { index: ['/*/**/*.*'] },
  apt: { index: ['/dists/**', '/pool/**'] },
};

/** Addresses may be plain http only where packages are signed by themselves. */
const PLAIN: readonly RegistryName[] = ['apt'];

/** Rules of one preset. Errors are values: the first place that cannot be used, and why. */
export function registryRules(
  preset: RegistryName,
  places: readonly RegistryPlace[],
  options: { allowPrivate: boolean },
): { ok: true; rules: PolicyRule[] } | { ok: false; problem: string } {
  const byOrigin = new Map<string, { host: string; port: number; paths: Set<string> }>();
  for (const place of places) {
    const url = URL.parse(place.address.replace(/\{[a-z0-9-]+\}/g, marker));
    const schemes = PLAIN.includes(preset) ? ['https:', 'http:'] : ['https:'];
    if (!url || !schemes.includes(url.protocol) || url.username !== '' || url.password !== '')
      return { ok: false, problem: `${JSON.stringify(place.address)} is no ${schemes[0] ?? ''} address of a registry` };
    const paths = patterns(preset, place, url.pathname);
    if (!paths) return { ok: false, problem: `${JSON.stringify(place.address)} has a path that cannot be a rule` };
    const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port);
    const origin = `${url.hostname}:${port}`;
    const found = byOrigin.get(origin) ?? { host: url.hostname, port, paths: new Set<string>() };
    for (const path of paths) found.paths.add(path);
    byOrigin.set(origin, found);
  }
  const rules = [...byOrigin.values()].map(({ host, port, paths }): PolicyRule => ({
    host,
    ports: [port],
    methods: READ,
    paths: [...paths],
    ...(options.allowPrivate ? { allowPrivate: true } : {}),
    source: `${preset} preset`,
    registry: preset,
  }));
  return { ok: true, rules };
}

/** Stand for cargo's markers while the address is parsed: a prefix may have a slash in it, the others are one segment. */
const DEEP = 'cofferdam-any-depth';
const ONE = 'cofferdam-any';

function marker(name: string): string {
  return name.includes('prefix') ? DEEP : ONE;
}

function patterns(preset: RegistryName, place: RegistryPlace, pathname: string): string[] | undefined {
  const base = pathname.replace(/\/+$/, '');
  const canonical = canonicalPath(base === '' ? '/' : base);
  if (!canonical.ok || canonical.query !== '' || base.includes('*')) return undefined;
  const known = base === '' ? '' : canonical.path;
  if (preset === 'cargo' && place.part === 'files') {
    const filled = known.replaceAll(DEEP, '**').replaceAll(ONE, '*');
    return [filled === known ? `${known}/*/*/download` : filled];
  }
  return (SHAPES[preset][place.part] ?? []).map((shape) => `${known}${shape}`);
}

/** Is this path one that an ecosystem's client asks for? Patterns were matched before; length is what they do not bind. */
export function fitsRegistry(path: string): boolean {
  return path.length <= MAX_REGISTRY_PATH;
}

/** Media types that the ecosystems' clients ask for. */
const MEDIA = new Set([
  '*/*',
  'application/json',
  'application/octet-stream',
  'application/vnd.npm.install-v1+json',
  'application/vnd.pypi.simple.v1+json',
  'application/vnd.pypi.simple.v1+html',
  'application/vnd.pypi.simple.latest+json',
  'application/xml',
  'text/html',
  'text/plain',
  'text/*',
]);
const HTTP_DATE = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;
const ENTITY_TAG = /^(?:W\/)?"[\x21\x23-\x7e]{1,80}"$/;

/** What a value of each header may look like; a header that is not here stays behind. */
const HEADERS: Readonly<Record<string, (value: string) => string | undefined>> = {
  accept: (value) => known(value, MEDIA),
  'accept-encoding': (value) => known(value, new Set(['gzip', 'br', 'zstd', 'deflate', 'identity', '*'])),
  'cache-control': (value) => known(value, new Set(['no-cache', 'no-store', 'max-age=0'])),
  pragma: (value) => known(value, new Set(['no-cache'])),
  range: fits(/^bytes=\d{1,12}-\d{0,12}$/),
  'if-modified-since': fits(HTTP_DATE),
  'if-none-match': fits(ENTITY_TAG),
  'if-range': (value) => (HTTP_DATE.test(value) || ENTITY_TAG.test(value) ? value : undefined),
};

function fits(pattern: RegExp): (value: string) => string | undefined {
  return (value) => (pattern.test(value) ? value : undefined);
}

/** The members of a list that are known, with their weight. */
function known(value: string, words: ReadonlySet<string>): string | undefined {
  const members = value.split(',').flatMap((member) => {
    const [word = '', ...parameters] = member.trim().split(/\s*;\s*/);
    const weight = parameters.find((parameter) => /^q=[01](?:\.\d{1,3})?$/.test(parameter));
    if (!words.has(word)) return [];
    return [weight === undefined ? word : `${word}; ${weight}`];
  });
  return members.length === 0 ? undefined : [...new Set(members)].slice(0, words.size).join(', ');
}

/**
 * What of a request's headers goes to a registry, in turn: values that the ecosystems' clients send, in a form that leaves
 * nothing to choose freely. The client names itself as what it is by the rule, not by what it says.
 */
export function registryHeaders(registry: RegistryName, headers: readonly (readonly [string, string])[]): string[] {
  const seen = new Set<string>();
  const kept = headers.flatMap(([name, value]) => {
    const lower = name.toLowerCase();
    const form = Object.hasOwn(HEADERS, lower) && !seen.has(lower) ? HEADERS[lower]?.(value) : undefined;
    if (form === undefined) return [];
    seen.add(lower);
    return [name, form];
  });
  return [...kept, 'User-Agent', `cofferdam/${registry}`];
}
