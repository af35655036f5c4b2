import { randomBytes } from 'node:crypto';
import { execFile } from 'node:child_process';
import { chmod, copyFile, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dockerAt } from '../../src/local/machine/docker.ts';
import { createSandboxes } from '../../src/sandbox/lifecycle.ts';
import type { DockerSandbox } from '../../src/sandbox/sandbox.ts';
import { allowedWorks, openBench, python, shell } from '../sandbox/real.ts';
import type { Bench } from '../sandbox/real.ts';
import { stubGateway } from '../sandbox/stub-gateway.ts';
import type { StubGateway } from '../sandbox/stub-gateway.ts';

const run = promisify(execFile);
const users = ['agent', 'root'] as const;

let bench: Bench;
let sandbox: DockerSandbox & { gateway: StubGateway; runId: string };

beforeAll(async () => {
  bench = await openBench();
  sandbox = await bench.create();
});
afterAll(async () => {
  await bench.close();
});

/** Walks from the root for sockets and connects to each. */
const WALK = `
import os, stat, socket, json
found = {}
for top, dirs, files in os.walk('/'):
    dirs[:] = [d for d in dirs if os.path.join(top, d) not in ('/proc', '/sys')]
    for name in files:
        path = os.path.join(top, name)
        try:
            if not stat.S_ISSOCK(os.lstat(path).st_mode): continue
            s = socket.socket(socket.AF_UNIX); s.settimeout(3); s.connect(path); found[path] = 'connected'
        except OSError as e: found[path] = e.strerror
print(json.dumps(found))
`;

describe('sockets', () => {
  it.each(users)('ESC-001 as %s: of all sockets in the tree only the gateway’s is there, and answers', async (user) => {
    const { text } = await python(sandbox, WALK, user);
    expect(JSON.parse(text)).toEqual({ '/run/cofferdam/gateway.sock': 'connected' });
    expect(await allowedWorks(sandbox)).toBe(true);
  });

  it('ESC-001 refuses a mount that holds another socket or a pipe', async () => {
    const gateway = await stubGateway();
    const decoy = net.createServer().listen(path.join(gateway.socketDir, 'decoy.sock'));
    await expect(bench.create({ gateway })).rejects.toMatchObject({ code: 'sandbox' });
    await new Promise((resolve) => decoy.close(resolve));
    await run('mkfifo', [path.join(gateway.socketDir, 'pipe')]);
    await expect(bench.create({ gateway })).rejects.toMatchObject({ code: 'sandbox' });
    await rm(path.join(gateway.socketDir, 'pipe'));
    const twin = await bench.create({ gateway });
    await twin.destroy();
    await gateway.close();
  });

  it('ESC-001 refuses a toolbox that holds a socket', async () => {
    const toolboxDir = await mkdtemp(path.join(os.tmpdir(), 'cfd-tb-'));
    const decoy = net.createServer().listen(path.join(toolboxDir, 'deep.sock'));
    const host = createSandboxes({
      dockerSocket: bench.machine.dockerSocket,
      installation: bench.installation,
      toolboxDir,
    });
    await expect(bench.create({ host })).rejects.toMatchObject({ code: 'sandbox' });
    await new Promise((resolve) => decoy.close(resolve));
    await rm(toolboxDir, { recursive: true });
  });

  it.each(users)('ESC-002 as %s: no container engine can be reached', async (user) => {
    const paths = [
      '/var/run/docker.sock',
      '/run/docker.sock',
      '/run/containerd/containerd.sock',
      '/var/run/containerd/containerd.sock',
      '/run/podman/podman.sock',
      '/run/user/0/podman/podman.sock',
      '/run/user/1000/podman/podman.sock',
      '/run/user/1000/docker.sock',
      '/run/crio/crio.sock',
      '/run/k3s/containerd/containerd.sock',
      '/run/buildkit/buildkitd.sock',
      bench.machine.dockerSocket,
    ];
    const program = `
import socket
for path in ${JSON.stringify(paths)}:
    s = socket.socket(socket.AF_UNIX)
    try: s.connect(path); print('REACHED', path)
    except OSError as e: print(e.errno)
for port in (2375, 2376):
    try: socket.create_connection(('127.0.0.1', port), 3); print('REACHED', port)
    except OSError as e: print(e.errno)
`;
    const { text } = await python(sandbox, program, user);
    expect(text.trim().split('\n')).toEqual([...paths.map(() => '2'), '111', '111']);
    expect(await allowedWorks(sandbox)).toBe(true);
  });

  it.each(users)('ESC-004 as %s: the socket cannot be replaced', async (user) => {
    const attempts = [
      'rm gateway.sock',
      'mv gateway.sock x',
      'ln -sfT /etc/passwd gateway.sock',
      'touch new',
      'chmod 0 gateway.sock',
    ];
    for (const attempt of attempts) {
      const { exitCode, text } = await shell(sandbox, `cd /run/cofferdam && ${attempt}`, user);
      expect({ attempt, exitCode, text }).toMatchObject({
        exitCode: 1,
        text: expect.stringMatching(/Read-only|Permission denied|Operation not permitted/) as string,
      });
    }
    expect(await allowedWorks(sandbox)).toBe(true);
  });

  it.each(users)('ESC-004 as %s: files of the host that are mounted cannot be emptied', async (user) => {
    const files = ['package.json', 'bin/busybox', 'portal/main.ts'];
    const sizes = (): Promise<number[]> =>
      Promise.all(files.map(async (file) => (await stat(path.join(bench.machine.toolboxDir, file))).size));
    const before = await sizes();
    const program = `
import os
for name in ${JSON.stringify(files)}:
    for flags in (os.O_RDONLY, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_TRUNC, os.O_RDWR | os.O_CREAT | os.O_TRUNC):
        try: os.close(os.open('/opt/cofferdam/' + name, flags)); print(flags, 'opened')
        except OSError as e: print(flags, 'refused')
`;
    const { text } = await python(sandbox, program, user);
    expect(text).toBe('0 opened\n512 refused\n513 refused\n578 refused\n'.repeat(3));
    expect(await sizes()).toEqual(before);
    expect(await allowedWorks(sandbox)).toBe(true);
  });

  it('ESC-020 abstract sockets of the host are not there', async () => {
    const name = `cofferdam-decoy-${randomBytes(6).toString('hex')}`;
    const server = net.createServer((socket) => socket.end('canary')).listen(`\0${name}`);
    await new Promise((resolve) => server.once('listening', resolve));
    const twin = await new Promise<string>((resolve) =>
      net.connect(`\0${name}`).once('data', (d) => resolve(d.toString())),
    );
    expect(twin).toBe('canary');
    const { text } = await python(
      sandbox,
      `import socket\ntry: socket.socket(socket.AF_UNIX).connect('\\0${name}'); print('REACHED')\nexcept OSError as e: print(e.errno)`,
    );
    server.close();
    expect(text).toBe('111\n');
  });
});

describe('devices, rights and kernel interfaces', () => {
  it.each(users)('ESC-008 as %s: no device leads to the host', async (user) => {
    const listed = await shell(sandbox, "find /dev -type b; find /dev -type c -printf '%p\\n' | sort", user);
    const known = ['full', 'fuse', 'net/tun', 'null', 'ptmx', 'pts/ptmx', 'random', 'tty', 'urandom', 'zero'];
    expect(known.map((name) => `/dev/${name}`)).toEqual(expect.arrayContaining(listed.text.trim().split('\n')));
    const made = await python(
      sandbox,
      `
import os, stat
for kind, major, minor in ((stat.S_IFBLK, 254, 0), (stat.S_IFBLK, 8, 0), (stat.S_IFCHR, 10, 232), (stat.S_IFCHR, 1, 1), (stat.S_IFCHR, 1, 11)):
    path = '/tmp/node'
    try:
        os.mknod(path, kind | 0o666, os.makedev(major, minor))
        try: os.open(path, os.O_RDONLY); print('OPENED', major, minor)
        except OSError as e: print('closed')
        finally: os.unlink(path)
    except PermissionError: print('closed')
`,
      user,
    );
    expect(made.text).toBe('closed\n'.repeat(5));
  });

  it.each(users)(
    'ESC-011 as %s: no capability, no mount, no namespace, no raw socket, no change of addresses',
    async (user) => {
      const status = await shell(sandbox, 'grep ^Cap /proc/self/status', user);
      expect([...status.text.matchAll(/:\s*([0-9a-f]+)/g)].map((match) => match[1])).not.toContainEqual(
        expect.stringMatching(/[1-9a-f]/),
      );
      const denied = {
        mount: 'mount -t tmpfs none /mnt',
        unshare: 'unshare -n true',
        flush: '/opt/cofferdam/bin/busybox ip addr del 198.18.0.1/0 dev lo',
        down: '/opt/cofferdam/bin/busybox ip link set lo down',
        raw: "python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)'",
        packet: "python3 -c 'import socket; socket.socket(17, socket.SOCK_RAW, 0)'",
        chroot: 'chroot / true',
      };
      for (const [what, script] of Object.entries(denied)) {
        const { exitCode } = await shell(sandbox, script, user);
        expect({ what, denied: exitCode !== 0 }).toEqual({ what, denied: true });
      }
      expect(await allowedWorks(sandbox)).toBe(true);
    },
  );

  it.each(users)('ESC-021 as %s: exotic sockets and calls are refused', async (user) => {
    const program = `
import ctypes, errno, socket
libc = ctypes.CDLL(None, use_errno=True)
refused = (errno.ENOSYS, errno.EPERM, errno.EAFNOSUPPORT, errno.EACCES, errno.EPROTONOSUPPORT, errno.EINVAL, errno.ENODEV, errno.EFAULT, errno.ESOCKTNOSUPPORT, errno.EOPNOTSUPP)
for name, family, kind, proto in (('vsock', 40, 1, 0), ('alg', 38, 5, 0), ('packet', 17, 3, 0), ('bluetooth', 31, 3, 0), ('xdp', 44, 3, 0), ('netlink-audit', 16, 3, 9), ('netlink-xfrm', 16, 3, 6)):
    try: socket.socket(family, kind, proto); print(name, 'OPEN')
    except OSError as e: print(name, 'refused' if e.errno in refused else e.errno)
for name, number, args in (('io_uring_setup', 425, (8, 0)), ('perf_event_open', 298, (0, 0, -1, -1, 0)), ('bpf', 321, (5, 0, 0)), ('userfaultfd', 323, (0,)), ('kexec_load', 246, (0, 0, 0, 0)), ('init_module', 175, (0, 0, 0)), ('add_key', 248, (0, 0, 0, 0, 0)), ('open_by_handle_at', 304, (-1, 0, 0)), ('setns', 308, (-1, 0))):
    r = libc.syscall(number, *args); e = ctypes.get_errno()
    print(name, 'refused' if r < 0 and (e in refused or e == errno.EBADF) else (r, e))
`;
    const { text } = await python(sandbox, program, user);
    const lines = text.trim().split('\n');
    expect(lines).toHaveLength(16);
    expect(lines.filter((line) => !line.endsWith(' refused'))).toEqual([]);
  });

  it('ESC-019 the agent cannot signal, trace or read the portal', async () => {
    const { text } = await python(
      sandbox,
      `
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for pid in (1, 2):
    for signal in (0, 9, 19):
        try: os.kill(pid, signal); print('SIGNALLED')
        except PermissionError: print('denied')
    print('denied' if libc.ptrace(16, pid, 0, 0) == -1 else 'TRACED')
    try: os.open('/proc/%d/mem' % pid, os.O_RDWR); print('OPENED')
    except OSError: print('denied')
`,
    );
    expect(text).toBe('denied\n'.repeat(10));
    // gVisor lets anybody read these: there must be nothing in them.
    const environment = await shell(
      sandbox,
      'cat /proc/1/environ /proc/2/environ | tr "\\0" "\\n" | cut -d= -f1 | sort -u',
    );
    expect(environment.text.trim().split('\n')).toEqual(['HOME', 'HOSTNAME', 'LANG', 'PATH']);
    expect(await allowedWorks(sandbox)).toBe(true);
  });
});

describe('the runtime', () => {
  it('ESC-015 refuses a runtime that is not registered', async () => {
    await expect(bench.create({ settings: { runtime: 'no-such-runtime' } })).rejects.toMatchObject({
      code: 'runtime_missing',
    });
  });

  it('ESC-015 refuses a runtime that is not gVisor, and leaves no container', async () => {
    await expect(bench.create({ settings: { runtime: 'runc' } })).rejects.toMatchObject({ code: 'runtime_missing' });
    const docker = dockerAt(bench.machine.dockerSocket);
    const left = await docker.listContainers({
      all: true,
      filters: { label: [`cofferdam.installation=${bench.installation}`] },
    });
    expect(left.map((container) => container.Id)).toEqual([sandbox.id]);
  });

  it('ESC-015 proves itself as agent and as root before anything runs', async () => {
    const receipt = await sandbox.selfTest(new AbortController().signal);
    expect(receipt.checks.filter((check) => !check.ok)).toEqual([]);
    expect(receipt.ok).toBe(true);
    expect(receipt.checks.map((check) => check.name)).toEqual(
      expect.arrayContaining([
        'agent.gvisor',
        'root.gvisor',
        'root.raw_address',
        'agent.foreign_resolver',
        'root.sockets',
      ]),
    );
    // Denied where it has to be: at the gateway.
    expect(sandbox.gateway.connects).toEqual(expect.arrayContaining(['1.1.1.1:443', '169.254.169.254:80']));
  });
});

describe('images', () => {
  /** An image with these files and settings on top of the real one. */
  async function hostileImage(options: {
    changes: string[];
    tree?: string;
  }): Promise<{ ref: string; drop: () => Promise<void> }> {
    const docker = dockerAt(bench.machine.dockerSocket);
    const made = await docker.createContainer({ Image: bench.machine.image.ref, NetworkDisabled: true });
    if (options.tree !== undefined) {
      const { stdout } = await run('tar', ['-C', options.tree, '--owner=0', '--group=0', '-c', '.'], {
        encoding: 'buffer',
        maxBuffer: 2 ** 24,
      });
      await made.putArchive(stdout, { path: '/' });
    }
    const ref = `cofferdam-test-${randomBytes(4).toString('hex')}:latest`;
    const changes = ['LABEL cofferdam.test=1', ...options.changes].join('\n');
    await made.commit({ repo: ref.split(':')[0], tag: 'latest', changes }).finally(() => made.remove());
    return { ref, drop: async () => void (await docker.getImage(ref).remove({ force: true })) };
  }

  it('ESC-013 an image’s entry point, user, health check and environment do not reach the portal or a command', async () => {
    const image = await hostileImage({
      changes: [
        'ENTRYPOINT ["/bin/false"]',
        'USER 1000',
        'ENV LD_PRELOAD=/evil.so NODE_OPTIONS=--require=/evil.js GIT_SSH=/evil KEPT=yes',
        'HEALTHCHECK --interval=1s CMD touch /tmp/health',
        'WORKDIR /evil',
      ],
    });
    try {
      const hostile = await bench.create({ settings: { image: image.ref } });
      const env = await shell(
        hostile,
        'tr "\\0" "\\n" </proc/1/environ; tr "\\0" "\\n" </proc/2/environ; ls /tmp',
        'root',
      );
      expect(env.text).not.toMatch(/evil|health/);
      const own = await shell(hostile, 'env');
      expect(own.text).not.toContain('evil');
      expect(own.text).toContain('KEPT=yes');
      expect((await hostile.selfTest(new AbortController().signal)).ok).toBe(true);
      expect(await allowedWorks(hostile)).toBe(true);
      await hostile.destroy();
    } finally {
      await image.drop();
    }
  });

  it('ESC-013 refuses volumes and preloaded libraries', async () => {
    const tree = await mkdtemp(path.join(os.tmpdir(), 'cfd-img-'));
    await run('mkdir', ['-p', path.join(tree, 'etc')]);
    await writeFile(path.join(tree, 'etc/ld.so.preload'), '/evil.so\n');
    for (const options of [{ changes: ['VOLUME /data'] }, { changes: [], tree }]) {
      const image = await hostileImage(options);
      try {
        await expect(bench.create({ settings: { image: image.ref } })).rejects.toMatchObject({ code: 'sandbox' });
      } finally {
        await image.drop();
      }
    }
    await rm(tree, { recursive: true });
  });

  it('ESC-010 a setuid program of the image gives no rights', async () => {
    const tree = await mkdtemp(path.join(os.tmpdir(), 'cfd-img-'));
    await copyFile('/usr/bin/id', path.join(tree, 'suid-id'));
    await chmod(path.join(tree, 'suid-id'), 0o4755);
    const image = await hostileImage({ changes: [], tree });
    try {
      const hostile = await bench.create({ settings: { image: image.ref } });
      const { text } = await shell(hostile, 'stat -c "%a %u" /suid-id; /suid-id');
      expect(text).toMatch(/^4755 0\nuid=1000\(agent\) gid=1000\(agent\)/);
      expect(text).not.toContain('euid=0');
      await hostile.destroy();
    } finally {
      await image.drop();
      await rm(tree, { recursive: true });
    }
  });
});

describe('two sandboxes', () => {
  it('ESC-016 find nothing of each other', async () => {
    const other = await bench.create();
    const marker = `marker-${randomBytes(8).toString('hex')}`;
    const write = `{ for d in $(find / -xdev -type d -writable) /dev/shm /tmp /workspace /home/agent /run/cofferdam; do echo ${marker} > $d/${marker}; done; } 2>/dev/null; find / -name ${marker} 2>/dev/null | wc -l`;
    for (const user of users) expect(Number((await shell(sandbox, write, user)).text)).toBeGreaterThan(3);
    const look = `find / -name '${marker}*' -not -path '/proc/*' 2>/dev/null | wc -l`;
    for (const user of users) expect((await shell(other, look, user)).text.trim()).toBe('0');
    await other.destroy();
  });
});
