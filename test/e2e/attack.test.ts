import { readFile, writeFile } from 'node:fs/promises';
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

interface Told {
  ok: boolean;
  outcomes: { id: string; user: string; verdict: string; problems: string[]; seen: string[] }[];
  checks: { name: string; ok: boolean }[];
}

describe('cofferdam attack', () => {
  it('holds on this host: live lines, a table, a report without a script, an audit that verifies', async () => {
    const report = join(p.dir, 'report.html');
    const ids = 'ESC-004,ESC-020,NET-001,NET-002,NET-016,TLS-001,TLS-005,DNS-001,RES-012';
    const ended = await p.run(['attack', '--only', ids, '--report', report, '--json']);
    const told = lastLine(ended) as unknown as Told;
    expect(told.outcomes.filter(({ verdict }) => verdict !== 'passed')).toEqual([]);
    expect(ended.code).toBe(0);
    expect(told.ok).toBe(true);
    // As the agent and as root, but for the one that needs no root.
    expect(told.outcomes).toHaveLength(17);
    // What goes past the gateway is told by the sandbox's kernel.
    const byKernel = told.outcomes.filter(({ seen }) => seen.some((line) => line.startsWith('the kernel reported it')));
    expect(byKernel.map(({ id, user }) => `${id} ${user}`)).toEqual([
      ...['NET-002 agent', 'NET-002 root', 'NET-016 agent', 'NET-016 root'],
    ]);
    expect(told.outcomes.every(({ seen }) => seen.some((line) => line.startsWith('the twin arrived')))).toBe(true);
    expect(told.checks.map(({ ok }) => ok)).toEqual([true, true, true]);
    expect(ended.stderr).toMatch(/✓ NET-001 agent/);
    const page = await readFile(report, 'utf8');
    expect(page).not.toMatch(/<script|https?:\/\/|src=|href=/);
    expect(page).toMatch(/<dt>cofferdam<\/dt>\s*<dd>\d+\.\d+\.\d+<\/dd>/);
    expect(page).toMatch(/<dt>policy<\/dt>\s*<dd>[^<]+, sha256:[0-9a-f]{64}<\/dd>/);
    for (const id of ids.split(',')) expect(page).toContain(`<td>${id}</td>`);
    expect(await incomplete(join(p.dir, 'data'))).toEqual([]);
  });

  it('a rule that lets an attack through makes it fail, and only it', async () => {
    const policy = join(p.dir, 'policy.yml');
    await writeFile(policy, 'egress:\n  allow:\n    - { host: net-001-agent.denied.test }\n');
    const ended = await p.run(['attack', '--only', 'net-001', '--policy', policy, '--json']);
    const told = lastLine(ended) as unknown as Told;
    expect(ended.code).toBe(1);
    expect(told.ok).toBe(false);
    expect(told.outcomes.map(({ user, verdict }) => [user, verdict])).toEqual([
      ['agent', 'failed'],
      ['root', 'passed'],
    ]);
    expect(told.outcomes[0]?.problems.join()).toMatch(/bytes arrived outside/);
  });

  it.each([
    [['--only', 'NET-999'], 'no case NET-999'],
    [['--tier', 'T9'], 'no tier T9'],
    [['--only', 'NET-001', '--tier', 'T2'], 'leave no case'],
    [['--only', ''], 'is empty'],
    [['--only', 'NET-001', '--report', '/nonexistent/report.html'], '/nonexistent/report.html'],
  ])('refuses %j with exit code 2 before anything starts', async (args, message) => {
    const ended = await p.run(['attack', ...args]);
    expect(ended.code).toBe(2);
    expect(ended.stderr).toContain(message);
    expect(ended.stdout).toBe('');
  });
});
