/**
 * What a worker and its collector process say to each other, on a socket pair.
 *
 * Trust: the collector decodes what hostile kernels send, so the worker reads it as hostile: frames are capped before they
 * are parsed, and every message is checked against its schema. All that it can bring about is lines of zone `sandbox`.
 */
import { z } from 'zod';
import { KernelEntry } from '../sandbox/kernel/entry.ts';

export const MAX_TO_COLLECTOR = 2 ** 20;
export const MAX_FROM_COLLECTOR = 4 * 2 ** 20;
/** Lines in one message: of the largest kind they fill about half a message. */
export const MAX_LINES = 16;
/** Bytes that may wait for the worker before the collector reads no more. */
export const MAX_BACKLOG = 8 * 2 ** 20;
export const CONTROL_FD = 3;

const Container = z.string().regex(/^[0-9a-f]{64}$/);

export const ToCollector = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('start'),
    /** Path of the socket to listen on. */
    socket: z.string(),
    /** Set when the worker is root: who the process becomes once it listens. */
    user: z.strictObject({ uid: z.number().int().positive(), gid: z.number().int().positive() }).optional(),
  }),
  z.strictObject({ type: z.literal('expect'), container: Container, again: z.boolean() }),
  z.strictObject({ type: z.literal('launched'), container: Container, argv: z.array(z.string()).max(64) }),
  z.strictObject({ type: z.literal('drain'), container: Container }),
  z.strictObject({ type: z.literal('finish'), container: Container, counted: z.boolean() }),
]);
export type ToCollector = z.infer<typeof ToCollector>;

export const FromCollector = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('ready') }),
  z.strictObject({ type: z.literal('failed'), message: z.string().max(4096) }),
  z.strictObject({ type: z.literal('expected'), container: Container }),
  z.strictObject({ type: z.literal('bound'), container: Container }),
  z.strictObject({ type: z.literal('lines'), container: Container, lines: z.array(KernelEntry).max(MAX_LINES) }),
  z.strictObject({ type: z.literal('closed'), container: Container }),
  z.strictObject({ type: z.literal('drained'), container: Container }),
  z.strictObject({ type: z.literal('finished'), container: Container }),
  z.strictObject({ type: z.literal('refused'), why: z.string().max(256) }),
]);
export type FromCollector = z.infer<typeof FromCollector>;
