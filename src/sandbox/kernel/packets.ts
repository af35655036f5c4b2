/**
 * A listening Unix socket of whole packets (SOCK_SEQPACKET), which is what gVisor's event sink speaks and Node does not
 * have: the C library is called through koffi. Used in the collector's own process only.
 *
 * Preconditions: Linux. One buffer of this module's owner is read into; what `receive` gives is valid until the next call.
 */
import { constants } from 'node:os';
import koffi from 'koffi';
import { CofferdamError } from '../../domain/errors.ts';
import { MAX_PACKET } from './packet.ts';

/** Who connected, as the host's kernel says it: the process that made the connection. */
export interface Peer {
  fd: number;
  pid: number;
  uid: number;
}

export type Received = { packet: Buffer } | 'oversized' | 'nothing' | 'end';

export interface PacketServer {
  /** Resolves with the descriptors that have something to read; the listening one is `server.fd`. */
  wait(fds: readonly number[], timeoutMs: number): Promise<number[]>;
  readonly fd: number;
  accept(): Peer | undefined;
  receive(fd: number): Received;
  /** False when it cannot be sent at once. */
  send(fd: number, bytes: Buffer): boolean;
  close(fd: number): void;
}

// Numbers of Linux, the same on every architecture that Node runs on.
const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const MSG_DONTWAIT = 0x40;
const MSG_TRUNC = 0x20;
const MSG_NOSIGNAL = 0x4000;
const POLLIN = 1;
const POLL_ENTRY = 8;
const BACKLOG = 128;

/** Listens on a path that does not exist yet. Errors: `sandbox` with the number that the system gave. */
export function listenForPackets(path: string): PacketServer {
  const c = library();
  const fd = c.socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) throw refusedBy('socket', path);
  const name = Buffer.from(path);
  const address = Buffer.alloc(2 + name.length + 1);
  address.writeUInt16LE(AF_UNIX, 0);
  name.copy(address, 2);
  if (c.bind(fd, address, address.length) !== 0) throw refusedBy('bind', path);
  if (c.chmod(path, 0o600) !== 0 || c.listen(fd, BACKLOG) !== 0) throw refusedBy('listen', path);
  const buffer = Buffer.alloc(MAX_PACKET);
  return {
    fd,
    wait: (fds, timeoutMs) => pollFor(c, fds, timeoutMs),
    accept: () => accept(c, fd),
    receive: (from) => {
      const length = c.recv(from, buffer, buffer.length, MSG_DONTWAIT | MSG_TRUNC);
      if (length > buffer.length) return 'oversized';
      if (length > 0) return { packet: buffer.subarray(0, length) };
      if (length === 0) return 'end';
      const { EAGAIN, EINTR } = constants.errno;
      return koffi.errno() === EAGAIN || koffi.errno() === EINTR ? 'nothing' : 'end';
    },
    send: (to, bytes) => c.send(to, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL) === bytes.length,
    close: (which) => void c.close(which),
  };
}

function accept(c: Library, fd: number): Peer | undefined {
  const made = c.accept4(fd, null, null, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (made < 0) return undefined;
  const credentials = Buffer.alloc(12);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(credentials.length, 0);
  if (c.getsockopt(made, SOL_SOCKET, SO_PEERCRED, credentials, length) !== 0) {
    c.close(made);
    return undefined;
  }
  return { fd: made, pid: credentials.readInt32LE(0), uid: credentials.readUInt32LE(4) };
}

/** The call waits in a thread of its own, so that this process goes on meanwhile. */
function pollFor(c: Library, fds: readonly number[], timeoutMs: number): Promise<number[]> {
  const entries = Buffer.alloc(POLL_ENTRY * fds.length);
  fds.forEach((fd, index) => {
    entries.writeInt32LE(fd, index * POLL_ENTRY);
    entries.writeInt16LE(POLLIN, index * POLL_ENTRY + 4);
  });
  return new Promise((resolve, reject) => {
    c.poll.async(entries, fds.length, timeoutMs, (error: unknown, count: number) => {
      if (error instanceof Error) reject(error);
      else if (count <= 0) resolve([]);
      else resolve(fds.filter((_fd, index) => entries.readInt16LE(index * POLL_ENTRY + 6) !== 0));
    });
  });
}

type Call<A extends unknown[]> = (...args: A) => number;

interface Library {
  socket: Call<[number, number, number]>;
  bind: Call<[number, Buffer, number]>;
  chmod: Call<[string, number]>;
  listen: Call<[number, number]>;
  accept4: Call<[number, null, null, number]>;
  getsockopt: Call<[number, number, number, Buffer, Buffer]>;
  recv: Call<[number, Buffer, number, number]>;
  send: Call<[number, Buffer, number, number]>;
  close: Call<[number]>;
  poll: { async(entries: Buffer, count: number, timeoutMs: number, done: (e: unknown, n: number) => void): void };
}

/** The C library is in this process already: it is found by its symbols, whatever its file is called. */
function library(): Library {
  const c = koffi.load(null);
  const declare = (signature: string) => c.func(signature) as never;
  return {
    socket: declare('int socket(int domain, int type, int protocol)'),
    bind: declare('int bind(int fd, const uint8_t *address, uint length)'),
    chmod: declare('int chmod(const char *path, uint mode)'),
    listen: declare('int listen(int fd, int backlog)'),
    accept4: declare('int accept4(int fd, void *address, void *length, int flags)'),
    getsockopt: declare('int getsockopt(int fd, int level, int name, void *value, void *length)'),
    recv: declare('long recv(int fd, void *buffer, ulong size, int flags)'),
    send: declare('long send(int fd, const void *buffer, ulong size, int flags)'),
    close: declare('int close(int fd)'),
    poll: declare('int poll(void *entries, ulong count, int timeout)'),
  };
}

function refusedBy(call: string, path: string): CofferdamError {
  return new CofferdamError(
    'sandbox',
    'sandbox.kernel.listen',
    `${call} on the collector's socket ${path}: error ${koffi.errno()}`,
  );
}
