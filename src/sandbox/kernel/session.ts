import { z } from 'zod';

/** Times that gVisor tries again to hand over an event before it drops it, from 25 µs up to 10 ms apart: 0.9 s in all. */
const RETRIES = 100;

const Point = z.strictObject({
  name: z.string(),
  optional_fields: z.array(z.string()).optional(),
  context_fields: z.array(z.string()),
});

/** The part of gVisor's `--pod-init-config` file that is used: what the kernel reports, and to which socket. */
export const SessionConfig = z.strictObject({
  trace_session: z.strictObject({
    name: z.string(),
    ignore_missing: z.boolean(),
    points: z.array(Point),
    sinks: z.array(
      z.strictObject({
        name: z.string(),
        config: z.strictObject({ endpoint: z.string(), retries: z.number().int() }),
      }),
    ),
  }),
});
export type SessionConfig = z.infer<typeof SessionConfig>;

/**
 * What gVisor's kernel shall report to this socket. A session whose socket does not answer keeps its container from
 * starting, since `ignore_setup_error` is not set. Exits of calls are taken, not their beginnings: they say how it went.
 */
export function sessionConfig(endpoint: string): SessionConfig {
  const who = ['thread_id', 'group_id', 'container_id', 'process_name'];
  const where = [...who, 'cwd'];
  const point = (name: string, context_fields = where, optional?: string[]) => ({
    name,
    ...(optional === undefined ? {} : { optional_fields: optional }),
    context_fields,
  });
  return {
    trace_session: {
      name: 'Default',
      ignore_missing: true,
      points: [
        point('container/start'),
        point('sentry/clone', who),
        point('sentry/execve'),
        // Without a directory: this point refuses to be asked for it.
        point('sentry/exit_notify_parent', who),
        // The exits are what is used; they come with the context that was asked for at the entry.
        point('syscall/sysno/59/enter', who),
        point('syscall/sysno/59/exit', who),
        point('syscall/sysno/322/enter', who),
        point('syscall/sysno/322/exit', who),
        point('syscall/connect/exit', who),
        point('syscall/socket/exit', who),
        point('syscall/openat/exit', where, ['fd_path']),
        point('syscall/open/exit'),
        point('syscall/creat/exit'),
      ],
      sinks: [{ name: 'remote', config: { endpoint, retries: RETRIES } }],
    },
  };
}
