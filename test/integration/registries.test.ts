/**
 * The registry presets with each ecosystem's real client, its ordinary configuration, its real registry, inside a real
 * sandbox: a package is installed, and publishing is refused and recorded.
 *
 * The default image has npm, pip and apt. The other clients come from the distribution through the `apt` preset.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { RegistryName } from '../../src/domain/policy.ts';
import { prepareMachine } from '../../src/local/machine/machine.ts';
import type { RegistryPlace } from '../../src/policy/egress/registry.ts';
import { lastLine, product, type Product } from '../e2e/product.ts';

// Packages come over a network and are unpacked in gVisor, on whatever machine this is.
vi.setConfig({ testTimeout: 900_000 });

let p: Product;
let isPrivate: boolean;
let registries: Record<RegistryName, { places: RegistryPlace[] }>;

async function policy(presets: RegistryName[]): Promise<string> {
  const file = join(p.dir, `${presets.join('-')}.yml`);
  // Where registries answer from private addresses they are a company mirror, which an operator has to say.
  await writeFile(
    file,
    `egress: { allow: [${presets.join(', ')}], presetsAllowPrivate: ${String(isPrivate)} }\nsandbox: { processes: 1024 }\n`,
  );
  return file;
}

beforeAll(async () => {
  p = await product();
  const machine = await prepareMachine({ onProgress: () => undefined });
  isPrivate = machine.registryPrivate;
  await machine.release();
  const explained = await p.run([
    'policy',
    'explain',
    '--json',
    '--policy',
    await policy(['npm', 'pip', 'cargo', 'go', 'maven', 'apt']),
  ]);
  expect(explained.stderr).not.toContain('cofferdam:');
  registries = lastLine(explained)['registries'] as typeof registries;
});

afterAll(async () => {
  await p[Symbol.asyncDispose]();
});

interface Line {
  type: string;
  decision?: { allow: boolean; reason?: string; rule: string };
  data: { host?: string; method?: string; path?: string };
}

/** Runs a script as root in a sandbox whose policy has these presets; what it printed, and what was recorded. */
async function inSandbox(presets: RegistryName[], script: string): Promise<{ output: string; events: Line[] }> {
  const args = ['exec', '--json', '--user', 'root', '--timeout', '15m', '--policy', await policy(presets)];
  const ended = await p.run([...args, '--', 'bash', '-ec', `cd /tmp\n${script}`]);
  expect(ended.code, `${ended.stdout}\n${ended.stderr}`).toBe(0);
  const text = await readFile(String(lastLine(ended)['auditFile']), 'utf8');
  return {
    output: ended.stdout,
    events: text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Line),
  };
}

/** Sends an upload as a publisher would, whatever the client itself offers, and never fails. */
function upload(preset: RegistryName): string {
  const base = registries[preset].places[0]?.address.replace(/\/+$/, '') ?? '';
  return `for method in PUT POST DELETE; do curl -sS -X $method -d x -H 'Authorization: Bearer x' '${base}/cofferdam-upload' || true; done`;
}

function expectUploadsRefused(events: Line[]): void {
  for (const method of ['PUT', 'POST', 'DELETE']) {
    const found = events.filter(
      ({ data }) => data.method === method && data.path?.endsWith('/cofferdam-upload') === true,
    );
    expect(found.map(({ decision }) => decision?.reason)).toEqual(['method_not_allowed']);
  }
  const written = events.filter(
    ({ type, data }) => type === 'egress.request' && !['GET', 'HEAD'].includes(data.method ?? ''),
  );
  expect(written.every(({ decision }) => decision?.allow === false)).toBe(true);
}

function allowedRequests(events: Line[], preset: RegistryName): Line[] {
  return events.filter(
    ({ type, decision }) =>
      type === 'egress.request' && decision?.allow === true && decision.rule.startsWith(`${preset} preset`),
  );
}

test('npm installs, a scoped package too, and cannot publish', async () => {
  const { output, events } = await inSandbox(
    ['npm'],
    `npm install --no-audit --no-fund ms@2.1.3 @types/ms@2.1.0
    node -p 'require("ms/package.json").version + require("@types/ms/package.json").name'
    mkdir mine && cd mine && echo '{"name":"cofferdam-never-published","version":"0.0.1"}' >package.json
    registry=$(npm config get registry)
    npm publish "--\${registry#https:}:_authToken=x" && echo PUBLISHED || echo refused
    ${upload('npm')}`,
  );
  expect(output).toContain('2.1.3@types/ms');
  expect(output).not.toContain('PUBLISHED');
  expectUploadsRefused(events);
  expect(allowedRequests(events, 'npm').length).toBeGreaterThan(3);
  expect(
    events.some(
      ({ data, decision }) =>
        data.path === '/cofferdam-never-published' &&
        data.method === 'PUT' &&
        decision?.reason === 'method_not_allowed',
    ),
  ).toBe(true);
});

test('pip installs and cannot upload', async () => {
  const { output, events } = await inSandbox(
    ['pip'],
    `pip install --quiet --root-user-action=ignore idna==3.7
    python3 -c 'import idna; print("idna", idna.__version__)'
    ${upload('pip')}`,
  );
  expect(output).toContain('idna 3.7');
  expectUploadsRefused(events);
  expect(allowedRequests(events, 'pip').length).toBeGreaterThan(1);
});

/** Says which C library it is, what address a name has, and with which code each of the two questions was answered. */
const LOOK_UP = `#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdio.h>
static void record(const char *name, const char *type, int number) {
  unsigned char a[512] = {0};
  res_query(name, 1, number, a, sizeof a);
  printf(" %s:rcode=%d,answers=%d", type, a[3] & 15, a[6] << 8 | a[7]);
}
int main(int count, char **names) {
#ifdef __GLIBC__
  printf("glibc");
#else
  printf("musl");
#endif
  for (int i = 1; i < count; i++) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found = 0;
    int code = getaddrinfo(names[i], "80", &hints, &found);
    char text[INET_ADDRSTRLEN] = "none";
    if (code == 0) inet_ntop(AF_INET, &((struct sockaddr_in *)found->ai_addr)->sin_addr, text, sizeof text);
    printf(" | %s", code == 0 && found->ai_family != AF_INET ? "other" : text);
    record(names[i], "A", 1);
    record(names[i], "AAAA", 28);
  }
  puts("");
}
`;

test('apt installs and cannot upload; DNS-005 musl’s resolver finds the address of an allowed name', async () => {
  const { output, events } = await inSandbox(
    ['apt'],
    `apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install jq musl-tools
    echo '{"installed":"jq works"}' | jq -r .installed
    cat >look-up.c <<'C'
${LOOK_UP}C
    musl-gcc -static -o look-up look-up.c
    ./look-up '${new URL(registries.apt.places[0]?.address ?? '').hostname}' unlisted.cofferdam.test
    ${upload('apt')}`,
  );
  expect(output).toContain('jq works');
  // Allowed: an address, and a name that exists without one of the other family. Not allowed: no such name.
  expect(output).toMatch(
    /^musl \| 198\.1[89]\.\d+\.\d+ A:rcode=0,answers=1 AAAA:rcode=0,answers=0 \| none A:rcode=3,answers=0 AAAA:rcode=3,answers=0$/m,
  );
  expect(
    events.some(
      ({ type, decision, data }) =>
        type === 'egress.name' && data.host === 'unlisted.cofferdam.test' && decision?.allow === false,
    ),
  ).toBe(true);
  expectUploadsRefused(events);
  expect(allowedRequests(events, 'apt').length).toBeGreaterThan(3);
});

/** Packages of the distribution, with their dependencies, from inside. */
function aptInstall(packages: string): string {
  return `apt-get -q update >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install ${packages} >/tmp/apt.log 2>&1 || { tail -n 20 /tmp/apt.log; exit 1; }`;
}

test('cargo fetches and builds with a crate, and cannot publish', async () => {
  const { output, events } = await inSandbox(
    ['apt', 'cargo'],
    `${aptInstall('cargo-web')}
    mkdir -p app/src && cd app
    printf '[package]\\nname = "app"\\nversion = "0.0.1"\\nedition = "2021"\\nlicense = "MIT"\\ndescription = "x"\\n[dependencies]\\nitoa = "=1.0.11"\\n' >Cargo.toml
    echo 'fn main() { println!("itoa says {}", itoa::Buffer::new().format(4711)); }' >src/main.rs
    cargo run --quiet
    cargo publish --token x --allow-dirty --no-verify && echo PUBLISHED || echo refused
    ${upload('cargo')}`,
  );
  expect(output).toContain('itoa says 4711');
  expect(output).not.toContain('PUBLISHED');
  expectUploadsRefused(events);
  expect(allowedRequests(events, 'cargo').some(({ data }) => data.path?.includes('itoa'))).toBe(true);
});

test('go downloads a module, verified with the checksum database, and cannot upload', async () => {
  const { output, events } = await inSandbox(
    ['apt', 'go'],
    // Its own resolver, which asks for both families at once, and says so.
    `${aptInstall('golang-go')}
    export GODEBUG=netdns=go+1
    mkdir app && cd app && go mod init app
    go get rsc.io/quote@v1.5.2 2>&1
    go mod verify
    ${upload('go')}`,
  );
  expect(output).toContain('all modules verified');
  expect(output).toMatch(/GODEBUG setting forcing use of (?:the )?Go'?s? resolver/i);
  expectUploadsRefused(events);
  expect(allowedRequests(events, 'go').some(({ data }) => data.path?.includes('/sumdb/') === true)).toBe(true);
});

test('maven (Java’s look-ups and trust store) gets an artifact and cannot deploy', async () => {
  // Java's package cannot be configured without the right to give files away, so its parts are unpacked as they are.
  const { output, events } = await inSandbox(
    ['apt', 'maven'],
    `apt-get -q update >/dev/null && apt-get -q -y --no-install-recommends --download-only install maven >/dev/null
    for deb in /var/tmp/archives/*.deb; do dpkg -x "$deb" parts; done
    cp -a parts/usr/. /usr/ && cp -a parts/etc/. /etc/
    export JAVA_HOME=$(echo /usr/lib/jvm/java-[1-9][0-9]-openjdk-*)
    /usr/share/maven/bin/mvn -B -q dependency:get -Dartifact=org.slf4j:slf4j-api:2.0.13 -Dtransitive=false
    ls ~/.m2/repository/org/slf4j/slf4j-api/2.0.13
    ${upload('maven')}`,
  );
  expect(output).toContain('slf4j-api-2.0.13.jar');
  expectUploadsRefused(events);
  expect(
    allowedRequests(events, 'maven').some(({ data }) => data.path?.endsWith('/slf4j-api-2.0.13.jar') === true),
  ).toBe(true);
});
