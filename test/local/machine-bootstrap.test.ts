import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

/*
 * The start from nothing, on a checkout that is small enough to install without a network: one package, which is a
 * directory of the checkout.
 */

let root: string;
const at = (...parts: string[]): string => path.join(root, ...parts);

const manifest = { name: 'small', version: '1.0.0', dependencies: { one: 'file:one' } };
const lock = {
  name: 'small',
  version: '1.0.0',
  lockfileVersion: 3,
  requires: true,
  packages: { '': manifest, 'node_modules/one': { resolved: 'one', link: true }, one: { version: '1.0.0' } },
};

beforeAll(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'cofferdam-bootstrap-'));
  await mkdir(at('src/main'), { recursive: true });
  await mkdir(at('one'));
  await cp(path.join(import.meta.dirname, '../../src/main/bootstrap.mjs'), at('src/main/bootstrap.mjs'));
  await writeFile(at('one/package.json'), JSON.stringify({ name: 'one', version: '1.0.0' }));
  await writeFile(
    at('program.ts'),
    `const words: string[] = process.argv.slice(2);
     process.on('SIGTERM', () => { process.stdout.write('ended\\n'); process.exit(7); });
     process.stdout.write(JSON.stringify(words) + '\\n');
     if (words[0] === 'wait') setTimeout(() => undefined, 60_000);
     else process.exitCode = Number(words[0]);`,
  );
});
beforeEach(async () => {
  await rm(at('node_modules'), { recursive: true, force: true });
  await writeFile(at('package.json'), JSON.stringify(manifest));
  await writeFile(at('package-lock.json'), JSON.stringify(lock));
});
afterAll(() => rm(root, { recursive: true, force: true }));

interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

function start(args: string[], env: NodeJS.ProcessEnv = process.env) {
  const child = spawn(process.execPath, [at('src/main/bootstrap.mjs'), ...args], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const ended = once(child, 'close').then(([code]): Ended => ({ code: code as number | null, stdout, stderr }));
  return { child, ended };
}

describe('a start from nothing', () => {
  it('installs, says so on standard error only, and passes arguments, output and exit code on', async () => {
    const first = await start([at('program.ts'), '3', 'two words', '']).ended;
    expect(first).toMatchObject({ code: 3, stdout: '["3","two words",""]\n' });
    expect(first.stderr).toContain('installing');
    await access(at('node_modules/one/package.json'));
    const second = await start([at('program.ts'), '0']).ended;
    expect(second).toEqual({ code: 0, stdout: '["0"]\n', stderr: '' });
  });

  it('installs again when the lock file changed', async () => {
    await start([at('program.ts'), '0']).ended;
    await writeFile(at('package-lock.json'), JSON.stringify({ ...lock, version: '1.0.1' }));
    expect((await start([at('program.ts'), '0']).ended).stderr).toContain('installing');
    expect((await start([at('program.ts'), '0']).ended).stderr).toBe('');
  });

  it('installs once when it is started twice at a time', async () => {
    const both = await Promise.all([start([at('program.ts'), '0']).ended, start([at('program.ts'), '0']).ended]);
    expect(both.map(({ code }) => code)).toEqual([0, 0]);
    expect(both.filter(({ stderr }) => stderr.includes('installing the'))).toHaveLength(1);
  });

  it('ends the program with the signal that it gets', async () => {
    const { child, ended } = start([at('program.ts'), 'wait']);
    await once(child.stdout, 'data');
    child.kill('SIGTERM');
    expect(await ended).toMatchObject({ code: 7, stdout: '["wait"]\nended\n' });
  });

  it('says what to do when the installation fails, and does not count it as done', async () => {
    const other = { ...manifest, dependencies: { one: '1.0.0' } };
    await writeFile(at('package.json'), JSON.stringify(other));
    await writeFile(at('package-lock.json'), JSON.stringify({ ...lock, packages: { '': other } }));
    const registry = { npm_config_registry: 'http://127.0.0.1:1/', npm_config_fetch_retries: '0' };
    const env = { ...process.env, ...registry, npm_config_loglevel: 'silent' };
    const failed = await start([at('program.ts'), '0'], env).ended;
    expect(failed.code).not.toBe(0);
    expect(failed.stdout).toBe('');
    expect(failed.stderr).toMatch(/npm error[\s\S]*run this again/);
    await expect(readFile(at('node_modules/.cofferdam-stamp'), 'utf8')).rejects.toThrow();
  });

  it('says what to do without npm, and without a program', async () => {
    const without = await start([at('program.ts'), '0'], { PATH: '/nonexistent' }).ended;
    expect(without).toMatchObject({ stdout: '' });
    expect(without.code).not.toBe(0);
    expect(without.stderr).toContain('install npm');
    const nothing = await start([]).ended;
    expect(nothing.code).not.toBe(0);
    expect(nothing.stderr).toContain('usage:');
  });
});
