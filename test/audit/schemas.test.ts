import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { AuditEvent } from '../../src/domain/audit.ts';
import { classed, dataShape } from '../../src/domain/events/data-class.ts';
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

  it('say of each field what kind of data it holds', () => {
    for (const [type, schema] of Object.entries(AUDIT_EVENTS)) expect(() => dataShape(schema, type)).not.toThrow();
    expect(dataShape(AuditEvent)).toMatchObject({ keys: { prev: { of: 'hash' }, data: { of: 'record' } } });
  });

  it.each([
    ['says nothing', z.strictObject({ a: z.strictObject({ b: z.array(z.string()) }) }), 'data.a.b[] has no data class'],
    ['is anything', z.strictObject({ a: z.unknown() }), 'data.a has no data class'],
    [
      'is two things',
      z.union([z.object({ a: classed('id', z.string()) }), z.object({ a: classed('text', z.string()) })]),
      'data.a has two data classes',
    ],
  ])('fail when a field %s', (_what, schema, problem) => {
    expect(() => dataShape(schema)).toThrow(problem);
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
