import { spawn } from 'node:child_process';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** The product as its user starts it: a process of its own with its own data directory. */
export interface Product extends AsyncDisposable {
  dir: string;
  run(
    args: string[],
    options?: { stdin?: string; env?: Record<string, string>; interruptAfter?: string },
  ): Promise<Ended>;
}

export async function product(): Promise<Product> {
  // Short, since sockets lie below it.
  const dir = await mkdtemp(join(tmpdir(), 'cd-'));
  await chmod(dir, 0o711);
  return {
    dir,
    run: (args, { stdin = '', env = {}, interruptAfter } = {}) =>
      new Promise((resolve, reject) => {
        const child = spawn(process.execPath, ['src/main/cofferdam.ts', ...args], {
          env: { ...process.env, COFFERDAM_DATA_DIR: join(dir, 'data'), ...env },
          stdio: ['pipe', 'pipe', 'pipe'],
        });
        let stdout = '';
        let stderr = '';
        child.stdout.on('data', (chunk: Buffer) => {
          stdout += chunk.toString();
          if (interruptAfter !== undefined && stdout.includes(interruptAfter)) child.kill('SIGTERM');
        });
        child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
        child.stdin.on('error', () => undefined);
        child.stdin.end(stdin);
        child.once('error', reject);
        child.once('close', (code) => resolve({ code, stdout, stderr }));
      }),
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  };
}

/** The JSON line that ends standard output. */
export function lastLine(ended: Ended): Record<string, unknown> {
  const line = ended.stdout.trimEnd().split('\n').at(-1) ?? '';
  return JSON.parse(line) as Record<string, unknown>;
}
