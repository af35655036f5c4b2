import { spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { git, gitText, runGit } from '../../src/git/git.ts';
import { createQueues, lockFile } from '../../src/git/lock.ts';
import { commitTree, isAncestor, readCommit, readFileAt, updateRef, validRef } from '../../src/git/plumbing.ts';
import { bare, commitAll, project, run, workbench, write, type Workbench } from './fixture.ts';

let bench: Workbench;
beforeEach(() => {
  bench = workbench();
});
afterEach(() => {
  bench.remove();
});

const op = 'test.git';
/** Git runs a shell command only for its own repository's aliases; that is the one way to make it slow or loud. */
const shell = (command: string) => ({ args: ['x'], config: [['alias.x', `!${command}`]] as [string, string][] });

describe('a git process', () => {
  test('answers, and fails with the code that was asked for', async () => {
    expect(await gitText({ op, args: ['--version'] })).toMatch(/^git version/);
    const failed = git({ op, code: 'clone', gitDir: bench.path('none'), args: ['rev-parse', 'HEAD'] });
    await expect(failed).rejects.toMatchObject({
      code: 'clone',
      op,
      message: expect.stringMatching(/exit code 128/) as string,
    });
  });

  test('does not find a repository that nobody named', async () => {
    project(bench.path('work'), { a: 'x' });
    const outcome = await runGit({ op, args: ['-C', bench.path('work/.git'), 'log'] });
    expect(outcome.exitCode).toBe(128);
  });

  test('is ended with all its children at the time limit, when it is told to stop, and when it writes too much', async () => {
    const marker = bench.path('late');
    const slow = shell(`sh -c 'sleep 3; touch ${marker}'`);
    expect((await runGit({ op, ...slow, timeoutMs: 300 })).end).toBe('timeout');
    expect((await runGit({ op, ...slow, signal: AbortSignal.timeout(300) })).end).toBe('aborted');
    expect((await runGit({ op, ...shell('yes'), maxOutputBytes: 1000 })).end).toBe('output');
    await expect(git({ op, ...slow, signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'cancelled' });
    await delay(3500);
    expect(existsSync(marker)).toBe(false);
  });

  test('has limits of memory, processor time and file size', async () => {
    const limits = { memoryBytes: 512 * 2 ** 20, cpuSeconds: 7, fileBytes: 1024 };
    const output = await gitText({ op, ...shell('ulimit -v; ulimit -t; ulimit -f; ulimit -c'), limits });
    expect(output.split('\n')).toEqual([String(512 * 1024), '7', '2', '0']);
    const file = bench.path('large');
    const outcome = await runGit({ op, ...shell(`head -c 5000 /dev/zero > ${file}`), limits });
    expect(outcome.exitCode).not.toBe(0);
  });

  test('a source of its input that fails is not taken for a whole one', async () => {
    run(['init', '-q', '--bare', bench.path('r.git')]);
    const broken = new Readable({
      read() {
        this.push('half');
        this.destroy(new Error('gone'));
      },
    });
    const outcome = await runGit({ op, gitDir: bench.path('r.git'), args: ['hash-object', '--stdin'], stdin: broken });
    expect(outcome.end === 'exit' && outcome.exitCode === 0).toBe(false);
  });

  test('dies with the process that started it', async () => {
    const script = bench.path('parent.mts');
    const module = path.resolve('src/git/process.ts');
    writeFileSync(
      script,
      `import { startProcess } from ${JSON.stringify(module)};
       const child = startProcess({ argv: ['sh', '-c', 'echo $$; exec sleep 300'] });
       child.stdout.pipe(process.stdout);\n`,
    );
    const parent = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const pid = await new Promise<number>((resolve) => {
      parent.stdout.once('data', (data: Buffer) => {
        resolve(Number(data.toString()));
      });
    });
    expect(alive(pid)).toBe(true);
    parent.kill('SIGKILL');
    await until(() => !alive(pid));
  });
});

/** A process that ended but was not waited for is none. */
function alive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await delay(20);
}

describe('locks', () => {
  test('one holder at a time, also after a holder was killed', async () => {
    const file = bench.path('lock');
    const first = await lockFile(file);
    let second: (() => Promise<void>) | undefined;
    const waiting = lockFile(file).then((release) => {
      second = release;
    });
    await delay(200);
    expect(second).toBeUndefined();
    await first();
    await waiting;
    await second?.();

    const holder = bench.path('holder.mts');
    const module = path.resolve('src/git/lock.ts');
    writeFileSync(
      holder,
      `import { lockFile } from ${JSON.stringify(module)}; await lockFile(process.argv[2]); console.log('held');\n`,
    );
    const child = spawn(process.execPath, [holder, file], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    child.kill('SIGKILL');
    const third = await lockFile(file);
    await third();
  });

  test('waiting can be stopped', async () => {
    const file = bench.path('lock');
    const release = await lockFile(file);
    await expect(lockFile(file, AbortSignal.timeout(100))).rejects.toMatchObject({ code: 'cancelled' });
    await release();
  });

  test('a queue goes on after a task that failed', async () => {
    const queue = createQueues();
    const order: number[] = [];
    const failed = queue('a', () => Promise.reject(new Error('x')));
    const next = queue('a', () => Promise.resolve(order.push(1)));
    await expect(failed).rejects.toThrow('x');
    await next;
    expect(order).toEqual([1]);
  });
});

describe('plumbing', () => {
  test('files, commits, ancestry and refs', async () => {
    const work = bench.path('work');
    const first = project(work, { 'dir/a.txt': 'one\n', '.github/cofferdam.yml': 'agent: x\n', 'a[b]*.txt': 'odd\n' });
    write(work, { 'dir/a.txt': 'two\n' });
    const second = commitAll(work, 'second');
    const gitDir = bare(work, bench.path('r.git'));
    const at = { gitDir, op };
    expect((await readFileAt(at, { commit: first, path: 'dir/a.txt' }))?.toString()).toBe('one\n');
    expect((await readFileAt(at, { commit: 'refs/heads/main', path: 'a[b]*.txt' }))?.toString()).toBe('odd\n');
    for (const missing of ['dir', 'none', '../a.txt', 'a*.txt']) {
      expect(await readFileAt(at, { commit: second, path: missing }).catch(() => null)).toBeNull();
    }
    await expect(readFileAt(at, { commit: first, path: 'dir/a.txt', maxBytes: 2 })).rejects.toMatchObject({ op });
    expect(await isAncestor(at, first, second)).toBe(true);
    expect(await isAncestor(at, second, first)).toBe(false);
    await expect(isAncestor(at, 'e'.repeat(40), first)).rejects.toMatchObject({ op });
    const { tree } = await readCommit(at, second);
    const person = { name: 'a [bot]', email: 'a@b.test' };
    const made = await commitTree(at, { tree, parents: [second], message: 'm\n', person, date: new Date(86_400_000) });
    expect(await readCommit(at, made)).toEqual({ tree, parents: [second] });
    await updateRef(at, { ref: 'refs/heads/x', to: made, expected: null });
    await expect(updateRef(at, { ref: 'refs/heads/x', to: first, expected: null })).rejects.toMatchObject({ op });
    await updateRef(at, { ref: 'refs/heads/x', to: first, expected: made });
    expect(run(['rev-parse', 'refs/heads/x'], { cwd: gitDir })).toBe(first);
  });

  test.each([
    ['refs/heads/main', true],
    ['refs/heads/feature/ü', true],
    ['refs/pull/7/head', true],
    ['main', false],
    ['refs/heads/a..b', false],
    ['refs/heads/a.lock', false],
    ['refs/heads/.a', false],
    ['refs/heads/a/', false],
    ['refs/heads/a b', false],
    ['refs/heads/a~1', false],
    ['refs/heads/a@{1}', false],
    ['refs/heads/a\\b', false],
    ['refs/heads/a*', false],
    ['refs/heads/a:refs/heads/b', false],
  ])('%s is a ref: %s', (ref, valid) => {
    expect(validRef(ref)).toBe(valid);
  });
});
