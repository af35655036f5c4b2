import { z } from 'zod';
import { classed } from './data-class.ts';
import { Arguments, as, Count, Id, Ms, Role, Text as Words } from './field.ts';

/** Bytes of one text that is kept of what a sandbox's kernel reports. */
export const MAX_TEXT = 4096;
/** Arguments of one program that are kept. */
export const MAX_ARGUMENTS = 64;
/** Paths that one line of opened files names; the count is exact. */
export const MAX_PATHS = 20;
/** Names that one line of a burst tells apart. */
export const MAX_NAMES = 20;

const GAP_REASONS = [
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

const Text = classed('text', z.string().max(MAX_TEXT));
const Pid = z.number().int();
const Name = classed('text', z.string().max(64));
const Outcome = classed('text', z.string().max(32)).describe('ok, or the name of the error');

/** What a sandbox's kernel reports: hints, except that a gap and an end also say what the host's side missed. */
export const KERNEL_EVENTS = {
  'process.start': z
    .strictObject({
      'process.pid': Pid,
      'process.parent_pid': Pid.optional(),
      'process.executable.path': Text.optional(),
      'process.command': Name.optional(),
      'process.command_args': classed('argv', z.array(Text).max(MAX_ARGUMENTS)),
      'process.args_count': Count.optional().describe('How many there were, when not all are here'),
      cwd: as('process.working_directory', Text).optional(),
      byHost: z.literal(true).optional().describe("The host started it, so its arguments are the host's own"),
    })
    .describe('A program was started'),
  'process.exit': z
    .strictObject({
      'process.pid': Pid,
      'process.command': Name,
      'process.exit.code': z.number().int().optional(),
      'process.exit.signal': z.number().int().optional(),
    })
    .describe('A program ended'),
  'process.burst': z
    .strictObject({ starts: Count, exits: Count, commands: z.record(Name, Count), others: Count })
    .describe('Starts and exits that came too fast for a line each'),
  'kernel.connect': z
    .strictObject({
      'process.pid': Pid,
      'process.command': Name,
      'network.peer.address': classed('host', z.string().max(MAX_TEXT)),
      'network.peer.port': z.number().int().min(0).max(65535).optional(),
      'network.transport': z.enum(['tcp', 'udp', 'raw', 'unix', 'other']).optional(),
      outcome: Outcome,
      count: Count,
    })
    .describe('A program connected to an address'),
  'kernel.socket': z
    .strictObject({
      'process.pid': Pid,
      'process.command': Name,
      'network.transport': z.enum(['udp', 'raw', 'packet', 'other']),
      outcome: Outcome,
      count: Count,
    })
    .describe("A socket that is not TCP's: nothing sent through it leaves the sandbox, but that it was tried is told"),
  'kernel.open': z
    .strictObject({
      'process.pid': Pid,
      'process.command': Name,
      paths: z.array(as('file.path', Text)).max(MAX_PATHS),
      count: Count.describe('Opens for writing that succeeded'),
      refused: Count,
    })
    .describe('A process opened files for writing'),
  'kernel.gap': z
    .strictObject({ reason: z.enum(GAP_REASONS), count: Count, detail: Text.optional() })
    .describe('What was missed'),
  'kernel.end': z
    .strictObject({
      starts: Count,
      exits: Count,
      connects: Count,
      opens: Count,
      missed: Count.describe('Events that are known to be missing'),
      complete: z.boolean().describe('No gap, and the last count of dropped events was taken at the end'),
    })
    .describe("The end of a sandbox's record"),
};

/** Commands of the host inside a sandbox, as the host sees them: facts. */
const HOST_START = z
  .strictObject({
    role: Role,
    'process.command_args': Arguments,
    'process.user': as('process.user.name', Id),
    cwd: as('process.working_directory', Words).optional(),
  })
  .describe('The host starts a command in a sandbox');

const HOST_EXIT = z
  .strictObject({
    role: Role,
    'process.command': Words.optional(),
    'process.exit.code': z.number().int().optional(),
    problem: Words.optional().describe("Why nobody saw its end: interrupted, or the error's code"),
    timedOut: z.boolean(),
    durationMs: Ms,
    tail: Words.optional().describe('The last of what it printed: of set-up commands and the clone'),
  })
  .describe('A command of the host ended');

export const PROCESS_EVENTS = {
  ...KERNEL_EVENTS,
  'process.start': z
    .union([HOST_START, KERNEL_EVENTS['process.start']])
    .describe('A program is started: by the host (source host), or seen by the kernel (source sandbox)'),
  'process.exit': z
    .union([HOST_EXIT, KERNEL_EVENTS['process.exit']])
    .describe('A program ended: as the host saw it, or as the kernel did'),
};
