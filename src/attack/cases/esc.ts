/** ESC: the sandbox's own walls. Most of it only the inside can see; where the host can see it, a decoy does. */
import type { AttackCase } from '../case.ts';
import { REQUEST } from '../twins.ts';

const esc = { class: 'ESC', as: 'both', twin: REQUEST, tier: 'T2' } as const;

export const ESC: readonly AttackCase[] = [
  {
    ...esc,
    id: 'ESC-001',
    title: 'other sockets of the host',
    tried: 'a walk through the whole tree; a connection to each socket that is found',
    probe: async (inside) => {
      const { fs } = inside;
      const found: Record<string, string> = {};
      const waiting = ['/'];
      for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
        if (directory === '/proc' || directory === '/sys') continue;
        let entries: ReturnType<typeof list>;
        try {
          entries = list(directory);
        } catch {
          continue;
        }
        for (const entry of entries) {
          const path = directory === '/' ? `/${entry.name}` : `${directory}/${entry.name}`;
          if (entry.isDirectory()) waiting.push(path);
          else if (entry.isSocket()) {
            const { connected, error } = await inside.unix(path, { waitMs: 300 });
            found[path] = connected ? 'connected' : (error ?? 'silent');
          }
        }
      }
      return found;
      function list(directory: string): import('node:fs').Dirent[] {
        return fs.readdirSync(directory, { withFileTypes: true });
      }
    },
    expected: {
      outcome: 'contained',
      also: ({ inside }) =>
        JSON.stringify(inside) === '{"/run/cofferdam/gateway.sock":"connected"}'
          ? undefined
          : `sockets: ${JSON.stringify(inside)}`,
    },
  },
  {
    ...esc,
    id: 'ESC-002',
    title: 'the container engine',
    tried: 'twelve paths of Docker, containerd, Podman and BuildKit, and their TCP ports',
    probe: async (inside) => {
      const paths = [
        ...['/var/run/docker.sock', '/run/docker.sock', '/run/containerd/containerd.sock', '/run/podman/podman.sock'],
        ...['/run/user/0/podman/podman.sock', '/run/user/1000/podman/podman.sock', '/run/user/1000/docker.sock'],
        ...[
          '/run/crio/crio.sock',
          '/run/k3s/containerd/containerd.sock',
          '/run/buildkit/buildkitd.sock',
          '/var/run/containerd/containerd.sock',
        ],
        '/run/docker/containerd/containerd.sock',
      ];
      const reached: string[] = [];
      for (const path of paths) if ((await inside.unix(path, { waitMs: 500 })).connected) reached.push(path);
      for (const port of [2375, 2376])
        if ((await inside.tcp('127.0.0.1', port, { waitMs: 500 })).connected) reached.push(`127.0.0.1:${port}`);
      return reached;
    },
    expected: {
      outcome: 'contained',
      also: ({ inside }) =>
        (inside as string[]).length === 0 ? undefined : `reached ${(inside as string[]).join(', ')}`,
    },
  },
  {
    ...esc,
    id: 'ESC-004',
    title: 'the gateway’s socket replaced',
    tried: 'to remove, rename, link over and re-create files in the socket’s directory',
    probe: async (inside) => {
      const { fs } = inside;
      const socket = '/run/cofferdam/gateway.sock';
      const attempts: [string, () => void][] = [
        ['unlink', () => fs.unlinkSync(socket)],
        ['rename', () => fs.renameSync(socket, '/run/cofferdam/x')],
        ['symlink', () => fs.symlinkSync('/etc/passwd', '/run/cofferdam/link')],
        ['create', () => fs.writeFileSync('/run/cofferdam/new', 'x')],
        ['chmod', () => fs.chmodSync(socket, 0)],
        ['overwrite', () => fs.writeFileSync('/run/cofferdam/ca.pem', 'x')],
      ];
      const worked: string[] = [];
      for (const [name, attempt] of attempts) {
        try {
          attempt();
          worked.push(name);
        } catch {
          // As it should be.
        }
      }
      return Promise.resolve(worked);
    },
    expected: {
      outcome: 'contained',
      also: ({ inside }) =>
        (inside as string[]).length === 0 ? undefined : `worked: ${(inside as string[]).join(', ')}`,
    },
  },
  {
    ...esc,
    id: 'ESC-008',
    title: 'devices of the host',
    tried: 'every block device and kvm, mem and fuse opened; new device nodes made and opened',
    probe: async (inside, given) => {
      const { fs } = inside;
      const opened: string[] = [];
      const tryOpen = (path: string, flag: string): void => {
        try {
          fs.closeSync(fs.openSync(path, flag));
          opened.push(path);
        } catch {
          // As it should be.
        }
      };
      for (const name of fs.readdirSync('/dev'))
        if (fs.lstatSync(`/dev/${name}`).isBlockDevice()) opened.push(`/dev/${name}`);
      for (const name of ['kvm', 'mem', 'kmsg', 'sda', 'vda', 'loop0', 'vhost-vsock']) tryOpen(`/dev/${name}`, 'r');
      const nodes = [
        ['b', '254', '0'],
        ['b', '8', '0'],
        ['c', '10', '232'],
        ['c', '1', '1'],
        ['c', '1', '11'],
      ];
      for (const [kind = '', major = '', minor = ''] of nodes) {
        const path = `/tmp/node-${given.mark}-${kind}${major}-${minor}`;
        await inside.run(['/opt/cofferdam/bin/busybox', 'mknod', path, kind, major, minor]);
        tryOpen(path, 'r');
        fs.rmSync(path, { force: true });
      }
      return opened;
    },
    expected: {
      outcome: 'contained',
      also: ({ inside }) =>
        (inside as string[]).length === 0 ? undefined : `opened ${(inside as string[]).join(', ')}`,
    },
  },
  {
    ...esc,
    id: 'ESC-011',
    title: 'capabilities',
    tried: 'the process’s capability sets; mounting, new namespaces, chroot, the sandbox’s own address taken away',
    probe: async (inside) => {
      const sets = inside.fs.readFileSync('/proc/self/status', 'latin1').match(/^Cap\w+:\s*[0-9a-f]+/gm) ?? [];
      const busybox = '/opt/cofferdam/bin/busybox';
      const attempts = {
        mount: [busybox, 'mount', '-t', 'tmpfs', 'none', '/mnt'],
        namespace: [busybox, 'unshare', '-n', 'true'],
        address: [busybox, 'ip', 'addr', 'del', '198.18.0.1/0', 'dev', 'lo'],
        down: [busybox, 'ip', 'link', 'set', 'lo', 'down'],
        chroot: [busybox, 'chroot', '/', 'true'],
      };
      const worked: string[] = [];
      for (const [name, argv] of Object.entries(attempts)) if ((await inside.run(argv)).code === 0) worked.push(name);
      return { sets, worked };
    },
    expected: {
      outcome: 'contained',
      also: ({ inside }) => {
        const { sets, worked } = inside as { sets: string[]; worked: string[] };
        if (sets.length < 4 || sets.some((set) => /[1-9a-f][0-9a-f]*$/.test(set.split(/\s+/)[1] ?? 'f')))
          return `capabilities: ${sets.join(' ')}`;
        return worked.length === 0 ? undefined : `worked: ${worked.join(', ')}`;
      },
    },
  },
  {
    ...esc,
    id: 'ESC-015',
    title: 'another runtime than gVisor',
    tried: 'the kernel’s own messages, as the sandbox sees them',
    probe: async (inside) => (await inside.run(['/opt/cofferdam/bin/busybox', 'dmesg'])).text,
    expected: {
      outcome: 'contained',
      also: ({ inside }) => (/gVisor/.test(String(inside)) ? undefined : 'no banner of gVisor'),
    },
  },
  {
    ...esc,
    id: 'ESC-019',
    title: 'the portal signalled, traced or read',
    tried: 'signals to processes 1 and 2, their memory, and their environments searched',
    as: 'agent',
    probe: async (inside) => {
      const { fs } = inside;
      const done: string[] = [];
      for (const pid of [1, 2]) {
        for (const signal of [0, 9, 19]) {
          try {
            inside.process.kill(pid, signal);
            done.push(`signal ${signal} to ${pid}`);
          } catch {
            // As it should be.
          }
        }
        try {
          fs.closeSync(fs.openSync(`/proc/${pid}/mem`, 'r+'));
          done.push(`memory of ${pid}`);
        } catch {
          // As it should be.
        }
        const names = fs
          .readFileSync(`/proc/${pid}/environ`, 'latin1')
          .split('\0')
          .map((line) => line.split('=')[0] ?? '');
        for (const name of names)
          if (!['', 'HOME', 'HOSTNAME', 'LANG', 'PATH'].includes(name)) done.push(`${name} of ${pid}`);
      }
      return Promise.resolve(done);
    },
    expected: {
      outcome: 'contained',
      also: ({ inside }) =>
        (inside as string[]).length === 0 ? undefined : `done: ${(inside as string[]).join(', ')}`,
    },
  },
  {
    ...esc,
    id: 'ESC-020',
    title: 'this host’s loopback and abstract sockets',
    tried: 'decoys that listen on the host: a TCP and UDP port of its loopback, a name in its abstract namespace',
    probe: async (inside, given) => [
      (await inside.tcp('127.0.0.1', given.decoyPort, { send: ['secret'], waitMs: 1_000 })).connected,
      (await inside.udp('127.0.0.1', given.decoyPort, 'secret')) !== '',
      (await inside.unix(`\0${given.decoyName}`, { send: ['secret'], waitMs: 1_000 })).connected,
    ],
    expected: {
      outcome: 'contained',
      silent: true,
      also: ({ inside }) =>
        (inside as boolean[]).some((reached) => reached) ? 'something listened inside' : undefined,
    },
  },
  {
    ...esc,
    id: 'ESC-021',
    title: 'kernel interfaces that only the host’s kernel would have',
    tried:
      'vsock, AF_ALG, AF_PACKET, Bluetooth and XDP sockets; io_uring, perf, bpf, userfaultfd, kexec, module and key calls',
    probe: async (inside) => {
      const program = `
import ctypes, errno, platform, socket
libc = ctypes.CDLL(None, use_errno=True)
refused = (errno.ENOSYS, errno.EPERM, errno.EAFNOSUPPORT, errno.EACCES, errno.EPROTONOSUPPORT, errno.EINVAL, errno.ENODEV, errno.EFAULT, errno.ESOCKTNOSUPPORT, errno.EOPNOTSUPP, errno.EBADF)
for name, family, kind, proto in (('vsock', 40, 1, 0), ('alg', 38, 5, 0), ('packet', 17, 3, 0), ('bluetooth', 31, 3, 0), ('xdp', 44, 3, 0), ('netlink-audit', 16, 3, 9), ('netlink-xfrm', 16, 3, 6)):
    try: socket.socket(family, kind, proto); print(name, 'OPEN')
    except OSError as e: print(name, 'refused' if e.errno in refused else e.errno)
if platform.machine() == 'x86_64':
    for name, number, args in (('io_uring_setup', 425, (8, 0)), ('perf_event_open', 298, (0, 0, -1, -1, 0)), ('bpf', 321, (5, 0, 0)), ('userfaultfd', 323, (0,)), ('kexec_load', 246, (0, 0, 0, 0)), ('init_module', 175, (0, 0, 0)), ('add_key', 248, (0, 0, 0, 0, 0)), ('open_by_handle_at', 304, (-1, 0, 0)), ('setns', 308, (-1, 0))):
        r = libc.syscall(number, *args); e = ctypes.get_errno()
        print(name, 'refused' if r < 0 and e in refused else (r, e))
print('end')
`;
      const { code, text } = await inside.run(['python3', '-c', program]);
      return code === -1 ? { skip: 'the sandbox image has no python3, which makes these calls' } : text;
    },
    expected: {
      outcome: 'contained',
      also: ({ inside }) => {
        const lines = String(inside).trim().split('\n');
        const open = lines.slice(0, -1).filter((line) => !line.endsWith(' refused'));
        return lines.at(-1) === 'end' && open.length === 0
          ? undefined
          : `not refused: ${open.join(', ') || String(inside)}`;
      },
    },
  },
];
