import { z } from 'zod';
import { MAX_ARGUMENTS, MAX_TEXT } from '../../domain/events/process.ts';

/**
 * What gVisor's kernel reports about one sandbox: hints, since whoever owns that kernel can write them. Environments are
 * not among them: the stream carries each process's whole environment, and it is thrown away before an event exists.
 */

const Text = z.string().max(MAX_TEXT);
const Int = z.number().int();
/** Who did it: process, its name (15 bytes, of its own choice), and its directory where the event has one. */
const by = { pid: Int, tid: Int, comm: Text, cwd: Text };

/** Where a process wanted to connect to. */
export const KernelAddress = z.discriminatedUnion('family', [
  z.strictObject({ family: z.literal('unix'), path: Text }),
  z.strictObject({ family: z.literal('inet'), ip: z.string().max(45), port: z.number().int().min(0).max(65535) }),
  z.strictObject({ family: z.literal('other'), number: Int }),
]);
export type KernelAddress = z.infer<typeof KernelAddress>;

export const KernelEvent = z.discriminatedUnion('kind', [
  /** The container's init. */
  z.strictObject({ kind: z.literal('container'), argv: z.array(Text).max(MAX_ARGUMENTS), argc: Int, cwd: Text }),
  z.strictObject({ kind: z.literal('clone'), ...by, child: Int, thread: Int }),
  z.strictObject({
    kind: z.literal('exec'),
    ...by,
    binary: Text,
    argv: z.array(Text).max(MAX_ARGUMENTS),
    /** How many arguments there were. */
    argc: Int,
  }),
  /** A wait status: exit code times 256, or a signal's number. */
  z.strictObject({ kind: z.literal('exit'), ...by, status: Int }),
  /** An execve that came back or succeeded, without its arguments: tells that an `exec` event is missing. */
  z.strictObject({ kind: z.literal('execve'), ...by, errno: Int }),
  /** The beginning of an execve. */
  z.strictObject({ kind: z.literal('entry'), ...by }),
  z.strictObject({
    kind: z.literal('open'),
    ...by,
    path: Text,
    directory: Text,
    write: z.boolean(),
    errno: Int,
  }),
  z.strictObject({ kind: z.literal('connect'), ...by, fd: Int, address: KernelAddress, errno: Int }),
  z.strictObject({ kind: z.literal('socket'), ...by, fd: Int, domain: Int, type: Int, errno: Int }),
  /** Well formed, but nothing that was asked for. */
  z.strictObject({ kind: z.literal('other'), ...by, type: Int }),
]);
export type KernelEvent = z.infer<typeof KernelEvent>;
