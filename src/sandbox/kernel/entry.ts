import { z } from 'zod';
import { KERNEL_EVENTS } from '../../domain/events/process.ts';

function line<T extends keyof typeof KERNEL_EVENTS>(type: T) {
  return z.strictObject({ type: z.literal(type), data: KERNEL_EVENTS[type] });
}

/**
 * What the collector hands on for the audit: bounded lines of zone `sandbox`, source `sandbox`. Everything here comes from
 * the sandbox's kernel and is a hint, except `kernel.gap` and `kernel.end`, which also say what the host's side missed.
 */
export const KernelEntry = z.discriminatedUnion('type', [
  line('process.start'),
  line('process.exit'),
  line('process.burst'),
  line('kernel.connect'),
  line('kernel.socket'),
  line('kernel.open'),
  line('kernel.gap'),
  line('kernel.end'),
]);
export type KernelEntry = z.infer<typeof KernelEntry>;
