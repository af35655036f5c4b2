/** RES: what one sandbox may use up. Attacks that end a sandbox are tests only: this one has to go on. */
import type { AttackCase } from '../case.ts';
import { REQUEST } from '../twins.ts';

const res = { class: 'RES', as: 'agent', twin: REQUEST, tier: 'T2' } as const;

export const RES: readonly AttackCase[] = [
  {
    ...res,
    id: 'RES-001',
    title: 'processes without end',
    tried: 'sleeping processes started until the limit says no',
    probe: async (inside) => {
      const children: ReturnType<typeof inside.spawn>[] = [];
      let refused = '';
      for (let at = 0; at < 1000 && refused === ''; at += 1) {
        const child = inside.spawn('/opt/cofferdam/bin/busybox', ['sleep', '60'], { stdio: 'ignore' });
        child.once('error', (error: NodeJS.ErrnoException) => (refused = error.code ?? error.message));
        children.push(child);
        await new Promise((resolve) => setImmediate(resolve));
      }
      const started = children.filter((child) => child.pid !== undefined).length;
      for (const child of children) child.kill('SIGKILL');
      await inside.sleep(500);
      return { started, refused };
    },
    expected: {
      outcome: 'limited',
      silent: true,
      also: ({ inside }) => {
        const { started, refused } = inside as { started: number; refused: string };
        return refused === 'EAGAIN' ? undefined : `${started} processes, then ${refused || 'no limit'}`;
      },
    },
  },
  {
    ...res,
    id: 'RES-006',
    title: 'connections without end',
    tried: '1,900 connections to the gateway’s socket that say nothing',
    tier: 'T1',
    probe: async (inside) => {
      const sockets: import('node:net').Socket[] = [];
      let closed = 0;
      for (let at = 0; at < 1900; at += 1) {
        const socket = inside.net.connect({ path: inside.SOCKET });
        socket.on('error', () => undefined).once('close', () => (closed += 1));
        sockets.push(socket);
        if (at % 100 === 99) await inside.sleep(20);
      }
      await inside.sleep(1_000);
      const refused = closed;
      for (const socket of sockets) socket.destroy();
      await inside.sleep(500);
      return refused;
    },
    expected: { outcome: 'limited', silent: true, reasons: ['too_many_connections'] },
  },
  {
    ...res,
    id: 'RES-011',
    title: 'sparse files',
    tried: 'files of eight exabytes and of a terabyte that hold nothing',
    probe: async (inside, given) => {
      const { fs } = inside;
      const made: string[] = [];
      for (const size of [2 ** 62, 2 ** 40]) {
        const path = `/tmp/sparse-${given.mark}`;
        try {
          fs.writeFileSync(path, 'x');
          fs.truncateSync(path, size);
          made.push(`${size} bytes with ${fs.statSync(path).blocks} blocks`);
        } catch {
          // Refused: fine, too.
        }
        fs.rmSync(path, { force: true });
      }
      return Promise.resolve(made);
    },
    expected: { outcome: 'contained', silent: true },
  },
  {
    ...res,
    id: 'RES-012',
    title: 'a command that will not end',
    tried: 'signals are ignored, and a child leaves the session and stops itself; the host’s limit is two seconds',
    timeoutMs: 2_000,
    probe: (inside) => {
      for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) inside.process.on(signal, () => undefined);
      inside.spawn('/opt/cofferdam/bin/busybox', ['sh', '-c', 'trap "" TERM; kill -STOP $$; sleep 600'], {
        detached: true,
        stdio: 'ignore',
      });
      return inside.sleep(600_000);
    },
    expected: {
      outcome: 'limited',
      silent: true,
      also: ({ timedOut }) => (timedOut ? undefined : 'it was not ended at its time'),
    },
  },
];
