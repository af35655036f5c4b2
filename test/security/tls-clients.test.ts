/**
 * TLS-017 and NET-016 in a real sandbox behind the real gateway. Each client shakes hands with an allowed host whose TLS the
 * gateway terminates, once with the environment of a command and once without it: the second has to fail, which shows that
 * it was the run's authority that answered. pip, cargo, Go and Java are in `test/integration/registries.test.ts`, where
 * they install through the same authority.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { prepareMachine } from '../../src/local/machine/machine.ts';
import { lastLine, product, type Product } from '../e2e/product.ts';

const CLIENTS: Record<string, string> = {
  curl: `curl -sS -o /dev/null -w 'answered %{http_code}' "$url"`,
  git: `git ls-remote "$url" 2>&1 | sed 's/.*not found.*/answered 404/; s/.*returned error: \\([0-9]*\\)$/answered \\1/'`,
  openssl: `openssl s_client -connect "$host:443" -servername "$host" -verify_return_error </dev/null 2>&1 | sed -n 's/.*Verify return code: 0 (ok).*/answered/p' | head -n 1`,
  node: `node -e 'fetch(process.argv[1]).then((r) => console.log("answered", r.status), (e) => console.log(e.cause.code))' "$url"`,
  'python urllib': `python3 -c 'import sys, urllib.request as u; print("answered", u.urlopen(sys.argv[1]).status)' "$url"`,
  'python requests': `python3 -c 'import sys; from pip._vendor import requests; print("answered", requests.get(sys.argv[1]).status_code)' "$url"`,
};

/** curl's 000 stands for no answer. */
const ANSWERED = /^answered(?! 000)/;

/** Prints a line for each client and for each way; the names of both are ours. */
const SCRIPT = `
registry=$(npm config get registry)
export url="\${registry}ms" host=$(node -p 'new URL(process.argv[1]).hostname' "$registry")
${Object.entries(CLIENTS)
  .map(
    ([name, command], index) => `
cat >/tmp/client-${index} <<'CLIENT'
${command}
CLIENT
printf '%s|with|%s\\n' '${name}' "$(bash /tmp/client-${index} 2>&1 | tail -n 1)"
printf '%s|without|%s\\n' '${name}' "$(env -i PATH="$PATH" HOME="$HOME" url="$url" host="$host" bash /tmp/client-${index} 2>&1 | tail -n 1)"`,
  )
  .join('\n')}
python3 -c 'import socket, sys; print("name|glibc|" + socket.getaddrinfo(sys.argv[1], 443, socket.AF_UNSPEC, socket.SOCK_STREAM)[0][4][0])' "$host"
node -e 'require("node:dns").promises.resolve4(process.argv[1]).then((all) => console.log("name|c-ares|" + all.join()), (e) => console.log("name|c-ares|" + e.code))' "$host"
/opt/cofferdam/bin/busybox nslookup "$host" 127.0.0.1 | sed -n 's/^Address.*: *\\(198[0-9.]*\\)$/name|busybox|\\1/p' | head -n 1
python3 - <<'PYTHON'
import socket
def probe(name, make):
    try:
        s = make()
        s.settimeout(2)
        s.sendto(b"probe", ("8.8.8.8", 443))
        print("net|" + name + "|" + ("answered" if s.recv(100) else "closed"))
    except Exception as e:
        print("net|" + name + "|" + type(e).__name__)
probe("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
probe("icmp", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
probe("ping", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP))
probe("sctp", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132))
probe("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
PYTHON
true
`;

let p: Product;
const said = new Map<string, string>();
let audit = '';

beforeAll(async () => {
  p = await product();
  const machine = await prepareMachine({ onProgress: () => undefined });
  const { registryPrivate } = machine;
  await machine.release();
  const file = join(p.dir, 'policy.yml');
  await writeFile(file, `egress: { allow: [npm], presetsAllowPrivate: ${String(registryPrivate)} }\n`);
  const ended = await p.run(['exec', '--json', '--policy', file, '--', 'bash', '-c', SCRIPT]);
  expect(ended.code, ended.stderr).toBe(0);
  for (const line of ended.stdout.split('\n')) {
    const [who, how, what] = line.split('|');
    if (what !== undefined) said.set(`${who ?? ''} ${how ?? ''}`, what);
  }
  audit = await readFile(String(lastLine(ended)['auditFile']), 'utf8');
});

afterAll(async () => {
  await p[Symbol.asyncDispose]();
});

describe('TLS-017 the run’s authority reaches the clients', () => {
  test.each(Object.keys(CLIENTS))('%s', (client) => {
    expect(said.get(`${client} with`)).toMatch(ANSWERED);
    expect(said.get(`${client} without`)).not.toMatch(ANSWERED);
  });

  test('handshakes that broke off are recorded with what helps', () => {
    const broken = audit.split('\n').filter((line) => line.includes('"egress.handshake"'));
    expect(broken.length).toBeGreaterThanOrEqual(3);
    expect(broken.every((line) => line.includes('CA file') && line.includes('passThrough: true'))).toBe(true);
  });
});

test.each(['glibc', 'c-ares', 'busybox'])(
  'DNS-005 %s finds the address of an allowed name (Go’s and Java’s resolvers: registries.test.ts)',
  (resolver) => {
    expect(said.get(`name ${resolver}`)).toMatch(/^198\.1[89]\.\d+\.\d+$/);
    expect(said.get(`name ${resolver}`)).toBe(said.get('name glibc'));
  },
);

test.each(['udp', 'icmp', 'ping', 'sctp', 'packet'])('NET-016 %s has no way out', (protocol) => {
  const result = said.get(`net ${protocol}`);
  expect(result).toBeDefined();
  expect(result).not.toBe('answered');
  // The twin of this very run.
  expect(said.get('curl with')).toBe('answered 200');
});
