import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { AUDIT_EVENTS, eventProblem } from '../../src/domain/events/events.ts';
import { WHOLE_RUN } from './run-log.ts';
import { DIRECTORY, documentation, schemaFiles } from './schema-files.ts';

describe('the schemas of the events', () => {
  it('are in docs/, one file for each class, as the code has them (node test/audit/schema-files.ts writes them)', async () => {
    const files = await schemaFiles();
    expect((await readdir(DIRECTORY)).sort()).toEqual([...files.keys()].sort());
    for (const [name, text] of files) expect(await readFile(join(DIRECTORY, name), 'utf8'), name).toBe(text);
    const { is, ought } = await documentation();
    expect(is).toBe(ought);
  });

  it('each says what it records, and accepts as JSON Schema what it accepts as zod', () => {
    for (const [type, schema] of Object.entries(AUDIT_EVENTS)) expect(schema.description, type).toBeTruthy();
    for (const { type, data } of WHOLE_RUN) {
      expect(eventProblem({ type, data })).toBeNull();
      const json = z.fromJSONSchema(z.toJSONSchema(AUDIT_EVENTS[type], { io: 'input' }));
      expect(json.safeParse(data).success, type).toBe(true);
    }
  });

  it.each([
    ['a class that nobody declared', { type: 'egress.teleport', data: {} }, 'no class'],
    ['a field that nobody declared', { type: 'egress.name', data: { host: 'a.test', cookie: 'x' } }, 'cookie'],
    ['a field that is missing', { type: 'git.commit', data: { tree: 'a'.repeat(40), files: 1 } }, 'base'],
    ['a host’s command without its sandbox', { type: 'process.start', data: { 'process.user': 'agent' } }, 'Invalid'],
    ['a name that every object has', { type: 'constructor', data: {} }, 'no class'],
  ])('refuse %s', (_what, event, problem) => {
    expect(eventProblem(event)).toContain(problem);
  });
});
