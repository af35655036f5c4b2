import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { incomplete } from '../audit/complete.ts';
import { lastLine, product, type Product } from './product.ts';

let p: Product;
beforeAll(async () => {
  p = await product();
});
afterAll(async () => {
  await p[Symbol.asyncDispose]();
});

async function policy(text: string): Promise<string> {
  const file = join(p.dir, `policy-${Math.random().toString(36).slice(2)}.yml`);
  await writeFile(file, text);
  return file;
}

describe('cofferdam exec', () => {
  it('passes output, standard input and exit code through, runs as the agent, and its audit verifies', async () => {
    const ended = await p.run(
      [
        'exec',
        '--json',
        '--env',
        'GREETING=hi',
        '--',
        'bash',
        '-c',
        'echo "$GREETING $(id -u)"; cat; echo oops >&2; exit 7',
      ],
      { stdin: 'from stdin\n' },
    );
    expect(ended.code).toBe(7);
    expect(ended.stdout).toContain('hi 1000\nfrom stdin\n');
    expect(ended.stderr).toContain('oops');
    const result = lastLine(ended);
    expect(result).toMatchObject({ exitCode: 7, state: 'failed', costUsd: 0 });
    const verified = await p.run(['verify', String(result['auditFile'])]);
    expect(verified).toMatchObject({ code: 0 });
    expect(verified.stdout).toContain(String(result['auditHead']));
  });

  it('ESC-015 runs under gVisor, without a capability and with no interface but the loopback', async () => {
    const ended = await p.run([
      'exec',
      '--user',
      'root',
      '--',
      'bash',
      '-c',
      'dmesg | grep -c "Starting gVisor"; grep CapEff /proc/self/status; tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d " "; env | grep -ciE "token|secret|key=" || true',
    ]);
    expect(ended.code).toBe(0);
    // gVisor's banner, no capability, one interface, and no variable that looks like a secret.
    expect(ended.stdout).toBe('1\nCapEff:\t0000000000000000\nlo\n0\n');
  });

  it('NET-001 NET-002 without a policy nothing is reachable, and each try is an entry', async () => {
    const ended = await p.run([
      'exec',
      '--json',
      '--',
      'bash',
      '-c',
      'curl -sS --max-time 60 https://denied.example.com; curl -sS --max-time 60 https://9.9.9.9; true',
    ]);
    expect(ended.code).toBe(0);
    const egress = lastLine(ended)['egress'] as { host: string; port: number; allow: boolean }[];
    expect(egress.some((e) => e.host === 'denied.example.com' && e.port === 0 && !e.allow)).toBe(true);
    expect(egress.some((e) => e.host === '9.9.9.9' && e.port === 443 && !e.allow)).toBe(true);
    expect(egress.every((e) => !e.allow)).toBe(true);
  });

  it('a credential of a host is nowhere inside, and not in the record', async () => {
    const file = await policy(
      'egress: { allow: [{ host: npm.corp.invalid, credential: { header: Authorization, valueEnv: CORP_NPM } }] }\n',
    );
    const canary = `Bearer canary-${Math.random().toString(36).slice(2)}`;
    const look =
      'env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline; grep -rsI canary- /run /etc /home /opt/cofferdam/portal; curl -sS -m 60 -v https://npm.corp.invalid/; echo looked';
    const ended = await p.run(['exec', '--json', '--user', 'root', '--policy', file, '--', 'bash', '-c', look], {
      env: { CORP_NPM: canary },
    });
    expect(ended.stdout).toContain('looked');
    const record = await readFile(String(lastLine(ended)['auditFile']), 'utf8');
    // The rule counted: the host was to be reached, and its name is one that nobody has.
    expect(record).toContain('"reason":"name_not_found"');
    for (const text of [ended.stdout, ended.stderr, record]) expect(text).not.toContain(canary.slice(7));
  });

  it('installs a real package from the real registry when the policy names the preset', async () => {
    // Where the registry answers from a private address it is a company mirror, which an operator has to say.
    const { prepareMachine } = await import('../../src/local/machine/machine.ts');
    const machine = await prepareMachine({ onProgress: () => undefined });
    const file = await policy(`egress: { allow: [npm], presetsAllowPrivate: ${String(machine.registryPrivate)} }\n`);
    await machine.release();
    const ended = await p.run([
      'exec',
      '--json',
      '--policy',
      file,
      '--',
      'bash',
      '-c',
      'npm install --no-audit --no-fund ms@2.1.3 >/dev/null 2>&1; cat node_modules/ms/package.json | grep version; curl -sS --max-time 60 https://denied.example.com || echo refused',
    ]);
    expect(ended.stdout).toContain('"version": "2.1.3"');
    expect(ended.stdout).toContain('refused');
    const egress = lastLine(ended)['egress'] as { allow: boolean; port: number }[];
    expect(egress.some((e) => e.allow && e.port === 443)).toBe(true);
  });

  it('RES-012 ends a command that sleeps or ignores signals at the time limit, with 124', async () => {
    const ended = await p.run([
      'exec',
      '--json',
      '--timeout',
      '4s',
      '--',
      'bash',
      '-c',
      'trap "" TERM INT; while :; do sleep 1; done',
    ]);
    expect(ended.code).toBe(124);
    expect(lastLine(ended)).toMatchObject({ state: 'timed_out', reason: 'timeout' });
  });

  it('a stop from outside ends it and leaves nothing', async () => {
    const ended = await p.run(['exec', '--', 'bash', '-c', 'echo started; sleep 600'], { interruptAfter: 'started' });
    expect(ended.code).toBe(130);
    expect(await readdir(join(p.dir, 'data', 'runs'))).toEqual([]);
  });

  it.each([
    [['exec', '--policy', '/nonexistent.yml', '--', 'true'], '/nonexistent.yml'],
    [['exec', '--timeout', 'soon', '--', 'true'], 'is not a duration'],
    [['exec', '--env', 'no-equals-sign', '--', 'true'], 'NAME=VALUE'],
    [['exec', '--unknown', '--', 'true'], 'unknown option'],
    [['exec'], 'missing required argument'],
    [['verify', '/nonexistent.jsonl'], 'cannot read'],
    [['run', '--repo', '/nonexistent', '--task', 'x'], 'nonexistent'],
  ])('refuses %j with exit code 2 and says what is wrong', async (args, message) => {
    const ended = await p.run(args);
    expect(ended.code).toBe(2);
    expect(ended.stderr).toContain(message);
    expect(ended.stdout).toBe('');
  });

  it('names line and column of a wrong policy, and starts nothing', async () => {
    const file = await policy('egress:\n  alow: []\n');
    const ended = await p.run(['exec', '--policy', file, '--', 'echo', 'never']);
    expect(ended.code).toBe(2);
    expect(ended.stderr).toContain(`${file}:2:3: unknown key "egress.alow"`);
    expect(ended.stdout).toBe('');
  });

  it('AUD-015 leaves records that are whole: every command that began has its end', async () => {
    expect(await incomplete(join(p.dir, 'data'))).toEqual([]);
  });

  it('AUD-001 verify finds an edited audit file', async () => {
    const ended = await p.run(['exec', '--json', '--', 'true']);
    const file = String(lastLine(ended)['auditFile']);
    const text = await readFile(file, 'utf8');
    await writeFile(
      file,
      text.replace('"exitCode":0', '"exitCode":1').replace('"process.exit.code":0', '"process.exit.code":1'),
    );
    const verified = await p.run(['verify', file]);
    expect(verified.code).toBe(1);
    expect(verified.stdout).toContain('broken at');
  });
});
