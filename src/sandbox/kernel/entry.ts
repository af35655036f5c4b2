import { z } from 'zod';
import { MAX_TEXT } from './event.ts';

/**
 * What the collector hands on for the audit: bounded lines of zone `sandbox`, source `sandbox`. Keys follow OpenTelemetry's
 * names where they exist. Everything here comes from the sandbox's kernel and is a hint, except `kernel.gap` and
 * `kernel.end`, which also say what the host's side missed.
 */

const Text = z.string().max(MAX_TEXT);
const Pid = z.number().int();
const Count = z.number().int().nonnegative();
const Name = z.string().max(64);

/** Paths that one line of opened files names; the count is exact. */
export const MAX_PATHS = 20;
/** Names that one line of a burst tells apart. */
export const MAX_NAMES = 20;

export const GAP_REASONS = [
  /** gVisor could not hand them over: the collector was too slow, or an event was larger than the socket takes. */
  'dropped',
  /** A program was started, but the event with its arguments did not come. */
  'start_unseen',
  /** Packets that are no valid event. */
  'garbled',
  /** Events that claimed to be of another container. */
  'foreign',
  /** The collector was gone; how many events were missed is not known. */
  'collector',
] as const;
export type GapReason = (typeof GAP_REASONS)[number];

export const KernelEntry = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('process.start'),
    data: z.strictObject({
      'process.pid': Pid,
      'process.parent_pid': Pid.optional(),
      'process.executable.path': Text.optional(),
      'process.command': Name.optional(),
      'process.command_args': z.array(Text).max(64),
      /** How many arguments there were, when not all are here. */
      'process.args_count': Count.optional(),
      cwd: Text.optional(),
      /** The host started it, so its arguments are the host's own. */
      byHost: z.literal(true).optional(),
    }),
  }),
  z.strictObject({
    type: z.literal('process.exit'),
    data: z.strictObject({
      'process.pid': Pid,
      'process.command': Name,
      'process.exit.code': z.number().int().optional(),
      'process.exit.signal': z.number().int().optional(),
    }),
  }),
  /** Starts and exits that came too fast for a line each. */
  z.strictObject({
    type: z.literal('process.burst'),
    data: z.strictObject({
      starts: Count,
      exits: Count,
      commands: z.record(Name, Count),
      others: Count,
    }),
  }),
  z.strictObject({
    type: z.literal('kernel.connect'),
    data: z.strictObject({
      'process.pid': Pid,
      'process.command': Name,
      'network.peer.address': Text,
      'network.peer.port': z.number().int().min(0).max(65535).optional(),
      'network.transport': z.enum(['tcp', 'udp', 'raw', 'unix', 'other']).optional(),
      /** `ok`, or the name of the error. */
      outcome: z.string().max(32),
      count: Count,
    }),
  }),
  /** Sockets that are not TCP's: nothing sent through them leaves the sandbox, but that it was tried is told. */
  z.strictObject({
    type: z.literal('kernel.socket'),
    data: z.strictObject({
      'process.pid': Pid,
      'process.command': Name,
      'network.transport': z.enum(['udp', 'raw', 'packet', 'other']),
      outcome: z.string().max(32),
      count: Count,
    }),
  }),
  z.strictObject({
    type: z.literal('kernel.open'),
    data: z.strictObject({
      'process.pid': Pid,
      'process.command': Name,
      paths: z.array(Text).max(MAX_PATHS),
      /** Opens for writing that succeeded and that were refused. */
      count: Count,
      refused: Count,
    }),
  }),
  z.strictObject({
    type: z.literal('kernel.gap'),
    data: z.strictObject({ reason: z.enum(GAP_REASONS), count: Count, detail: Text.optional() }),
  }),
  z.strictObject({
    type: z.literal('kernel.end'),
    data: z.strictObject({
      starts: Count,
      exits: Count,
      connects: Count,
      opens: Count,
      /** Events that are known to be missing. */
      missed: Count,
      /** No gap of any kind, and the last count of dropped events was taken at the end. */
      complete: z.boolean(),
    }),
  }),
]);
export type KernelEntry = z.infer<typeof KernelEntry>;
