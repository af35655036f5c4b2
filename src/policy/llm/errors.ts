import type { Wire } from '../../domain/policy.ts';

/** An error in the shape that clients of a wire know, so that agents show its message. */
export function errorBody(
  wire: Wire,
  error: { status: number; type: string; message: string },
): Record<string, unknown> {
  const { status, type, message } = error;
  if (wire === 'anthropic') return { type: 'error', error: { type, message } };
  if (wire === 'gemini') {
    return { error: { code: status, message, status: status === 429 ? 'RESOURCE_EXHAUSTED' : 'INVALID_ARGUMENT' } };
  }
  return { error: { message, type, param: null, code: null } };
}
