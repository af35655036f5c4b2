/**
 * The JSON Schema files of the audit's events, from their zod schemas, and the table of them in docs/audit.md.
 * `node test/audit/schema-files.ts` writes them.
 */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { format } from 'prettier';
import { z } from 'zod';
import { AuditEvent, DURABLE_EVENTS } from '../../src/domain/audit.ts';
import { declaredClass } from '../../src/domain/events/data-class.ts';
import { AUDIT_EVENTS, EVENT_TYPES, type EventType } from '../../src/domain/events/events.ts';

const DOCS = join(import.meta.dirname, '../../docs');
export const DIRECTORY = join(DOCS, 'audit-events');
const TABLE = join(DOCS, 'audit.md');
const BEGIN = '<!-- events: written by test/audit/schema-files.ts -->';
const END = '<!-- end of events -->';

function schemaOf(schema: z.ZodType): Record<string, unknown> {
  const json: Record<string, unknown> = z.toJSONSchema(schema, {
    io: 'input',
    // The bounds of every integer in JavaScript say nothing.
    override: ({ zodSchema, jsonSchema }) => {
      const dataClass = declaredClass(zodSchema);
      if (dataClass !== undefined) jsonSchema['x-data-class'] = dataClass;
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
      if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
    },
  });
  delete json['$schema'];
  return json;
}

function eventSchema(type: EventType): Record<string, unknown> {
  const { description, ...data } = schemaOf(AUDIT_EVENTS[type]);
  return { title: type, description, allOf: [{ $ref: 'line.json' }], properties: { type: { const: type }, data } };
}

/** Every file by its name, as it must be. */
export async function schemaFiles(): Promise<Map<string, string>> {
  const line = { title: 'One line of an audit file', ...schemaOf(AuditEvent) };
  const all = [['line', line] as const, ...EVENT_TYPES.map((type) => [type, eventSchema(type)] as const)];
  const files = new Map<string, string>();
  for (const [name, schema] of all) {
    const text = JSON.stringify({ $schema: z.toJSONSchema(z.any()).$schema, ...schema });
    files.set(`${name}.json`, await format(text, { parser: 'json', printWidth: 120 }));
  }
  return files;
}

/** docs/audit.md as it is, and with the table that belongs into it. */
export async function documentation(): Promise<{ is: string; ought: string }> {
  const is = await readFile(TABLE, 'utf8');
  const rows = EVENT_TYPES.map((type) => {
    const synced = (DURABLE_EVENTS as readonly string[]).includes(type) ? 'before' : '';
    return `| [\`${type}\`](audit-events/${type}.json) | ${AUDIT_EVENTS[type].description ?? ''} | ${synced} |`;
  });
  const table = ['| class | what it records | synced |', '| --- | --- | --- |', ...rows].join('\n');
  const [before = '', rest = ''] = is.split(BEGIN);
  const after = rest.split(END)[1] ?? '';
  const ought = `${before}${BEGIN}\n\n${table}\n\n${END}${after}`;
  return { is, ought: await format(ought, { parser: 'markdown', printWidth: 120, singleQuote: true }) };
}

async function write(): Promise<void> {
  const files = await schemaFiles();
  await mkdir(DIRECTORY, { recursive: true });
  for (const name of await readdir(DIRECTORY)) if (!files.has(name)) await rm(join(DIRECTORY, name));
  for (const [name, text] of files) await writeFile(join(DIRECTORY, name), text);
  await writeFile(TABLE, (await documentation()).ought);
}

if (import.meta.main) await write();
