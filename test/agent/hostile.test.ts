import { Readable } from 'node:stream';
import { describe, expect, test, vi } from 'vitest';
import { endTurn, hold, pipes, rawAgent, textChunk } from './scripted-agent.ts';

describe('hostile bytes', () => {
  test('RES-005: a line of 100 MB is skipped in bounded memory and the turn goes on', async () => {
    const block = Buffer.alloc(65_536, 'x');
    const before = process.memoryUsage().arrayBuffers;
    let peak = 0;
    const agent = rawAgent(({ pipes: wires, update, write, promptId }) => {
      let left = 1_600;
      const flood = (): void => {
        peak = Math.max(peak, process.memoryUsage().arrayBuffers);
        while (left > 0) {
          left -= 1;
          if (!wires.fromAgent.write(block)) {
            wires.fromAgent.once('drain', flood);
            return;
          }
        }
        write('');
        update(textChunk('still here'));
        write(endTurn(promptId));
      };
      flood();
    });
    const { outcome } = await hold(agent);
    expect(outcome).toEqual({ stop: 'end_turn', summary: 'still here', dropped: 1 });
    expect(peak - before).toBeLessThan(60 * 2 ** 20);
  });

  test('a legal line of several megabytes in one-byte pieces at its end is read', async () => {
    const agent = rawAgent(({ pipes: wires, promptId }) => {
      const update = { sessionUpdate: 'tool_call', toolCallId: 't', title: 'edit', content: 'y'.repeat(5 * 2 ** 20) };
      const line = Buffer.from(`${JSON.stringify({ jsonrpc: '2.0', method: 'session/update', params: { update } })}\n`);
      wires.fromAgent.write(line.subarray(0, -2_000));
      for (const byte of line.subarray(-2_000)) wires.fromAgent.write(Buffer.from([byte]));
      wires.fromAgent.write(`${endTurn(promptId)}\n`);
    });
    const { messages } = await hold(agent);
    expect(messages).toEqual([{ kind: 'tool', id: 't', title: 'edit', status: 'pending' }]);
  });

  test('a 10 MB line that is the answer itself is no answer', async () => {
    const agent = rawAgent(({ write, promptId }) => {
      write(
        JSON.stringify({ jsonrpc: '2.0', id: promptId, result: { stopReason: 'end_turn', _meta: 'x'.repeat(1e7) } }),
      );
    });
    expect((await hold(agent, { timeouts: { idle: 3_000, cancel: 10 } })).outcome).toMatchObject({
      stop: 'idle',
      dropped: 1,
    });
  });

  test('RES-009: garbage and depth between messages are dropped, counted, and never logged', async () => {
    const logged = vi.spyOn(console, 'error').mockImplementation(() => undefined);
    const garbage = [
      'npm warn something',
      '\u001b[2J\u0000\u0007',
      '[]',
      '[{"jsonrpc":"2.0","id":2,"result":{"stopReason":"refusal"}}]',
      'null',
      '3',
      '{"jsonrpc":"1.0","id":2,"result":{}}',
      '{"id":2,"result":{"stopReason":"refusal"}}',
      '{"jsonrpc":"2.0","id":77,"result":{"stopReason":"refusal"}}',
      '{"jsonrpc":"2.0","id":"2","result":{"stopReason":"refusal"}}',
      '{"jsonrpc":"2.0","id":null,"method":"session/request_permission"}',
      '{"jsonrpc":"2.0","id":1.5,"method":"session/request_permission"}',
      '{"jsonrpc":"2.0","method":7}',
      '{"jsonrpc":"2.0","id":{"a":1},"method":"fs/read_text_file"}',
      `{"jsonrpc":"2.0","id":"${'i'.repeat(5_000)}","method":"fs/read_text_file"}`,
      '{"a":'.repeat(100_000),
      '['.repeat(1_000_000),
    ];
    const agent = rawAgent(({ pipes: wires, write, promptId }) => {
      for (const line of garbage) write(line);
      wires.fromAgent.write(Buffer.from([0xff, 0xfe, 0x80, 10]));
      write(endTurn(promptId));
    });
    const { outcome, messages } = await hold(agent);
    expect(outcome).toEqual({ stop: 'end_turn', summary: '', dropped: garbage.length + 1 });
    expect(messages).toEqual([]);
    expect(logged).not.toHaveBeenCalled();
    logged.mockRestore();
  });

  test('malformed updates are ignored', async () => {
    const agent = rawAgent(({ update, write, promptId }) => {
      for (const odd of [null, 1, 'x', [], { sessionUpdate: 'constructor' }, { sessionUpdate: 'plan', entries: 'x' }])
        update(odd);
      update({ sessionUpdate: 'agent_message_chunk', content: { type: 'text', text: { toString: 'x' } } });
      update({ sessionUpdate: 'agent_message_chunk', content: null });
      update({ sessionUpdate: 'tool_call', toolCallId: 9, title: 'x' });
      update({ sessionUpdate: 'tool_call', toolCallId: 't', title: 8, status: 'done\u001b[31m', kind: ['x'] });
      write('{"jsonrpc":"2.0","method":"session/update"}');
      write('{"jsonrpc":"2.0","method":"_vendor/anything","params":[1]}');
      write(endTurn(promptId));
    });
    const { outcome, messages } = await hold(agent);
    expect(outcome.stop).toBe('end_turn');
    expect(messages).toEqual([
      { kind: 'plan', entries: [] },
      { kind: 'tool', id: 't', title: '', status: 'pending' },
    ]);
  });

  test('LLM-027: a storm of tool calls is cut to the cap, with the exact rest', async () => {
    const agent = rawAgent(({ update, write, promptId }) => {
      for (let n = 0; n < 20_000; n += 1) {
        update({ sessionUpdate: 'tool_call', toolCallId: `t${n}`, title: 'x'.repeat(2_000), status: 'pending' });
      }
      write(endTurn(promptId));
    });
    const { outcome, messages } = await hold(agent, { messageLimits: { maxReported: 100, maxSummary: 100 } });
    expect(messages).toHaveLength(100);
    expect(messages[0]).toMatchObject({ title: 'x'.repeat(500) });
    expect(outcome).toEqual({ stop: 'end_turn', summary: '', dropped: 19_900 });
  });

  test('a flood of text gives few messages and a summary of its cap', async () => {
    const agent = rawAgent(({ update, write, promptId }) => {
      for (let n = 0; n < 50_000; n += 1) update(textChunk('word '));
      write(endTurn(promptId));
    });
    const { outcome, messages } = await hold(agent);
    expect(messages.length).toBeLessThan(100);
    expect(outcome.summary.length).toBeLessThanOrEqual(16_384);
    expect(messages.map((m) => ('text' in m ? m.text : '')).join('')).toBe('word '.repeat(50_000));
  });

  test('half a character at the cap does not become one', async () => {
    const agent = rawAgent(({ update, write, promptId }) => {
      update(textChunk(`${'a'.repeat(9)}😀`));
      write(endTurn(promptId));
    });
    const { outcome } = await hold(agent, { messageLimits: { maxReported: 10, maxSummary: 10 } });
    expect(outcome.summary).toBe(`${'a'.repeat(9)}\ufffd`);
  });

  test('too many messages and too many bytes end the turn', async () => {
    const storm = (): ReturnType<typeof rawAgent> =>
      rawAgent(({ update }) => {
        for (let n = 0; n < 2_000; n += 1) update(textChunk('x'));
      });
    expect((await hold(storm(), { limits: { maxMessages: 1_000 } })).outcome).toMatchObject({
      stop: 'error',
      error: 'the agent sent more than 1000 messages',
    });
    expect((await hold(storm(), { limits: { maxBytes: 10_000 } })).outcome).toMatchObject({
      stop: 'error',
      error: 'the agent sent more than 10000 bytes',
    });
  });

  test('endless output without a newline ends at the byte limit, whatever it is', async () => {
    const block = Buffer.alloc(65_536);
    const endless = new Readable({
      read() {
        this.push(block);
      },
    });
    const { outcome } = await hold({ fromAgent: endless, toAgent: pipes().toAgent }, { limits: { maxBytes: 2 ** 24 } });
    expect(outcome).toMatchObject({ stop: 'error', error: 'the agent sent more than 16777216 bytes' });
    endless.destroy();
  });

  test('requests whose answers are not taken stop the reading', async () => {
    let sent = 0;
    const agent = rawAgent(({ pipes: wires }) => {
      wires.toAgent.pause();
      const ask = (): void => {
        while (sent < 200_000) {
          sent += 1;
          if (!wires.fromAgent.write(`{"jsonrpc":"2.0","id":${sent},"method":"fs/read_text_file"}\n`)) {
            wires.fromAgent.once('drain', ask);
            return;
          }
        }
      };
      ask();
    });
    const { outcome } = await hold(agent, { limits: { maxOpenRequests: 16 }, timeouts: { idle: 500, cancel: 10 } });
    expect(outcome.stop).toBe('idle');
    expect(sent).toBeLessThan(20_000);
  });

  test('words that are not the protocol\'s, or ours, become "other"', async () => {
    for (const stopReason of ['lost', 'error', 'idle', 'cancelled', 'toString', 5, null, 'x'.repeat(1e6)]) {
      const agent = rawAgent(({ write, promptId }) => {
        write(JSON.stringify({ jsonrpc: '2.0', id: promptId, result: { stopReason } }));
      });
      expect((await hold(agent)).outcome.stop).toBe('other');
    }
  });
});
