import { z } from 'zod';

/**
 * What kind of data a field of an event holds. It says how the field is redacted before it is written (`policy/redaction`) and
 * stands in its JSON Schema as `x-data-class`.
 */
const DATA_CLASSES = [
  /** Numbers, yes or no, and words of a closed list. */
  'fact',
  /** Digests and commits. */
  'hash',
  /** What other things are found by: ids, names of branches, repositories, models, accounts. */
  'id',
  /** Host names and addresses. */
  'host',
  /** URLs, and paths with or without a query. */
  'url',
  /** A query without its URL. */
  'query',
  /** Arguments of a program, one by one. */
  'argv',
  /** A command line, or the input of a tool. */
  'command',
  /** Any other words, whoever wrote them. */
  'text',
  /** An object of another schema, by its keys. */
  'record',
] as const;
export type DataClass = (typeof DATA_CLASSES)[number];

/** The field, declared to be of this class. */
export function classed<T extends z.ZodType>(dataClass: DataClass, schema: T): T {
  return schema.meta({ 'x-data-class': dataClass });
}

/** The classes of a value's parts. Keys that an object does not name are as `rest` says. */
export type DataShape =
  { of: DataClass } | { items: DataShape } | { keys: Readonly<Record<string, DataShape>>; rest: DataShape };

const RECORD: DataShape = { of: 'record' };

/**
 * The shape of what a schema accepts.
 * Throws for a field without a class, and when two sides of a union say different things about one.
 */
export function dataShape(schema: z.core.$ZodType, where = 'data'): DataShape {
  const declared = declaredClass(schema);
  if (declared !== undefined) return { of: declared };
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodNullable) return dataShape(schema.unwrap(), where);
  if (schema instanceof z.ZodArray) return { items: dataShape(schema.element, `${where}[]`) };
  if (schema instanceof z.ZodObject) {
    const fields = Object.entries<z.core.$ZodType>(schema.shape);
    return {
      keys: Object.fromEntries(fields.map(([key, one]) => [key, dataShape(one, `${where}.${key}`)])),
      rest: RECORD,
    };
  }
  if (schema instanceof z.ZodRecord) return { keys: {}, rest: dataShape(schema.valueType, `${where}.*`) };
  if (schema instanceof z.ZodUnion) return schema.options.map((one) => dataShape(one, where)).reduce(merged(where));
  throw new Error(`${where} has no data class`);
}

/** What a field without parts was declared to be; a closed list of values speaks for itself. */
export function declaredClass(schema: z.core.$ZodType): DataClass | undefined {
  const found = z.globalRegistry.get(schema)?.['x-data-class'];
  if (found !== undefined) return z.enum(DATA_CLASSES).parse(found);
  const closed = [z.ZodNumber, z.ZodBoolean, z.ZodEnum, z.ZodLiteral];
  return closed.some((one) => schema instanceof one) ? 'fact' : undefined;
}

function merged(where: string): (a: DataShape, b: DataShape) => DataShape {
  return (a, b) => {
    if (!('keys' in a && 'keys' in b)) {
      if (JSON.stringify(a) !== JSON.stringify(b)) throw new Error(`${where} has two data classes`);
      return a;
    }
    for (const [key, one] of Object.entries(b.keys)) {
      const other = a.keys[key];
      if (other !== undefined && JSON.stringify(other) !== JSON.stringify(one))
        throw new Error(`${where}.${key} has two data classes`);
    }
    return { keys: { ...a.keys, ...b.keys }, rest: RECORD };
  };
}
