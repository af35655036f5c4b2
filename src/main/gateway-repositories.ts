/**
 * What a gateway process can serve without rights: a repository that draws on another (a quarantine on its mirror) is
 * given to it as one directory of hard links, since git follows alternates by their full path, which only the worker may
 * enter.
 */
import { existsSync } from 'node:fs';
import { copyFile, link, mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { CofferdamError } from '../domain/errors.ts';

const OP = 'main.gatewayRepositories';
const ATTEMPTS = 5;

/** The same repositories, those with alternates as views below `directory`. Errors: `gateway`. */
export async function servableRepositories(
  git: Record<string, string>,
  directory: string,
): Promise<Record<string, string>> {
  const entries = Object.entries(git).map(async ([name, path], index): Promise<[string, string]> => {
    const alternates = await alternatesOf(path);
    if (alternates.length === 0) return [name, path];
    const view = join(directory, `${index}.git`);
    await linkTree(path, view);
    await rm(join(view, 'objects/info/alternates'), { force: true });
    for (const objects of alternates) await linkTree(objects, join(view, 'objects'));
    return [name, view];
  });
  return Object.fromEntries(await Promise.all(entries));
}

async function alternatesOf(path: string): Promise<string[]> {
  const objects = join(path, 'objects');
  const list = join(objects, 'info/alternates');
  if (!existsSync(list)) return [];
  const lines = (await readFile(list, 'utf8')).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return lines.map((line) => resolve(objects, line));
}

/** A mirror may be repacked meanwhile: its new packs are there before the old ones go, so another look finds all. */
async function linkTree(from: string, to: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await linkFiles(from, to);
      return;
    } catch (cause) {
      if (attempt === ATTEMPTS) throw new CofferdamError('gateway', OP, `cannot make a view of ${from}`, cause);
    }
  }
}

async function linkFiles(from: string, to: string): Promise<void> {
  const files = await readdir(from, { recursive: true, withFileTypes: true });
  await mkdir(to, { recursive: true });
  for (const file of files) {
    const source = join(file.parentPath, file.name);
    const target = join(to, source.slice(from.length));
    if (file.isDirectory()) await mkdir(target, { recursive: true });
    else if (file.isFile() && file.name !== 'alternates') await linkFile(source, target);
  }
}

async function linkFile(source: string, target: string): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  try {
    await link(source, target);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : '';
    if (code === 'EEXIST') return;
    // Another file system, or one without hard links.
    if (code !== 'EXDEV' && code !== 'EPERM' && code !== 'EMLINK') throw error;
    await copyFile(source, target);
  }
}
