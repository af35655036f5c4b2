import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createAuditReader, describeReading, readAuditFile, type Reading } from '../../src/audit/read.ts';
import { allAttempts } from '../../src/audit/story/network.ts';
import { createStory, type RunStory } from '../../src/audit/story/story.ts';
import { verifyAuditFile } from '../../src/audit/verify.ts';
import type { AuditEntry } from '../../src/domain/audit.ts';
import type { EventType } from '../../src/domain/events/events.ts';
import { COMMIT, directory, openLog, putAll, WHOLE_RUN, type Directory } from './run-log.ts';

async function wholeRun(dir: Directory): Promise<string> {
  const log = await openLog(dir);
  await putAll(log, WHOLE_RUN);
  await log.seal();
  return log.file;
}

async function told(file: string): Promise<{ story: RunStory; reading: Reading }> {
  const teller = createStory();
  let reading = createAuditReader().reading();
  for await (const piece of readAuditFile(file)) {
    for (const event of piece.events) teller.take(event);
    reading = piece.reading;
  }
  return { story: teller.story(), reading };
}

/** The story of bytes that come in pieces. */
function fed(pieces: readonly Uint8Array[]): { story: RunStory; reading: Reading } {
  const reader = createAuditReader();
  const teller = createStory();
  for (const piece of pieces) for (const event of reader.feed(piece)) teller.take(event);
  return { story: teller.story(), reading: reader.reading() };
}

describe('the reader', () => {
  it('reads a whole file and agrees with the verifier on its head', async () => {
    await using dir = await directory();
    const file = await wholeRun(dir);
    const { reading } = await told(file);
    const verified = await verifyAuditFile({ file });
    expect(reading).toMatchObject({ lines: WHOLE_RUN.length + 1, irregular: 0, open: 0, skipped: 0 });
    expect(`sha256:${reading.head}`).toBe(verified.head);
    expect(describeReading(reading, true)).toEqual([]);
  });

  it('tells the same story however the bytes are cut', async () => {
    await using dir = await directory();
    const bytes = await readFile(await wholeRun(dir));
    const whole = fed([bytes]);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: bytes.length }), { maxLength: 30 }), (cuts) => {
        const ends = [0, ...cuts.sort((a, b) => a - b), bytes.length];
        const pieces = ends.slice(1).map((end, index) => bytes.subarray(ends[index], end));
        expect(fed(pieces)).toEqual(whole);
      }),
      { numRuns: 40 },
    );
  });

  it('opens a file that is cut at any byte, and says so', async () => {
    await using dir = await directory();
    const bytes = await readFile(await wholeRun(dir));
    fc.assert(
      fc.property(fc.integer({ min: 0, max: bytes.length }), (end) => {
        const { reading, story } = fed([bytes.subarray(0, end)]);
        const lines = bytes.subarray(0, end).filter((byte) => byte === 10).length;
        expect([reading.lines, story.events, reading.irregular]).toEqual([lines, lines, 0]);
        const atLineEnd = end === 0 || bytes[end - 1] === 10;
        expect(describeReading(reading, true).length > 0).toBe(!atLineEnd);
        expect(describeReading(reading, false)).toEqual([]);
      }),
      { numRuns: 200 },
    );
  });

  it('says which line was changed, added, taken out or made unreadable, and reads on', async () => {
    await using dir = await directory();
    const lines = (await readFile(await wholeRun(dir), 'utf8')).trimEnd().split('\n');
    const odd = (changed: string[]): Reading => fed([Buffer.from(changed.map((line) => `${line}\n`).join(''))]).reading;
    const third = lines[2] ?? '';
    expect(odd(lines.with(2, third.replace('spec', 'spex'))).irregularities[0]).toMatchObject({ line: 4 });
    expect(odd(lines.toSpliced(2, 1)).irregularities[0]).toMatchObject({ line: 3 });
    expect(odd(lines.toSpliced(2, 0, third)).irregularities[0]).toMatchObject({ line: 4 });
    expect(odd(lines.with(2, 'nonsense')).irregularities[0]).toEqual({ line: 3, message: 'not JSON' });
    expect(odd(lines.with(2, '{"seq":2}')).irregularities[0]?.message).toContain('not an audit event');
    const long = odd(lines.with(2, `{"x":"${'x'.repeat(1_100_000)}"}`));
    expect([long.irregularities[0], long.lines]).toEqual([{ line: 3, message: 'the line is too long' }, lines.length]);
    expect(odd(lines.map(() => 'x')).irregularities).toHaveLength(20);
  });

  it('may begin in the middle, and says how much is missing', async () => {
    await using dir = await directory();
    const lines = (await readFile(await wholeRun(dir), 'utf8')).trimEnd().split('\n').slice(10);
    const reader = createAuditReader({ partial: true });
    reader.feed(Buffer.from(lines.map((line) => `${line}\n`).join('')));
    expect(reader.reading()).toMatchObject({ skipped: 10, irregular: 0 });
    expect(describeReading(reader.reading(), true)).toEqual(['the first 10 events are not here']);
  });
});

describe('the story', () => {
  it('has what a tool call was given and gave, and what a command of the host printed', async () => {
    await using dir = await directory();
    const { story } = await told(await wholeRun(dir));
    const of = (title: string) => story.activity.entries.find((entry) => entry.title === title);
    expect(of('npm test')).toMatchObject({ voice: 'agent', input: 'command: npm test\ncwd: /workspace/repo' });
    expect(of('npm test')?.text).toContain('9 passing');
    expect(of('npm ci')).toMatchObject({ voice: 'host', text: 'added 3 packages in 2s\n' });
  });

  it('has the steps with their durations', async () => {
    await using dir = await directory();
    const { story } = await told(await wholeRun(dir));
    expect(story.steps.map((step) => [step.name, step.state])).toEqual(
      ['mirror', 'spec', 'sandbox', 'clone', 'setup', 'agent', 'harvest', 'verify'].map((name) => [name, 'done']),
    );
    expect(story.steps[5]).toMatchObject({ durationMs: 1_400 });
  });

  it('keeps what the agent says apart from what the host saw', async () => {
    await using dir = await directory();
    const { story } = await told(await wholeRun(dir));
    const agent = story.activity.entries
      .filter((entry) => entry.voice === 'agent')
      .map((entry) => [entry.kind, entry.title, entry.outcome]);
    expect(agent).toEqual([
      ['message', 'says', 'none'],
      ['tool', 'npm test', 'ok'],
      ['tool', 'curl https://telemetry.example/beacon', 'failed'],
      ['message', 'says', 'none'],
    ]);
    const commands = story.activity.entries.filter((entry) => entry.kind === 'command');
    expect(commands.map((entry) => [entry.title, entry.outcome, entry.voice])).toEqual([
      ['clone http://git.cofferdam.internal/octo/kettle.git', 'ok', 'host'],
      ['npm ci', 'ok', 'host'],
    ]);
  });

  it('counts hosts, bytes and denials, and does not count the self-test as the task', async () => {
    await using dir = await directory();
    const { story } = await told(await wholeRun(dir));
    const { hosts } = story.network;
    expect(hosts.find((host) => host.host === 'mirror.example')).toMatchObject({
      allowed: 2,
      bytesIn: 2_995_137,
      bytesOut: 2_065,
      denied: 0,
    });
    expect(hosts.find((host) => host.host === '1.1.1.1')).toMatchObject({ denied: 3, probes: 4 });
    expect(hosts.find((host) => host.host === 'telemetry.example')).toMatchObject({
      denied: 1,
      reasons: { not_allowed: 1 },
    });
    expect(allAttempts(story.network)).toBe(1);
    const denials = story.activity.entries.filter((entry) => entry.kind === 'denied').map((entry) => entry.title);
    expect(denials).toEqual(['telemetry.example']);
  });

  it('counts an attempt on an address of the self-test when it is more than the self-test made', async () => {
    await using dir = await directory();
    const log = await openLog(dir);
    await putAll(log, WHOLE_RUN);
    const decision = { allow: false as const, rule: 'default', reason: 'ip_literal' as const };
    const data = { of: 'egress.connect', host: '169.254.169.254', port: 80, more: 500, count: 502 };
    await log.put({ zone: 'gateway', type: 'egress.repeated', decision, data });
    await log.seal();
    const { story } = await told(log.file);
    expect(allAttempts(story.network)).toBe(1 + 502 - 4);
    expect(
      story.activity.entries.filter((entry) => entry.kind === 'denied').map((entry) => [entry.title, entry.count]),
    ).toEqual([
      ['telemetry.example', 1],
      ['169.254.169.254:80', 500],
    ]);
  });

  it('has money over time, against its cap, with what was set aside', async () => {
    await using dir = await directory();
    const { story } = await told(await wholeRun(dir));
    const { cap, spent, held, turns, points, inputTokens } = story.spending;
    expect({ cap, spent, held, turns, inputTokens }).toEqual({
      cap: 2_000_000,
      spent: 50_000,
      held: 0,
      turns: 2,
      inputTokens: 15_000,
    });
    expect(points.map((point) => [point.spent, point.held])).toEqual([
      [0, 840_000],
      [23_460, 0],
      [23_460, 840_000],
      [50_000, 0],
    ]);
  });

  it('has the outcome, the files, the verification and the checkpoint that the verifier finds', async () => {
    await using dir = await directory();
    const file = await wholeRun(dir);
    const { story } = await told(file);
    const { outline } = story;
    expect(outline).toMatchObject({
      commit: COMMIT,
      outcome: { state: 'succeeded', reason: undefined, error: undefined },
      files: [{ path: 'src/timer.js', additions: 7, deletions: 3 }],
      checks: [{ command: 'npm test', exitCode: 0, durationMs: 1_900 }],
      manifest: { requester: 'alice', agent: 'opencode', timeoutMs: 300_000, thread: { number: 12 } },
    });
    expect([outline.checkpoint]).toEqual((await verifyAuditFile({ file })).checkpoints);
    expect(outline.selfTests.map((test) => [test.role, test.ok])).toEqual([
      ['agent', true],
      ['verify', true],
    ]);
  });

  it('has the processes that the kernel reported, apart from the commands that the host ran', async () => {
    await using dir = await directory();
    const log = await openLog(dir);
    const hint = (type: EventType, data: Record<string, unknown>): AuditEntry => ({
      zone: 'sandbox',
      source: 'sandbox',
      type,
      data: { role: 'agent', ...data },
    });
    await putAll(log, [
      ...WHOLE_RUN,
      hint('process.start', { 'process.pid': 7, 'process.command_args': ['npm', 'test'] }),
      hint('process.start', { 'process.pid': 8, 'process.parent_pid': 7, 'process.command_args': ['node', '--test'] }),
      hint('process.exit', { 'process.pid': 8, 'process.command': 'node', 'process.exit.code': 1 }),
      hint('process.exit', { 'process.pid': 7, 'process.command': 'npm', 'process.exit.signal': 9 }),
      hint('kernel.connect', { 'process.pid': 8, count: 3 }),
      hint('kernel.gap', { reason: 'dropped', count: 5 }),
      hint('kernel.end', { complete: false }),
    ]);
    await log.seal();
    const { processes, activity } = (await told(log.file)).story;
    expect(processes.processes.map((one) => [one.command, one.parent, one.end, one.failed])).toEqual([
      ['npm test', undefined, 'signal 9', true],
      ['node --test', 7, 'exit 1', true],
    ]);
    expect(processes).toMatchObject({ connects: 3, gaps: 5, complete: false });
    expect(activity.entries.filter((entry) => entry.kind === 'command')).toHaveLength(2);
  });

  it('is bounded, whatever a run writes, and survives data of any shape', () => {
    const teller = createStory();
    const types = [
      'run.manifest',
      'run.step',
      'run.end',
      'agent.tool',
      'agent.plan',
      'process.start',
      'process.exit',
      'llm.reserve',
      'llm.settle',
      'egress.connect',
      'egress.repeated',
      'sandbox.self_test',
      'verify.command',
      'harvest.done',
      'seal',
    ];
    const base = { prev: '0'.repeat(64), at: '', runId: 'r0123456789ab', zone: 'worker', source: 'host' } as const;
    fc.assert(
      fc.property(fc.constantFrom(...types), fc.dictionary(fc.string(), fc.anything()), fc.nat(), (type, data, seq) => {
        teller.take({ ...base, runId: base.runId as never, seq, mono: seq, type, data });
      }),
      { numRuns: 500 },
    );
    for (let seq = 0; seq < 60_000; seq += 1) {
      const data = { callId: `c${seq}`, id: `t${seq}`, host: `h${seq}.example`, port: 443, text: 'x'.repeat(10) };
      const type = ['agent.text', 'llm.reserve', 'egress.connect', 'llm.settle'][seq % 4] ?? '';
      const decision =
        type === 'egress.connect' ? { allow: false as const, rule: 'r', reason: 'not_allowed' as const } : undefined;
      teller.take({
        ...base,
        runId: base.runId as never,
        seq,
        mono: seq,
        type,
        data,
        ...(decision === undefined ? {} : { decision }),
      });
    }
    const story = teller.story();
    const { entries } = story.activity;
    expect(entries.length).toBeGreaterThan(18_000);
    expect(entries.length).toBeLessThanOrEqual(20_000);
    const characters = entries.reduce((sum, entry) => sum + (entry.text?.length ?? 0) + (entry.input?.length ?? 0), 0);
    expect(characters).toBeLessThanOrEqual(8 * 1_048_576);
    expect(story.activity.dropped).toBeGreaterThan(10_000);
    expect(story.network.hosts.length).toBeLessThanOrEqual(2_000);
    expect(story.network.overflow).toBeGreaterThan(10_000);
    expect(story.spending.calls).toHaveLength(5_000);
    expect(story.spending.points.length).toBeLessThanOrEqual(2_000);
  });
});
