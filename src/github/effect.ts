import { CofferdamError } from '../domain/errors.ts';
import type { AuditLog } from '../run/ports.ts';
import { GitHubError } from './failure.ts';

/** What is recorded before it happens, and the class that says how it ended. */
const ENDS = {
  'git.push': 'git.push_end',
  'publish.pull': 'publish.pull_end',
  'publish.ask': 'publish.ask_end',
  'publish.check_run': 'publish.check_run_end',
} as const;

/**
 * Does it between the two records. Without the first nothing is done; when it fails, the record says by which kind of failure, and
 * the failure goes on. After one of the network (`unavailable`), and when it was stopped in the middle, nobody knows whether GitHub has
 * done it: then it is `unknown`.
 */
export async function recorded<T>(
  audit: Pick<AuditLog, 'append'>,
  effect: { type: keyof typeof ENDS; data: Record<string, unknown> },
  act: () => Promise<T>,
  /** What the record of its end says besides. */
  tell: (done: T) => Record<string, unknown> = () => ({}),
): Promise<T> {
  const { type, data } = effect;
  await audit.append({ zone: 'github', type, data });
  const ended = (end: Record<string, unknown>): Promise<void> =>
    audit.append({ zone: 'github', type: ENDS[type], data: { ...data, ...end } });
  const done = await act().catch(async (thrown: unknown) => {
    const error = thrown instanceof GitHubError ? thrown.kind : 'other';
    const cutOff = error === 'unavailable' || (thrown instanceof CofferdamError && thrown.code === 'cancelled');
    // Whoever appends next is told that the record cannot be written.
    await ended({ outcome: cutOff ? 'unknown' : 'failed', error }).catch(() => undefined);
    throw thrown;
  });
  await ended({ outcome: 'done', ...tell(done) });
  return done;
}
