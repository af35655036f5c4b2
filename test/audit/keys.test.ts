import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { loadSigningKey, publicKeyFile, publicPem } from '../../src/audit/seal.ts';
import { loadLinkKey } from '../../src/web/links.ts';
import { directory } from './run-log.ts';

it('is one key for all that begin at the same time, and nothing is left beside it', async () => {
  await using dir = await directory();
  const keys = await Promise.all(Array.from({ length: 12 }, () => loadSigningKey(dir.path)));
  const links = await Promise.all(Array.from({ length: 12 }, () => loadLinkKey(dir.path)));
  const pinned = await readFile(publicKeyFile(dir.path), 'utf8');
  for (const { publicKey } of keys) expect(publicPem(publicKey)).toBe(pinned);
  expect(new Set(links.map((key) => key.toString('hex'))).size).toBe(1);
  expect((await readdir(join(dir.path, 'keys'))).sort()).toEqual(['audit.pem', 'audit.pem.pub', 'links']);
  for (const name of ['audit.pem', 'links'])
    expect((await stat(join(dir.path, 'keys', name))).mode & 0o777, name).toBe(0o600);
});

it('has its public half again after a crash between the two, and never changes one that is there', async () => {
  await using dir = await directory();
  const { publicKey } = await loadSigningKey(dir.path);
  await rm(publicKeyFile(dir.path));
  await loadSigningKey(dir.path);
  expect(await readFile(publicKeyFile(dir.path), 'utf8')).toBe(publicPem(publicKey));
  await writeFile(publicKeyFile(dir.path), 'pinned');
  await loadSigningKey(dir.path);
  expect(await readFile(publicKeyFile(dir.path), 'utf8')).toBe('pinned');
});

it('says what is wrong with a key that is none', async () => {
  await using dir = await directory();
  await mkdir(join(dir.path, 'keys'));
  await writeFile(join(dir.path, 'keys', 'audit.pem'), 'nothing');
  await expect(loadSigningKey(dir.path)).rejects.toThrow('is not a private key');
});
