/** Reading of recorded data: it was written by us, but its content came from outside, so nothing about its shape is taken for granted. */

/** Longest text that a story keeps of one field. */
const MAX_TEXT = 16_384;

/** The value at a path, or undefined. */
export function field(data: unknown, ...path: string[]): unknown {
  let at: unknown = data;
  for (const key of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return undefined;
    at = (at as Record<string, unknown>)[key];
  }
  return at;
}

export function textAt(data: unknown, ...path: string[]): string | undefined {
  const value = field(data, ...path);
  if (typeof value !== 'string') return undefined;
  return value.length > MAX_TEXT ? `${value.slice(0, MAX_TEXT)}…` : value;
}

export function numberAt(data: unknown, ...path: string[]): number | undefined {
  const value = field(data, ...path);
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

export function listAt(data: unknown, ...path: string[]): unknown[] {
  const value = field(data, ...path);
  return Array.isArray(value) ? value : [];
}

/** The strings of a list. */
export function textsAt(data: unknown, ...path: string[]): string[] {
  return listAt(data, ...path)
    .filter((item) => typeof item === 'string')
    .map((item) => (item.length > MAX_TEXT ? `${item.slice(0, MAX_TEXT)}…` : item));
}
