import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { note } from './llm-world.ts';
import type { Answer, Order } from './llm-worker.child.ts';
import type { Door, Scene, Worker } from './llm-world.ts';

const SCRIPT = fileURLToPath(new URL('llm-worker.child.ts', import.meta.url));

/** A process that can be a worker for one schedule after the other, until it is killed. */
export interface Staff {
  child: ChildProcess;
  give(order: Order): Promise<Answer & { ok: true }>;
}

export async function employ(options: { redis: string; directory: string; providerUrl: string }): Promise<Staff> {
  const child = fork(SCRIPT, [options.redis, options.directory, options.providerUrl]);
  const waiting = new Map<number, (answer: Answer) => void>();
  let next = 0;
  await once(child, 'message');
  child.on('message', ({ id, answer }: { id: number; answer: Answer }) => {
    waiting.get(id)?.(answer);
    waiting.delete(id);
  });
  child.once('exit', () => {
    for (const resolve of waiting.values()) resolve({ ok: false, message: 'the worker is gone' });
  });
  return {
    child,
    give: async (order) => {
      const answer = await new Promise<Answer>((resolve) => {
        const id = next++;
        waiting.set(id, resolve);
        child.send({ id, order });
      });
      if (!answer.ok) throw new Error(answer.message);
      return answer;
    },
  };
}

/** The worker of one schedule in a process of its own. `back` gets the process when it has survived the schedule. */
export function workerProcess(options: {
  staff: Staff;
  scene: Scene;
  directory: string;
  back: (staff: Staff) => void;
}): Worker {
  const { staff, scene, directory } = options;
  const doors = new Map<string, { door: Door; pid: number | undefined }>();
  const read = (run: string): void => readRecords(join(directory, `${run}.jsonl`), scene);
  const opened = new Set<string>();
  return {
    open: async (run, limits) => {
      const { socketPath, pid } = await staff.give({ do: 'open', prefix: scene.prefix, run, limits });
      doors.set(run.id, { door: { socketPath: socketPath ?? '' }, pid });
      opened.add(run.id);
    },
    door: (run) => doors.get(run)?.door,
    recover: async (run) => void (await staff.give({ do: 'recover', prefix: scene.prefix, run })),
    crash: async () => {
      const pids = [...doors.values()].flatMap(({ pid }) => pid ?? []);
      doors.clear();
      const gone = once(staff.child, 'exit');
      staff.child.kill('SIGKILL');
      await gone;
      // The gateways end because their worker did, not because somebody kills them.
      await Promise.all(pids.map(ended));
      opened.forEach(read);
    },
    crashGateway: async (run) => {
      const pid = doors.get(run)?.pid;
      doors.delete(run);
      if (pid === undefined) return;
      process.kill(pid, 'SIGKILL');
      await ended(pid);
    },
    closeModel: async (run) => void (await staff.give({ do: 'closeModel', run })),
    dropRedis: async () => void (await staff.give({ do: 'dropRedis' })),
    close: async () => {
      await staff.give({ do: 'close' });
      doors.clear();
      opened.forEach(read);
      options.back(staff);
    },
  };
}

function readRecords(file: string, scene: Scene): void {
  // A run that never asked for anything has no file.
  if (!existsSync(file)) return;
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    if (line === '') continue;
    const { type, data } = JSON.parse(line) as { type: string; data?: Record<string, unknown> };
    note(scene.records, type, data ?? {});
  }
}

/** Resolves once a process has ended; a zombie has. */
async function ended(pid: number): Promise<void> {
  for (let waited = 0; waited < 60_000; waited += 10) {
    let state: string;
    try {
      state = readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /, '')
        .slice(0, 1);
    } catch {
      return;
    }
    if (state === 'Z') return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`process ${pid} goes on although its worker is gone`);
}
