import koffi from 'koffi';

/** A client of a Unix socket of packets, as gVisor's sink is one: for tests of who may connect and what may be said. */
export interface PacketClient {
  send(bytes: Buffer): boolean;
  /** What came back: `end` when the other side hung up, `nothing` after a minute of silence. */
  receive(): Buffer | 'end' | 'nothing';
  close(): void;
}

const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;
const SOCK_CLOEXEC = 0o2000000;
const MSG_NOSIGNAL = 0x4000;

/** Undefined when nobody listens there. */
export function connectPackets(path: string): PacketClient | undefined {
  const c = koffi.load(null);
  const call = (signature: string) => c.func(signature) as unknown as (...args: unknown[]) => number;
  const [socket, connect, recv] = [
    call('int socket(int domain, int type, int protocol)'),
    call('int connect(int fd, const uint8_t *address, uint length)'),
    call('long recv(int fd, void *buffer, ulong size, int flags)'),
  ];
  const [send, close, poll] = [
    call('long send(int fd, const void *buffer, ulong size, int flags)'),
    call('int close(int fd)'),
    call('int poll(void *entries, ulong count, int timeout)'),
  ];
  const fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  const address = Buffer.alloc(110);
  address.writeUInt16LE(AF_UNIX, 0);
  address.write(path, 2);
  if (connect(fd, address, 2 + Buffer.byteLength(path) + 1) !== 0) {
    close(fd);
    return undefined;
  }
  return {
    send: (bytes) => send(fd, bytes, bytes.length, MSG_NOSIGNAL) === bytes.length,
    receive: () => {
      const entry = Buffer.alloc(8);
      entry.writeInt32LE(fd, 0);
      entry.writeInt16LE(1, 4);
      if (poll(entry, 1, 60_000) <= 0) return 'nothing';
      const buffer = Buffer.alloc(4096);
      const length = recv(fd, buffer, buffer.length, 0);
      return length <= 0 ? 'end' : buffer.subarray(0, length);
    },
    close: () => void close(fd),
  };
}
