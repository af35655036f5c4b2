import { readdir, readFile, rename } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createSandboxes } from '../../src/sandbox/lifecycle.ts';
import { sandboxProcesses } from '../../src/sandbox/host-process.ts';
import { allowedWorks, openBench, shell } from '../sandbox/real.ts';
import type { Bench } from '../sandbox/real.ts';
import { dockerAt } from '../../src/local/machine/docker.ts';
import { stubGateway } from '../sandbox/stub-gateway.ts';

let bench: Bench;

beforeAll(async () => {
  bench = await openBench();
});
afterAll(async () => {
  await bench.close();
});

/** Ids of host processes whose arguments name this container: kernel, gofer, shim. */
async function hostProcesses(id: string): Promise<{ pid: number; name: string }[]> {
  const found: { pid: number; name: string }[] = [];
  for (const entry of await readdir('/proc')) {
    const line = await readFile(`/proc/${entry}/cmdline`, 'latin1').catch(() => '');
    const argv = line.split('\0');
    if (/^\d+$/.test(entry) && argv.some((argument) => argument.includes(id)))
      found.push({ pid: Number(entry), name: path.basename(argv[0] ?? '') });
  }
  return found;
}

async function isGone(id: string): Promise<void> {
  expect(await hostProcesses(id)).toEqual([]);
  await expect(dockerAt(bench.machine.dockerSocket).getContainer(id).inspect()).rejects.toMatchObject({
    statusCode: 404,
  });
  expect(await readFile('/proc/mounts', 'utf8')).not.toContain(id);
}

describe('a sandbox ends', () => {
  it('CRA-004 with everything that was left running in it', async () => {
    const sandbox = await bench.create();
    const script =
      "setsid sleep 1001 & (setsid sleep 1002 &) ; nohup sleep 1003 >/dev/null 2>&1 & python3 -c \"import os\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0: os.execvp('sleep', ['sleep', '1004'])\"";
    expect((await shell(sandbox, script)).exitCode).toBe(0);
    // They outlive the command, and can be counted.
    await expect.poll(async () => (await shell(sandbox, 'pgrep -c sleep')).text.trim()).toBe('4');
    await sandbox.destroy();
    await isGone(sandbox.id);
  });

  it('CRA-005 when its portal is killed: with the reason portal_lost, and no way out before', async () => {
    const sandbox = await bench.create();
    const working = Array.from({ length: 4 }, () => shell(sandbox, 'sleep 1000').catch((error: unknown) => error));
    // The twin: a command that is killed alone has its exit code.
    expect(await shell(sandbox, 'kill -KILL $$')).toMatchObject({ exitCode: 137, timedOut: false });
    void shell(sandbox, 'kill -KILL 2; sleep 30', 'root').catch(() => undefined);
    expect((await sandbox.ended).reason).toBe('portal_lost');
    // Docker gives each of them an exit code as if it had been killed alone.
    for (const lost of await Promise.all(working)) expect(lost).toMatchObject({ code: 'sandbox' });
    await sandbox.destroy();
    await isGone(sandbox.id);
  });

  it('CRA-005 when the portal has no memory left', async () => {
    const sandbox = await bench.create({ settings: { memory: '128MiB' } });
    void shell(sandbox, 'python3 -c "x = bytearray(1 << 30)"; tail /dev/zero', 'root').catch(() => undefined);
    expect(['oom', 'portal_lost']).toContain((await sandbox.ended).reason);
    await sandbox.destroy();
    await isGone(sandbox.id);
  });

  it('CRA-001 when the gateway lets go: gateway_lost', async () => {
    const sandbox = await bench.create();
    expect(await allowedWorks(sandbox)).toBe(true);
    sandbox.gateway.dropHold();
    expect((await sandbox.ended).reason).toBe('gateway_lost');
    await sandbox.destroy();
    await isGone(sandbox.id);
  });

  it('CRA-007 when its kernel, its gofer or its shim is killed on the host', async () => {
    for (const name of ['runsc-sandbox', 'runsc-gofer', 'containerd-shim-runc-v2']) {
      const sandbox = await bench.create();
      const victim = (await hostProcesses(sandbox.id)).find((process) => process.name.startsWith(name));
      if (victim === undefined) throw new Error(`no ${name} for the container`);
      process.kill(victim.pid, 'SIGKILL');
      expect(await sandbox.ended).toHaveProperty('reason');
      await sandbox.destroy();
      await isGone(sandbox.id);
    }
  });

  it('CRA-007 when it is wedged: Docker hangs until its host process is ended', async () => {
    const sandbox = await bench.create();
    for (const pid of await sandboxProcesses(sandbox.id)) process.kill(pid, 'SIGSTOP');
    await sandbox.destroy();
    await isGone(sandbox.id);
  });

  it('twice is once', async () => {
    const sandbox = await bench.create();
    await Promise.all([sandbox.destroy(), sandbox.destroy()]);
    await sandbox.destroy();
    await expect(sandbox.exec({ argv: ['true'], user: 'agent' })).rejects.toMatchObject({ code: 'sandbox' });
  });
});

describe('what is left', () => {
  it('CRA-002 a socket that was made anew is reached: the directory is mounted, not the file', async () => {
    const sandbox = await bench.create();
    const socket = path.join(sandbox.gateway.socketDir, 'gateway.sock');
    // The first gateway still holds the portal; a second one takes its place in the directory.
    await rename(socket, `${socket}.old`);
    let reached = 0;
    const second = http.createServer().on('connect', (_request, connection) => {
      reached += 1;
      connection.end('HTTP/1.1 200 OK\r\n\r\nhello\nagain\n');
    });
    await new Promise<void>((resolve) =>
      second.listen({ path: socket, writableAll: true, readableAll: true }, resolve),
    );
    const { text } = await shell(sandbox, 'exec 3<>/dev/tcp/1.1.1.1/443; head -n 2 <&3');
    expect({ text, reached }).toEqual({ text: 'hello\nagain\n', reached: 1 });
    await new Promise((resolve) => second.close(resolve));
    await sandbox.destroy();
  });

  it('CRA-003 a sweep removes the installation’s sandboxes of dead runs, and no others', async () => {
    const [live, dead] = [await bench.create(), await bench.create()];
    const stranger = createSandboxes({
      dockerSocket: bench.machine.dockerSocket,
      installation: `${bench.installation}-other`,
      toolboxDir: bench.machine.toolboxDir,
    });
    expect(await stranger.sweep({ remove: () => Promise.resolve(true) })).toEqual({
      kept: [],
      removed: [],
      failed: [],
    });
    const swept = await bench.host.sweep({ remove: ({ runId }) => Promise.resolve(runId !== live.runId) });
    expect(swept).toEqual({
      kept: [live.runId],
      removed: [{ container: dead.id, runId: dead.runId, role: 'agent' }],
      failed: [],
    });
    expect(await allowedWorks(live)).toBe(true);
    expect((await dead.ended).reason).toBeDefined();
    await live.destroy();
  });

  it('CRA-007 nothing is left of a sandbox that could not be made', async () => {
    const gateway = await stubGateway({ refuseHold: true });
    await expect(bench.create({ gateway })).rejects.toMatchObject({
      code: 'sandbox',
      message: expect.stringContaining('/v1/hold') as string,
    });
    await expect(bench.create({ gateway, settings: { image: 'no-such-image:1' } })).rejects.toMatchObject({
      code: 'sandbox',
    });
    await gateway.close();
    const left = await dockerAt(bench.machine.dockerSocket).listContainers({
      all: true,
      filters: { label: [`cofferdam.installation=${bench.installation}`] },
    });
    expect(left).toEqual([]);
  });

  it('CRA-011 six runs in a row leave everything as it was', async () => {
    const docker = dockerAt(bench.machine.dockerSocket);
    const count = async () => ({
      containers: (
        await docker.listContainers({ all: true, filters: { label: [`cofferdam.installation=${bench.installation}`] } })
      ).length,
      descriptors: (await readdir('/proc/self/fd')).length,
    });
    // The first one opens what is kept open.
    const cycle = async (): Promise<string> => {
      const gateway = await stubGateway();
      const sandbox = await bench.create({ gateway });
      expect((await shell(sandbox, 'echo ok')).text).toBe('ok\n');
      await sandbox.destroy();
      await gateway.close();
      return sandbox.id;
    };
    await cycle();
    const before = await count();
    const ids: string[] = [];
    for (let i = 0; i < 6; i += 1) ids.push(await cycle());
    for (const id of ids) await isGone(id);
    expect((await count()).containers).toBe(before.containers);
    // A connection that was closed lives until the other side has closed it, too.
    await expect.poll(async () => (await count()).descriptors).toBeLessThanOrEqual(before.descriptors + 2);
  });
});
