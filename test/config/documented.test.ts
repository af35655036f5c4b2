import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { schemaFiles } from './schema-files.ts';

const ROOT = join(import.meta.dirname, '../..');
const PROGRAM = join(ROOT, 'src/main/cofferdam.ts');
const read = (path: string): Promise<string> => readFile(join(ROOT, path), 'utf8');

/** Every key that a schema names, at any depth. */
function keysOf(schema: unknown): string[] {
  if (typeof schema !== 'object' || schema === null) return [];
  if (Array.isArray(schema)) return schema.flatMap(keysOf);
  return Object.entries(schema).flatMap(([name, value]) =>
    name === 'properties'
      ? [...Object.keys(value as object), ...keysOf(Object.values(value as object))]
      : keysOf(value),
  );
}

describe('docs/settings.md', () => {
  it.each(['policy.json', 'repository.json'])('names every key of %s', async (name) => {
    const text = await read('docs/settings.md');
    const keys = new Set(keysOf(JSON.parse((await schemaFiles()).get(name) ?? '')));
    expect(keys.size).toBeGreaterThan(10);
    expect([...keys].filter((key) => !new RegExp(`\\b${key}\\b`).test(text))).toEqual([]);
  });

  it('names every variable of the environment', async () => {
    const text = await read('docs/settings.md');
    const code = await read('src/config/environment.ts');
    const names = [...code.matchAll(/^ {2}([A-Z][A-Z_]{3,}): /gm)].map(([, name]) => name ?? '');
    expect(names).toContain('WEBHOOK_SECRET');
    expect(names.filter((name) => !text.includes(`\`${name}\``))).toEqual([]);
  });
});

describe('README.md', () => {
  it('names every command, and for each no option that it does not have', async () => {
    const rows = [...(await read('README.md')).matchAll(/^\| (`.+?`) +\| /gm)].map(([, cell]) => cell ?? '');
    const help = async (...args: string[]): Promise<string> =>
      (await promisify(execFile)(process.execPath, [PROGRAM, ...args, '--help'])).stdout;
    const told = rows.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, text]) => text ?? ''));
    const named = new Set(told.map((text) => text.split(' ')[0] ?? ''));
    const has = [...(await help()).matchAll(/^ {2}([a-z]+)(?: \[options\])?(?: |$)/gm)].map(([, name]) => name ?? '');
    expect([...named].sort()).toEqual(has.filter((name) => name !== 'help').sort());
    for (const text of told) {
      const words = text.split(' ');
      const command = words.filter((word, at) => at === 0 || (words[0] === 'policy' && at === 1));
      const shown = await help(...command);
      for (const [option] of text.matchAll(/--[a-z][a-z-]+/g))
        expect([text, shown]).toEqual([text, expect.stringContaining(`${option} `)]);
    }
  });
});
