/**
 * Takes secrets out of an event before it is written: each field by its declared class. The chain's hash covers what this leaves.
 * What cannot be known in advance (a secret that an agent made up or found) is the diff scanner's business, not this file's.
 */
import type { AuditEntry } from '../domain/audit.ts';
import { dataShape, type DataShape } from '../domain/events/data-class.ts';
import { AUDIT_EVENTS } from '../domain/events/events.ts';
import { createFieldRedactor, type FieldRedactor } from '../policy/redaction/fields.ts';
import { MARK } from '../policy/redaction/mask.ts';
import { isSecretName } from '../policy/redaction/names.ts';

export type Redact = (entry: AuditEntry) => AuditEntry;

const MAX_DEPTH = 32;
const RECORD: DataShape = { of: 'record' };

const SHAPES: ReadonlyMap<string, DataShape> = new Map(
  Object.entries(AUDIT_EVENTS).map(([type, schema]) => [type, dataShape(schema, type)]),
);

/** `secrets`: those that the installation knows. */
export function createRedactor(secrets: readonly string[]): Redact {
  const fields = createFieldRedactor(secrets);
  return (entry) => {
    const { data, decision } = entry;
    const shape = SHAPES.get(entry.type) ?? RECORD;
    return {
      ...entry,
      ...(decision === undefined ? {} : { decision: { ...decision, rule: fields.text('text', decision.rule) } }),
      ...(data === undefined ? {} : { data: redacted(fields, shape, data, 0) as Record<string, unknown> }),
    };
  };
}

function redacted(fields: FieldRedactor, shape: DataShape, value: unknown, depth: number): unknown {
  if (typeof value === 'string') return fields.text('of' in shape ? shape.of : 'text', value);
  if (value === null || typeof value !== 'object') return value;
  if (depth > MAX_DEPTH) return '[too deep]';
  if (Array.isArray(value)) return list(fields, shape, value, depth);
  const out: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    const declared = 'keys' in shape && Object.hasOwn(shape.keys, key) ? shape.keys[key] : undefined;
    if (declared !== undefined) {
      out[key] = redacted(fields, declared, item, depth + 1);
      continue;
    }
    const rest = 'keys' in shape ? shape.rest : RECORD;
    const secret = 'of' in rest && rest.of === 'record' && typeof item === 'string' && item !== '' && isSecretName(key);
    const name = fields.text('text', key);
    const kept = secret ? MARK : redacted(fields, rest, item, depth + 1);
    // A plain assignment of `__proto__` would set no key.
    Object.defineProperty(out, name, { value: kept, enumerable: true, configurable: true, writable: true });
  }
  return out;
}

function list(fields: FieldRedactor, shape: DataShape, values: readonly unknown[], depth: number): unknown[] {
  if ('of' in shape && shape.of === 'argv' && values.every((one) => typeof one === 'string'))
    return fields.argv(values);
  const items = 'items' in shape ? shape.items : 'of' in shape ? shape : RECORD;
  return values.map((one) => redacted(fields, items, one, depth + 1));
}
