import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkMounts } from '../../src/sandbox/preflight.ts';

let root: string;
let mounts: { socketDir: string; toolboxDir: string };
const servers: net.Server[] = [];

async function listen(file: string): Promise<void> {
  const server = net.createServer();
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(file, resolve));
}

beforeEach(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), 'cfd-pf-'));
  mounts = { socketDir: path.join(root, 's'), toolboxDir: path.join(root, 't') };
  await mkdir(mounts.socketDir);
  await mkdir(path.join(mounts.toolboxDir, 'bin'), { recursive: true });
  await listen(path.join(mounts.socketDir, 'gateway.sock'));
  await writeFile(path.join(mounts.socketDir, 'ca.pem'), '', { mode: 0o444 });
});
afterEach(async () => {
  for (const server of servers.splice(0)) server.close();
  await rm(root, { recursive: true });
});

describe('ESC-001 the check of what is mounted', () => {
  it('takes the gateway’s socket, files and links', async () => {
    await symlink('/run', path.join(mounts.toolboxDir, 'link'));
    await checkMounts(mounts);
  });

  it.each([
    ['beside the gateway’s', () => path.join(mounts.socketDir, 'other.sock')],
    ['deep in the toolbox', () => path.join(mounts.toolboxDir, 'bin/x.sock')],
    ['of the gateway’s name elsewhere', () => path.join(mounts.toolboxDir, 'gateway.sock')],
  ])('refuses another socket %s', async (_where, file) => {
    await listen(file());
    await expect(checkMounts(mounts)).rejects.toMatchObject({
      code: 'sandbox',
      message: expect.stringContaining(file()) as string,
    });
  });

  it.each([0o644, 0o464, 0o446])(
    'ESC-004 refuses a file of mode %o, which root in the sandbox could empty',
    async (mode) => {
      const file = path.join(mounts.toolboxDir, 'bin/tool');
      await writeFile(file, '');
      await chmod(file, mode);
      await expect(checkMounts(mounts)).rejects.toMatchObject({
        code: 'sandbox',
        message: expect.stringContaining(file) as string,
      });
      await chmod(file, 0o555);
      await checkMounts(mounts);
    },
  );

  it('refuses a run without a gateway', async () => {
    servers.splice(0).forEach((server) => server.close());
    await rm(path.join(mounts.socketDir, 'gateway.sock'), { force: true });
    await expect(checkMounts(mounts)).rejects.toMatchObject({ code: 'sandbox' });
  });

  it('refuses a directory that the sandbox may not enter', async () => {
    await chmod(mounts.socketDir, 0o700);
    await expect(checkMounts(mounts)).rejects.toMatchObject({ code: 'sandbox' });
  });

  it('CRA-012 refuses a socket path over 107 bytes', async () => {
    const socketDir = path.join(root, 'x'.repeat(100));
    await expect(checkMounts({ ...mounts, socketDir })).rejects.toMatchObject({ code: 'config' });
  });
});
