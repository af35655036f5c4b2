import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/*
 * A provider for measurements, in a process of its own: answers every chat call with the same frames, as fast as they
 * are taken. What its answers weigh is known, so that whoever measures can tell a real transfer.
 */

const FRAMES = 64;
/** A paced answer comes as from a model, after a while and frame by frame, so that nothing but the first byte is measured. */
const PACED_FRAMES = 8;
const chunk = (delta: unknown, usage: unknown = null): string =>
  `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta, finish_reason: usage === null ? null : 'stop' }], usage })}\n\n`;
const USAGE = { prompt_tokens: 20, completion_tokens: 64, total_tokens: 84 };
const frames = [
  ...Array.from({ length: FRAMES }, () => chunk({ content: 'a few words ' })),
  chunk({}, USAGE),
  'data: [DONE]\n\n',
];
/** The first frame of a paced answer says when it was sent, in microseconds of this machine's monotonic clock. */
const stamped = (): string => chunk({ content: `sent ${String(process.hrtime.bigint() / 1000n).padStart(16, '0')}` });
const rest = frames.slice(1 - PACED_FRAMES);
const whole = JSON.stringify({
  id: 'c',
  object: 'chat.completion',
  created: 1,
  model: 'm',
  choices: [
    { index: 0, message: { role: 'assistant', content: 'a few words '.repeat(FRAMES) }, finish_reason: 'stop' },
  ],
  usage: USAGE,
});

const server = createServer((req, res) => {
  let body = '';
  req.setEncoding('utf8');
  req.on('data', (text: string) => (body += text));
  req.on('end', () => {
    if (!body.includes('"stream":true')) {
      res.writeHead(200, { 'content-type': 'application/json' }).end(whole);
      return;
    }
    res.writeHead(200, { 'content-type': 'text/event-stream' });
    const paced = body.includes('"model":"paced"');
    const coming = paced ? [stamped, ...rest] : frames;
    let next = 0;
    const more = (): void => {
      const made = coming[next++];
      const frame = typeof made === 'function' ? made() : made;
      if (frame === undefined || res.destroyed) return void res.end();
      res.write(frame);
      if (paced) setTimeout(more, 2);
      else setImmediate(more);
    };
    if (paced) setTimeout(more, 5);
    else more();
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo;
  process.send?.({
    port,
    streamed: frames.join('').length,
    paced: stamped().length + rest.join('').length,
    whole: whole.length,
  });
});
process.on('disconnect', () => process.exit(0));
