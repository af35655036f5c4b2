import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { RegistryName } from '../../src/domain/policy.ts';
import { createRegistries, knownRegistries } from '../../src/main/registries.ts';
import { withFiles, type ReadDocument } from '../../src/main/registry-documents.ts';
import { REGISTRY_QUESTIONS } from '../../src/main/registry-questions.ts';
import { registryRules, type RegistryPlace } from '../../src/policy/egress/registry.ts';

const { signal } = new AbortController();

describe('what a client says', () => {
  test.each<[RegistryName, string, [RegistryPlace['part'], string][] | undefined]>([
    ['npm', 'https://r.test/base/\n', [['index', 'https://r.test/base/']]],
    ['npm', 'sh: npm: not found\n', undefined],
    [
      'pip',
      'https://r.test/simple\nhttps://extra.test/simple\n',
      [
        ['index', 'https://r.test/simple'],
        ['index', 'https://extra.test/simple'],
      ],
    ],
    ['pip', "ModuleNotFoundError: No module named 'pip'\n", undefined],
    [
      'cargo',
      'error: download of config.json failed\n failed to download from `https://r.test/index/config.json`\n',
      [['index', 'https://r.test/index']],
    ],
    ['cargo', 'error: no matching package\n', undefined],
    // Before 1.68, with the registry's index in git.
    ['cargo', 'Updating `r` index\nerror: failed to fetch `https://r.test/index.git`\n', undefined],
    [
      'go',
      'https://p.test,https://q.test|direct\nsum.test\n',
      [
        ['index', 'https://p.test'],
        ['index', 'https://q.test'],
        ['checksums', 'https://sum.test'],
      ],
    ],
    [
      'go',
      'https://p.test,direct\nsum.test+hash+key https://sums.test\n',
      [
        ['index', 'https://p.test'],
        ['checksums', 'https://sums.test'],
      ],
    ],
    ['go', 'https://p.test\noff\n', [['index', 'https://p.test']]],
    ['go', 'direct\nsum.test\n', undefined],
    [
      'maven',
      '[DEBUG] Repositories (dependencies): [central (https://r.test/maven2, default, releases), b (https://s.test/m, default, snapshots)]\n',
      [
        ['index', 'https://r.test/maven2'],
        ['index', 'https://s.test/m'],
      ],
    ],
    [
      'apt',
      "'http://r.test/debian/dists/a/InRelease' r_InRelease 0 \n'http://r.test/debian/dists/b/InRelease' r2_InRelease 0 \n",
      [['index', 'http://r.test/debian']],
    ],
  ])('%s: %j', (preset, output, expected) => {
    expect(REGISTRY_QUESTIONS[preset].read(output)?.map(({ part, address }) => [part, address])).toEqual(expected);
  });
});

/** Documents by address; everything else is not found. */
function documents(known: Record<string, string>): ReadDocument {
  return (address) =>
    Promise.resolve({ status: known[address] === undefined ? 404 : 200, text: known[address] ?? '', address });
}

describe('where a registry says its files are', () => {
  test.each<[RegistryName, string, Record<string, string>, string[]]>([
    [
      'npm',
      'https://r.test/',
      { 'https://r.test/npm/latest': '{"dist":{"tarball":"https://r.test/npm/-/npm-1.tgz"}}' },
      [],
    ],
    [
      'npm',
      'https://r.test/a',
      { 'https://r.test/a/npm/latest': '{"dist":{"tarball":"https://f.test/b/npm/-/npm-1.tgz"}}' },
      ['https://f.test/b'],
    ],
    [
      'cargo',
      'https://r.test',
      { 'https://r.test/config.json': '{"dl":"https://f.test/crates","api":"https://api.test"}' },
      ['https://f.test/crates'],
    ],
    [
      'pip',
      'https://r.test/simple',
      {
        'https://r.test/simple/pip/':
          '{"files":[{"url":"https://f.test/packages/ab/cd/pip-1.whl"},{"url":"https://f.test/packages/ef/cd/pip-2.whl"}]}',
      },
      ['https://f.test/packages'],
    ],
    [
      'pip',
      'https://r.test/simple',
      { 'https://r.test/simple/pip/': '<a href="../../packages/pip/1.0/pip-1.whl#sha256=x">pip</a>' },
      ['https://r.test/packages'],
    ],
    [
      'pip',
      'https://r.test/simple',
      { 'https://r.test/simple/pip/': '<a href="http://plain.test/pip-1.whl">pip</a>' },
      [],
    ],
  ])('%s at %s', async (preset, address, known, expected) => {
    const places: RegistryPlace[] = [{ part: 'index', address }];
    const found = await withFiles({ preset, places, read: documents(known), signal });
    expect(found[0]).toEqual(places[0]);
    expect(found.slice(1).map((one) => one.address)).toEqual(expected);
  });

  test('a proxy that mirrors the checksum database makes its own host needless', async () => {
    const places: RegistryPlace[] = [
      { part: 'index', address: 'https://p.test' },
      { part: 'checksums', address: 'https://sum.test' },
    ];
    const with_ = documents({ 'https://p.test/sumdb/sum.test/supported': '' });
    expect(await withFiles({ preset: 'go', places, read: with_, signal })).toEqual([places[0]]);
    expect(await withFiles({ preset: 'go', places, read: documents({}), signal })).toEqual(places);
  });

  test.each([
    ['nothing', {}, '404'],
    ['another document', { 'https://r.test/config.json': '<html>' }, 'cannot be read'],
  ])('%s is an error of the policy', async (_name, known, message) => {
    const places: RegistryPlace[] = [{ part: 'index', address: 'https://r.test' }];
    await expect(withFiles({ preset: 'cargo', places, read: documents(known), signal })).rejects.toMatchObject({
      code: 'policy',
      message: expect.stringContaining(message) as string,
    });
  });
});

describe('who is asked', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'cofreg-'));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  test('the policy before the image, the image before the host, each once; what they said is kept with a digest', async () => {
    const asked: string[] = [];
    const store = join(dir, 'data', 'registries.json');
    const ask = createRegistries({
      registries: { maven: ['https://mirror.test/m'] },
      image: (script) => {
        asked.push('image');
        return Promise.resolve(
          script.includes('apt-get') ? "'http://image.test/d/dists/x/InRelease' x 0\n" : 'not found\n',
        );
      },
      host: () => {
        asked.push('host');
        return Promise.resolve('https://host.test\noff\n');
      },
      read: documents({}),
      store,
    });
    expect(await ask('maven', signal)).toEqual([{ part: 'index', address: 'https://mirror.test/m' }]);
    expect(asked).toEqual([]);
    expect(await ask('apt', signal)).toEqual([{ part: 'index', address: 'http://image.test/d' }]);
    expect(asked).toEqual(['image']);
    expect(await ask('go', signal)).toEqual([{ part: 'index', address: 'https://host.test' }]);
    await ask('go', signal);
    expect(asked).toEqual(['image', 'image', 'host']);
    const known = await knownRegistries(store);
    expect(Object.entries(known).map(([name, { by }]) => [name, by])).toEqual([
      ['maven', 'policy'],
      ['apt', 'image'],
      ['go', 'host'],
    ]);
    expect(await readFile(store, 'utf8')).toMatch(/"digest": "[0-9a-f]{64}"/);
  });

  test('a second registry that the policy names, such as Yarn’s own, is one of the preset with the files that it names', async () => {
    const version = (tarballs: string) => JSON.stringify({ dist: { tarball: `${tarballs}/npm/-/npm-1.0.0.tgz` } });
    const ask = createRegistries({
      registries: { npm: ['https://one.test/', 'https://two.test'] },
      image: () => Promise.reject(new Error('nobody is asked')),
      read: documents({
        'https://one.test/npm/latest': version('https://one.test'),
        'https://two.test/npm/latest': version('https://files.test'),
      }),
      store: join(dir, 'r'),
    });
    const found = registryRules('npm', await ask('npm', signal), { allowPrivate: false });
    const rules = found.ok ? found.rules : [];
    expect(rules.map(({ host }) => host)).toEqual(['one.test', 'two.test', 'files.test']);
    expect(rules.every(({ methods, registry }) => methods?.join() === 'GET,HEAD' && registry === 'npm')).toBe(true);
  });

  test('a client that nobody has is an error that says what to do', async () => {
    const nobody = () => Promise.resolve('sh: not found\n');
    const ask = createRegistries({
      registries: {},
      image: nobody,
      host: nobody,
      read: documents({}),
      store: join(dir, 'r'),
    });
    await expect(ask('cargo', signal)).rejects.toMatchObject({
      code: 'policy',
      message: expect.stringMatching(/cargo 1\.68 or newer.*egress\.registries\.cargo/) as string,
    });
    await expect(ask('go', signal)).rejects.toMatchObject({
      message: expect.stringMatching(/install one, or .*egress\.registries\.go/) as string,
    });
  });
});
