/** What the gateway and the collector have in common, as child processes of the worker. */
import type { ChildProcess } from 'node:child_process';
import { CofferdamError, type ErrorCode } from '../domain/errors.ts';

/** Resolves with how the process ended. `close`, not `exit`: its last messages are read by then. */
export function exitOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => {
      if (child.pid === undefined) resolve(error.message);
    });
    child.once('close', (code, signal) => {
      resolve(signal === null ? `exit code ${code ?? -1}` : `signal ${signal}`);
    });
  });
}

/** This process becomes another user for good. Errors: `code`, when it did not. */
export function dropRights(
  user: { uid: number; gid: number },
  who: { code: ErrorCode; op: string; name: string },
): void {
  process.setgroups?.([]);
  process.setgid?.(user.gid);
  process.setuid?.(user.uid);
  if (process.getuid?.() !== user.uid || process.geteuid?.() !== user.uid || process.getgid?.() !== user.gid) {
    throw new CofferdamError(who.code, who.op, `the ${who.name} could not give up its rights`);
  }
}
