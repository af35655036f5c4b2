import { describe, expect, it, vi } from 'vitest';
import { CofferdamError } from '../../src/domain/errors.ts';
import { Digest } from '../../src/domain/ids.ts';
import { execute } from '../../src/run/execute.ts';
import { finalState } from '../../src/run/outcome.ts';
import { JOB, SPEC, world, type Scene } from './fakes.ts';

/** Time is up soon. */
const SHORT: Scene['spec'] = { limits: { ...SPEC.limits, timeoutMs: 500 } };

const idle = (): AbortSignal => new AbortController().signal;

/** An agent that works until it is told to stop. */
const endless: NonNullable<Scene['agent']> = (signal) =>
  new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve({ stop: 'cancelled', summary: '' }), { once: true });
  });

/** Its like, whose run is stopped once it works. */
function stopped(stop: AbortController, reason?: unknown): NonNullable<Scene['agent']> {
  return (signal) => {
    setImmediate(() => stop.abort(reason));
    return endless(signal);
  };
}

const done = () => Promise.resolve({ exitCode: 0, timedOut: false });

/** A command that goes on until it is ended, as a sandbox's does. */
const cutOff: NonNullable<Scene['exec']> = ({ signal }) =>
  new Promise((_, reject) => {
    const cancelled = new CofferdamError('cancelled', 'sandbox.exec', 'the command was cancelled');
    signal?.addEventListener('abort', () => reject(cancelled), { once: true });
  });

describe('execute', () => {
  it('walks all steps in order, delivers, and leaves nothing open', async () => {
    const w = world();
    const result = await execute(w.ports, JOB, idle());
    expect(result).toMatchObject({
      state: 'succeeded',
      pull: { number: 2 },
      branch: 'cofferdam/1-x-abc',
      agentSummary: 'done',
    });
    expect(w.steps.filter((s) => s.state === 'done').map((s) => s.step)).toEqual([
      'mirror',
      'spec',
      'gateway',
      'sandbox',
      'self_test',
      'clone',
      'agent',
      'harvest',
      'verify',
      'publish',
      'destroy',
      'seal',
      'report',
    ]);
    expect([...w.open]).toEqual([]);
    expect(w.sealed).toBe(1);
    expect(result.usage).toEqual({ cost: 20, turns: 2, inputTokens: 2, outputTokens: 2 });
    expect(result.egress).toEqual([{ host: 'a.test', port: 443, allow: true, count: 2, bytesIn: 2, bytesOut: 2 }]);
  });

  it('records the manifest before anything is started, and the checkpoint before the commit is named', async () => {
    const w = world();
    await execute(w.ports, JOB, idle());
    const types = w.audit.map((e) => e.type);
    expect(types.indexOf('run.manifest')).toBeLessThan(types.indexOf('sandbox.create'));
    expect(types.indexOf('git.commit')).toBeLessThan(types.indexOf('harvest.done'));
    expect(types.at(-1)).toBe('run.end');
  });

  it('names the line of the checkpoint in the trailer, whatever is written while that line is synced', async () => {
    const w = world();
    const { openAudit, harvester } = w.ports;
    const lines: string[] = [];
    w.ports.openAudit = async (runId) => {
      const log = await openAudit(runId);
      return {
        ...log,
        append: async (entry) => {
          lines.push(entry.type);
          await log.append(entry);
          if (entry.type === 'git.commit') lines.push('kernel.open');
        },
        head: () => Digest.parse(`sha256:${String(lines.length - 1).padStart(64, '0')}`),
      };
    };
    let trailers: [string, string][] = [];
    w.ports.harvester = {
      harvest: (request) =>
        harvester.harvest({
          ...request,
          message: async (facts) => {
            const message = await request.message(facts);
            ({ trailers } = message);
            return message;
          },
        }),
    };
    await execute(w.ports, JOB, idle());
    expect(lines[lines.indexOf('git.commit') + 1]).toBe('kernel.open');
    const named = Object.fromEntries(trailers)['Cofferdam-Audit'] ?? '';
    expect(Number(named.replace('sha256:', ''))).toBe(lines.indexOf('git.commit'));
  });

  it('AUD-005 ends when a line cannot be written, whichever it is: nothing is left open, and nothing is published after that', async () => {
    const whole = world();
    await execute(whole.ports, JOB, idle());
    const published = whole.audit.findIndex(({ type, data }) => type === 'run.step' && data?.['step'] === 'publish');
    expect(published).toBeGreaterThan(10);
    for (let line = 0; line <= whole.audit.length; line += 1) {
      const w = world({ auditFailsAt: line });
      await expect(execute(w.ports, JOB, idle()), `line ${line}`).rejects.toMatchObject({ code: 'audit' });
      expect([...w.open], `line ${line}`).toEqual([]);
      expect([w.finished, w.sealed], `line ${line}`).toEqual([[], 0]);
      if (line <= whole.audit.findIndex(({ type }) => type === 'harvest.done'))
        expect(w.published, `line ${line}`).toEqual([]);
    }
    expect(whole.finished).toMatchObject([{ state: 'succeeded' }]);
  });

  const cases: { name: string; scene: Scene; state: string; reason?: string; code?: string; published: number }[] = [
    { name: 'no change', scene: { changed: false }, state: 'no_change', published: 0 },
    { name: 'no verify command', scene: { spec: { verify: [] } }, state: 'unverified', published: 1 },
    {
      name: 'verification fails',
      scene: { exec: (o) => Promise.resolve({ exitCode: o.argv[2] === 'npm test' ? 1 : 0, timedOut: false }) },
      state: 'verify_failed',
      published: 1,
    },
    {
      name: 'the agent dies without a change',
      scene: { agent: () => Promise.resolve({ stop: 'lost', summary: '' }), changed: false },
      state: 'failed',
      code: 'agent',
      published: 0,
    },
    {
      name: 'the agent dies with a change',
      scene: { agent: () => Promise.resolve({ stop: 'lost', summary: '' }) },
      state: 'succeeded',
      published: 1,
    },
    {
      name: 'time is up with work',
      scene: {
        spec: SHORT,
        agent: endless,
      },
      state: 'partial',
      reason: 'timeout',
      published: 1,
    },
    {
      name: 'time is up without work',
      scene: {
        spec: SHORT,
        agent: endless,
        changed: false,
      },
      state: 'timed_out',
      reason: 'timeout',
      published: 0,
    },
    {
      name: 'the agent says nothing any more, without a change',
      scene: { agent: () => Promise.resolve({ stop: 'idle', summary: '' }), changed: false },
      state: 'timed_out',
      reason: 'idle',
      published: 0,
    },
    {
      name: 'money is up with work',
      scene: { caps: 'max_cost', agent: endless },
      state: 'partial',
      reason: 'max_cost',
      published: 1,
    },
    {
      name: 'money is up without work',
      scene: { caps: 'max_cost', agent: endless, changed: false },
      state: 'over_budget',
      reason: 'max_cost',
      published: 0,
    },
    {
      name: 'turns are up',
      scene: { caps: 'max_turns', agent: endless },
      state: 'partial',
      reason: 'max_turns',
      published: 1,
    },
    {
      name: 'out of memory',
      scene: { sandboxEnded: Promise.resolve({ reason: 'oom' as const, message: '' }), agent: endless },
      state: 'failed',
      reason: 'oom',
      code: 'oom',
      published: 0,
    },
    { name: 'the self-test fails', scene: { selfTestOk: false }, state: 'failed', code: 'self_test', published: 0 },
    {
      name: 'a setup command fails',
      scene: {
        spec: { setup: ['false'] },
        exec: (o) => Promise.resolve({ exitCode: o.argv[2] === 'false' ? 1 : 0, timedOut: false }),
      },
      state: 'failed',
      code: 'setup',
      published: 0,
    },
    {
      name: 'the clone fails',
      scene: { exec: (o) => Promise.resolve({ exitCode: o.argv[3] === 'clone' ? 128 : 0, timedOut: false }) },
      state: 'failed',
      code: 'clone',
      published: 0,
    },
    {
      name: 'the mirror fails',
      scene: { failing: 'mirror', error: new CofferdamError('clone', 'git.mirror', 'empty') },
      state: 'failed',
      code: 'clone',
      published: 0,
    },
    {
      name: 'the repository file is wrong',
      scene: { failing: 'plan', error: new CofferdamError('repository_file', 'config', 'line 3') },
      state: 'refused',
      code: 'repository_file',
      published: 0,
    },
    {
      name: 'the gateway does not start',
      scene: { failing: 'gateway', error: new CofferdamError('gateway', 'x', 'y') },
      state: 'failed',
      code: 'gateway',
      published: 0,
    },
    {
      name: 'the sandbox does not start',
      scene: { failing: 'sandbox', error: new CofferdamError('sandbox', 'x', 'y') },
      state: 'failed',
      code: 'sandbox',
      published: 0,
    },
    {
      name: 'harvest refuses the result',
      scene: { failing: 'harvest', error: new CofferdamError('harvest', 'x', 'y') },
      state: 'failed',
      code: 'harvest',
      published: 0,
    },
    {
      name: 'GitHub refuses the push',
      scene: { publish: () => Promise.reject(new CofferdamError('github', 'x', 'y')) },
      state: 'failed',
      code: 'github',
      published: 1,
    },
  ];

  it.each(cases)('$name → $state', async ({ scene, state, reason, code, published }) => {
    const w = world(scene);
    const result = await execute(w.ports, JOB, idle());
    expect({ state: result.state, reason: result.reason, code: result.error?.code }).toEqual({ state, reason, code });
    expect(w.published).toHaveLength(published);
    expect(w.finished).toHaveLength(1);
    expect(w.sealed).toBe(1);
    expect([...w.open]).toEqual([]);
  });

  const protectedFile = [
    { path: 'package.json', status: 'modified' as const, additions: 1, deletions: 0, protectedClass: 'ci_code' },
  ];

  it('GIT-012 a result that must wait is kept and not published, and the record says why', async () => {
    const reasons = [{ file: '.github/workflows/ci.yml', risk: 'secrets' as const }];
    const w = world({ files: protectedFile, ci: { exposure: 'secrets', reasons } });
    const result = await execute(w.ports, JOB, idle());
    expect(result).toMatchObject({ state: 'held', held: { files: ['package.json'], ci: reasons } });
    expect(result.branch).toBeUndefined();
    expect([w.published.length, w.kept.length, w.noted.length]).toEqual([0, 1, 1]);
    expect(w.noted[0]).toMatchObject({ seal: { head: result.auditHead } });
    expect(w.audit.find((entry) => entry.type === 'publish.held')).toMatchObject({
      decision: { allow: false, rule: 'publish.hold: protected', reason: 'held' },
    });
    expect(w.finished).toMatchObject([{ state: 'held' }]);
    expect([...w.open]).toEqual([]);
  });

  it('code that executes in CI is pushed where CI has nothing to give', async () => {
    const w = world({ files: protectedFile });
    expect(await execute(w.ports, JOB, idle())).toMatchObject({ state: 'succeeded' });
    expect([w.published.length, w.kept.length]).toEqual([1, 0]);
  });

  it('what must wait and cannot is refused, not pushed', async () => {
    const w = world({ spec: { hold: 'always' }, noHeld: true });
    expect(await execute(w.ports, JOB, idle())).toMatchObject({ state: 'failed', error: { code: 'harvest' } });
    expect(w.published).toEqual([]);
  });

  it.each([
    ['a stop from outside', undefined, 'stopped'],
    ['the end of the worker', { keep: true, shutdown: true }, 'shutdown'],
  ])('%s ends a run without work, and nothing is left', async (_name, stopping, reason) => {
    const stop = new AbortController();
    const w = world({ agent: stopped(stop, stopping), changed: false });
    expect(await execute(w.ports, JOB, stop.signal)).toMatchObject({ state: 'cancelled', reason });
    expect([...w.open]).toEqual([]);
  });

  it.each([
    ['a plain stop', 'cancelled', { keep: false }, 'stopped', 0],
    ['a stop that keeps', 'partial', { keep: true }, 'stopped', 1],
    ['the end of the worker', 'partial', { keep: true, shutdown: true }, 'shutdown', 1],
  ])('%s of an agent with work: %s', async (_name, state, stopping, reason, published) => {
    const stop = new AbortController();
    const w = world({ agent: stopped(stop, stopping) });
    expect(await execute(w.ports, JOB, stop.signal)).toMatchObject({ state, reason });
    expect(w.published).toHaveLength(published);
    expect(w.steps.some(({ step }) => step === 'harvest')).toBe(published > 0);
    expect([...w.open]).toEqual([]);
  });

  it.each([
    [true, 'partial', 1],
    [false, 'cancelled', 0],
  ])('a stop in the middle of verification, keep %s: %s', async (keep, state, published) => {
    const stop = new AbortController();
    const w = world({
      exec: (options) => {
        if (options.argv[2] !== 'npm test') return Promise.resolve({ exitCode: 0, timedOut: false });
        stop.abort({ keep });
        return Promise.reject(new Error('cut off'));
      },
    });
    const result = await execute(w.ports, JOB, stop.signal);
    expect(result).toMatchObject({ state, reason: 'stopped' });
    expect(w.published).toHaveLength(published);
    expect([...w.open]).toEqual([]);
    const commands = w.audit.filter(({ type }) => type === 'process.start' || type === 'process.exit');
    expect(commands.filter(({ type }) => type === 'process.exit')).toHaveLength(commands.length / 2);
    expect(commands.at(-1)?.data).toMatchObject({ problem: 'interrupted', timedOut: false });
  });

  it.each([
    [true, 'partial', 1],
    [false, 'cancelled', 0],
  ])('a stop in the middle of the harvest, keep %s: %s', async (keep, state, published) => {
    const stop = new AbortController();
    const w = world({ spec: { verify: [] } });
    const { harvester } = w.ports;
    w.ports.harvester = {
      harvest: async (options) => {
        stop.abort({ keep });
        options.signal.throwIfAborted();
        return harvester.harvest(options);
      },
    };
    expect(await execute(w.ports, JOB, stop.signal)).toMatchObject({ state, reason: 'stopped' });
    expect([w.published.length, w.open.size]).toEqual([published, 0]);
  });

  it.each([
    [true, 'succeeded', 1],
    [false, 'cancelled', 0],
  ])('a stop in the middle of the publication, keep %s: %s', async (keep, state, published) => {
    const stop = new AbortController();
    const w = world();
    const { publisher } = w.ports;
    w.ports.publisher = {
      ...publisher,
      publish: (options) => {
        stop.abort({ keep });
        options.signal.throwIfAborted();
        return publisher.publish(options);
      },
    };
    expect(await execute(w.ports, JOB, stop.signal)).toMatchObject({ state });
    expect([w.published.length, w.open.size]).toEqual([published, 0]);
  });

  it.each([
    [true, 'partial', 'max_cost', 1],
    [false, 'cancelled', 'stopped', 0],
  ])('a stop while what is there at a cap is verified, keep %s: %s', async (keep, state, reason, published) => {
    const stop = new AbortController();
    const w = world({
      caps: 'max_cost',
      agent: endless,
      exec: (options) => {
        if (options.argv[2] === 'npm test') stop.abort({ keep });
        return Promise.resolve({ exitCode: 0, timedOut: false });
      },
    });
    expect(await execute(w.ports, JOB, stop.signal)).toMatchObject({ state, reason });
    expect(w.published).toHaveLength(published);
  });

  it('work that is there at a cap is delivered, though verification takes all the time there is', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const timeout = vi.spyOn(AbortSignal, 'timeout').mockImplementation((ms) => {
      const controller = new AbortController();
      setTimeout(() => controller.abort(new Error('time is up')), ms);
      return controller.signal;
    });
    try {
      const late: boolean[] = [];
      const hour = 3_600_000;
      const w = world({
        spec: { limits: { ...SPEC.limits, timeoutMs: hour, stepMs: hour } },
        caps: 'max_cost',
        agent: endless,
        exec: (options) => (options.argv[2] === 'npm test' ? cutOff(options) : done()),
      });
      const { publisher } = w.ports;
      w.ports.publisher = {
        ...publisher,
        publish: (options) => (late.push(options.signal.aborted), publisher.publish(options)),
      };
      const running = execute(w.ports, JOB, idle());
      await vi.waitFor(() => expect(w.execs.some((argv) => argv[2] === 'npm test')).toBe(true));
      await vi.advanceTimersByTimeAsync(10 * 60_000);
      expect(await running).toMatchObject({ state: 'partial', reason: 'max_cost', verification: [] });
      expect(late).toEqual([false]);
    } finally {
      timeout.mockRestore();
      vi.useRealTimers();
    }
  });

  it('a verification that takes too long is one that failed, and the work is delivered', async () => {
    const w = world({
      spec: { limits: { ...SPEC.limits, stepMs: 30 } },
      exec: (options) => (options.argv[2] === 'npm test' ? cutOff(options) : done()),
    });
    expect(await execute(w.ports, JOB, idle())).toMatchObject({
      state: 'verify_failed',
      verification: [{ command: 'npm test', exitCode: -1, tail: 'ended early: timeout' }],
    });
    expect([w.published.length, w.open.size]).toEqual([1, 0]);
    expect(w.audit.filter(({ type }) => type === 'verify.command')).toMatchObject([{ data: { command: 'npm test' } }]);
  });

  it.each([true, false])('a stop ends the gateway at once unless the work is kept (%s)', async (keep) => {
    const stop = new AbortController();
    const w = world({ agent: stopped(stop, { keep }) });
    const { gateways } = w.ports;
    let gateway: AbortSignal | undefined;
    w.ports.gateways = { open: (options) => ((gateway ??= options.signal), gateways.open(options)) };
    await execute(w.ports, JOB, stop.signal);
    expect(gateway?.aborted).toBe(!keep);
  });

  it('a stop before the agent began leaves nothing to keep', async () => {
    const stop = new AbortController();
    const w = world({
      spec: { setup: ['npm ci'] },
      exec: (options) => {
        if (options.argv[2] === 'npm ci') stop.abort({ keep: true });
        return Promise.resolve({ exitCode: 0, timedOut: false });
      },
    });
    expect(await execute(w.ports, JOB, stop.signal)).toMatchObject({ state: 'cancelled' });
    expect([w.published.length, w.open.size]).toEqual([0, 0]);
  });

  it('a plan delivers words, whatever the agent changed', async () => {
    const w = world({ agent: () => Promise.resolve({ stop: 'end_turn', summary: '1. do it' }) });
    const result = await execute(w.ports, { ...JOB, flags: { plan: 'true' } }, idle());
    expect(result).toMatchObject({ state: 'no_change', agentSummary: '1. do it' });
    expect(w.published).toEqual([]);
  });

  it('an agent that asks instead of guessing waits for an answer', async () => {
    const agent = () => Promise.resolve({ stop: 'end_turn', summary: 'Hm.\nNEEDS INPUT: which database?' });
    expect(await execute(world({ agent, changed: false }).ports, JOB, idle())).toMatchObject({ state: 'needs_input' });
    expect(await execute(world({ agent }).ports, JOB, idle())).toMatchObject({ state: 'succeeded' });
  });

  it('a report that GitHub does not take does not undo the run', async () => {
    const w = world({ failing: 'finish', error: new CofferdamError('github', 'x', 'y') });
    expect(await execute(w.ports, JOB, idle())).toMatchObject({ state: 'succeeded', error: { code: 'github' } });
  });

  it('kills what the agent left before the tree is brought out', async () => {
    const w = world();
    await execute(w.ports, JOB, idle());
    expect(w.execs.map((argv) => argv.join(' '))).toContain('/bin/bash -c kill -KILL -1');
  });
});

describe('finalState', () => {
  it('never calls a run with an error a success', () => {
    for (const changed of [true, false])
      for (const verified of [true, false, undefined])
        for (const reason of ['timeout', 'max_cost', undefined] as const)
          expect(['failed', 'refused', 'cancelled']).toContain(
            finalState({ changed, verified, reason, agentFailed: false, errorCode: 'harvest' }),
          );
  });
});
