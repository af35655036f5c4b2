export type Json = Record<string, unknown>;

export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The first `length` UTF-16 units, without half characters. */
export function cap(text: string, length: number): string {
  return text.slice(0, length).toWellFormed();
}
