import { duplexPair } from 'node:stream';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { openChannel } from '../../src/main/gateway-ipc.ts';

const schema = z.strictObject({ n: z.number(), text: z.string() });
type Message = z.infer<typeof schema>;

/** Everything that the other end got, once it is closed. */
async function through(speak: (channel: ReturnType<typeof openChannel<Message, Message>>) => void): Promise<Message[]> {
  const [near, far] = duplexPair();
  const got: Message[] = [];
  const closed = Promise.withResolvers<string>();
  const quiet = { schema, maxIncoming: 2 ** 20, onMessage: () => undefined, onClose: () => undefined };
  const channel = openChannel<Message, Message>({ ...quiet, stream: near });
  openChannel<Message, Message>({
    ...quiet,
    stream: far,
    onMessage: (message) => void got.push(message),
    onClose: closed.resolve,
  });
  speak(channel);
  await closed.promise;
  return got;
}

const messages = Array.from({ length: 300 }, (_unused, n) => ({ n, text: 'ä€😀'.repeat(n) }));

test('messages of one turn arrive whole and in order, and an end in that turn is after them', async () => {
  const got = await through((channel) => {
    for (const message of messages) channel.send(message);
    channel.end();
  });
  expect(got).toEqual(messages);
});

test('so do those of many turns', async () => {
  const got = await through((channel) => {
    const more = (n: number): void => {
      for (const message of messages.slice(n, n + 7)) channel.send(message);
      if (n + 7 < messages.length) setImmediate(more, n + 7);
      else channel.end();
    };
    more(0);
  });
  expect(got).toEqual(messages);
});

test('what waits to be sent is counted', () => {
  const [stream] = duplexPair();
  const channel = openChannel<Message, Message>({
    stream,
    schema,
    maxIncoming: 2 ** 20,
    onMessage: () => undefined,
    onClose: () => undefined,
  });
  for (const n of [1, 2, 3]) channel.send({ n, text: 'x'.repeat(1_000) });
  expect(channel.backlog()).toBeGreaterThan(3_000);
});
