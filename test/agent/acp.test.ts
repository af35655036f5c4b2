import { setImmediate as tick } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type * as acp from '@agentclientprotocol/sdk';
import { endTurn, goodAgent, hold, pipes, rawAgent, textChunk } from './scripted-agent.ts';

describe('a turn', () => {
  test('opens without capabilities, sets the mode, prompts, and keeps the last text as the summary', async () => {
    const seen: Parameters<typeof goodAgent>[1] = {};
    const agent = goodAgent(async ({ client, sessionId }) => {
      const say = (text: string): Promise<void> =>
        client.notify('session/update', {
          sessionId,
          update: { sessionUpdate: 'agent_message_chunk', content: { type: 'text', text } },
        });
      await say('I will look. ');
      await client.notify('session/update', {
        sessionId,
        update: { sessionUpdate: 'tool_call', toolCallId: 't1', title: 'read a.ts', kind: 'read', status: 'pending' },
      });
      await client.notify('session/update', {
        sessionId,
        update: { sessionUpdate: 'tool_call_update', toolCallId: 't1', status: 'completed' },
      });
      await say('Done: ');
      await say('the test passes.');
      return 'end_turn';
    }, seen);
    const { outcome, messages } = await hold(agent, { modeId: 'agent-full-access' });
    expect(outcome).toEqual({ stop: 'end_turn', summary: 'Done: the test passes.' });
    expect(messages).toEqual([
      { kind: 'text', text: 'I will look. ' },
      { kind: 'tool', id: 't1', title: 'read a.ts', status: 'pending', toolKind: 'read' },
      { kind: 'tool', id: 't1', title: 'read a.ts', status: 'completed', toolKind: 'read' },
      { kind: 'text', text: 'Done: the test passes.' },
    ]);
    expect(seen.initialize?.clientCapabilities).toMatchObject({
      fs: { readTextFile: false, writeTextFile: false },
      terminal: false,
    });
    expect(seen.session).toMatchObject({ cwd: '/clone/repo', mcpServers: [] });
    expect(seen.mode).toBe('agent-full-access');
    expect(seen.prompt?.prompt).toEqual([{ type: 'text', text: 'Make the test pass.' }]);
    expect(agent.toAgent.writableEnded).toBe(true);
  });

  test('plans and thoughts are handed on, a repeated plan once', async () => {
    const plan = { sessionUpdate: 'plan', entries: [{ content: 'look', status: 'in_progress', priority: 'high' }] };
    const agent = rawAgent(({ update, write, promptId }) => {
      update({ sessionUpdate: 'agent_thought_chunk', content: { type: 'text', text: 'hm' } });
      update(plan);
      update(plan);
      write(endTurn(promptId));
    });
    const { messages } = await hold(agent);
    expect(messages).toEqual([
      { kind: 'thought', text: 'hm' },
      { kind: 'plan', entries: [{ content: 'look', status: 'in_progress' }] },
    ]);
  });

  const kinds: [name: string, options: unknown, expected: unknown][] = [
    [
      'allow_once before allow_always, whatever the ids say',
      [
        { optionId: 'allow_once', kind: 'reject_once', name: 'x' },
        { optionId: '', kind: 'allow_always', name: 'x' },
        { optionId: '__proto__', kind: 'allow_once', name: 'reject' },
      ],
      { outcome: 'selected', optionId: '__proto__' },
    ],
    [
      'allow_always when there is no other',
      [{ optionId: 'proceed', kind: 'allow_always' }],
      { outcome: 'selected', optionId: 'proceed' },
    ],
    ['nothing to allow', [{ optionId: 'allow', kind: 'reject_once' }], { outcome: 'cancelled' }],
    ['an id that is no text', [{ optionId: 7, kind: 'allow_once' }], { outcome: 'cancelled' }],
    ['an id without end', [{ optionId: 'x'.repeat(5000), kind: 'allow_once' }], { outcome: 'cancelled' }],
    ['no list', { kind: 'allow_once' }, { outcome: 'cancelled' }],
    [
      'odd members',
      [null, 3, ['allow_once'], { kind: 'allow_once', optionId: 'ok' }],
      { outcome: 'selected', optionId: 'ok' },
    ],
  ];
  test.each(kinds)('permission: %s', async (_name, options, expected) => {
    const answers: unknown[] = [];
    const agent = rawAgent(
      ({ write }) => {
        write(
          JSON.stringify({
            jsonrpc: '2.0',
            id: 'ask',
            method: 'session/request_permission',
            params: { sessionId: 's-1', options },
          }),
        );
      },
      (call) => {
        if (call.id !== 'ask') return;
        answers.push(call.result);
        agent.fromAgent.write(`${endTurn(2)}\n`);
      },
    );
    const { outcome } = await hold(agent);
    expect(outcome.stop).toBe('end_turn');
    expect(answers).toEqual([{ outcome: expected }]);
  });

  test('file and terminal requests hear that there is no such method', async () => {
    const errors: unknown[] = [];
    const methods = [
      'fs/read_text_file',
      'fs/write_text_file',
      'terminal/create',
      'elicitation/create',
      `x${'y'.repeat(1000)}`,
    ];
    const agent = rawAgent(
      ({ write }) => {
        methods.forEach((method, id) => {
          write(
            JSON.stringify({ jsonrpc: '2.0', id: `r${id}`, method, params: { sessionId: 's-1', path: '/etc/passwd' } }),
          );
        });
      },
      (call) => {
        if (call.error === undefined) return;
        errors.push((call.error as { code: number }).code);
        if (errors.length === methods.length) agent.fromAgent.write(`${endTurn(2)}\n`);
      },
    );
    expect((await hold(agent)).outcome.stop).toBe('end_turn');
    expect(errors).toEqual(methods.map(() => -32601));
  });
});

describe('an early end', () => {
  test('cancel: session/cancel is sent and the last words are kept', async () => {
    const stop = new AbortController();
    const agent = goodAgent(async ({ client, sessionId, cancelled }) => {
      await client.notify('session/update', { sessionId, update: textChunk('half done') as acp.SessionUpdate });
      stop.abort();
      await cancelled;
      await client.notify('session/update', { sessionId, update: textChunk(', stopping') as acp.SessionUpdate });
      return 'cancelled';
    }, {});
    const { outcome } = await hold(agent, { signal: stop.signal });
    expect(outcome).toEqual({ stop: 'cancelled', summary: 'half done, stopping' });
  });

  test('a session is given its title before the prompt, and an agent that takes none does its work all the same', async () => {
    const methods: unknown[] = [];
    const agent = rawAgent(
      ({ write, promptId }) => write(endTurn(promptId)),
      ({ id, method, params }) => {
        methods.push(method);
        if (method !== 'session/set_title') return;
        expect(params).toEqual({ sessionId: 's-1', title: 'T' });
        agent.fromAgent.write(`${JSON.stringify({ jsonrpc: '2.0', id, result: {} })}\n`);
      },
    );
    expect((await hold(agent, { title: 'T' })).outcome).toEqual({ stop: 'end_turn', summary: '' });
    expect(methods).toEqual(['initialize', 'session/new', 'session/set_title', 'session/prompt']);
    const other = goodAgent(() => Promise.resolve('end_turn'), {});
    expect((await hold(other, { title: 'T' })).outcome).toEqual({ stop: 'end_turn', summary: '' });
  });

  test('cancel: an agent that ignores it is not waited for', async () => {
    const stop = new AbortController();
    const agent = rawAgent(() => {
      stop.abort();
    });
    const { outcome } = await hold(agent, { signal: stop.signal, timeouts: { cancel: 50 } });
    expect(outcome).toEqual({ stop: 'cancelled', summary: '' });
  });

  test('cancel before and during the opening', async () => {
    expect((await hold(pipes(), { signal: AbortSignal.abort() })).outcome.stop).toBe('cancelled');
    const stop = new AbortController();
    const held = hold(pipes(), { signal: stop.signal });
    await tick();
    stop.abort();
    expect((await held).outcome.stop).toBe('cancelled');
  });

  test('hang: no answer to initialize', async () => {
    const { outcome } = await hold(pipes(), { timeouts: { initialize: 50 } });
    expect(outcome).toMatchObject({ stop: 'error', error: 'the agent did not answer initialize within 50 ms' });
  });

  test('hang: no answer to session/new', async () => {
    const agent = pipes();
    agent.fromAgent.write(`${JSON.stringify({ jsonrpc: '2.0', id: 0, result: { protocolVersion: 1 } })}\n`);
    const { outcome } = await hold(agent, { timeouts: { session: 50 } });
    // The answer came before the question, so it answered nothing.
    expect(outcome.stop).toBe('error');
  });

  test('hang: silence while it works, after the messages that put the end off', async () => {
    const agent = rawAgent(({ update }) => {
      update(textChunk('thinking'));
    });
    const { outcome } = await hold(agent, { timeouts: { idle: 1_000, cancel: 10 } });
    expect(outcome).toEqual({ stop: 'idle', error: 'no message from the agent for 1000 ms', summary: 'thinking' });
  });

  test('lost: it exits at once', async () => {
    const agent = pipes();
    agent.fromAgent.end();
    expect((await hold(agent)).outcome.stop).toBe('lost');
  });

  test('lost: its streams break during the turn', async () => {
    const broken = rawAgent(({ pipes: wires }) => wires.fromAgent.destroy(new Error('reset')));
    expect((await hold(broken)).outcome.stop).toBe('lost');
    const deaf = pipes();
    deaf.toAgent.destroy();
    expect((await hold(deaf)).outcome.stop).toBe('lost');
  });

  test('another version of the protocol', async () => {
    const agent = pipes();
    agent.toAgent.once('data', () => {
      agent.fromAgent.write(`${JSON.stringify({ jsonrpc: '2.0', id: 0, result: { protocolVersion: 99 } })}\n`);
    });
    expect((await hold(agent)).outcome).toMatchObject({
      stop: 'error',
      error: 'the agent does not speak version 1 of the protocol',
    });
  });

  test('an error as the answer, with a message that is no text', async () => {
    const agent = rawAgent(({ write, promptId }) => {
      write(JSON.stringify({ jsonrpc: '2.0', id: promptId, error: { code: -32000, message: 'no key' } }));
    });
    expect((await hold(agent)).outcome).toMatchObject({
      stop: 'error',
      error: 'the agent answered with error -32000: no key',
    });
    const odd = rawAgent(({ write, promptId }) => {
      write(JSON.stringify({ jsonrpc: '2.0', id: promptId, error: { code: 'x', message: { deep: true } } }));
    });
    expect((await hold(odd)).outcome).toMatchObject({ stop: 'error' });
  });
});
