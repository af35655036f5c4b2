import { expect, test } from 'vitest';
import { ALLOWED, clientHello, connectTo, hermetic, PUBLIC } from './hermetic.ts';
import { unreconciled } from './reconcile.ts';

test('AUD-015 connections that are open when the run ends have their bytes in the record, and the books agree', async () => {
  const h = await hermetic();
  for (let n = 0; n < 5; n += 1) {
    const { raw } = await connectTo(h.socketPath, `${ALLOWED}:443`);
    raw.send(clientHello());
    await raw.until((bytes) => bytes.includes('echo:'));
    if (n < 2) raw.close();
  }
  await h.gateway.close();
  const ends = h.events.filter(({ type }) => type === 'egress.end');
  expect(ends).toHaveLength(5);
  const told = ends.reduce((sum, { data }) => sum + Number(data?.['bytesOut']), 0);
  expect(told).toBe(h.internet.sink(`${PUBLIC}:443`).length);
  const summary = h.gateway.egress().find(({ host }) => host === ALLOWED);
  expect(summary).toMatchObject({ bytesOut: told, count: 5 });
  expect(unreconciled(h.internet, h.events)).toEqual([]);
  // Each kind of hole is found.
  const without = (type: string) => h.events.filter((event) => event.type !== type);
  expect(unreconciled(h.internet, without('egress.connect'))).toEqual([
    `${PUBLIC}:443 was reached without an allow in the record`,
  ]);
  expect(unreconciled(h.internet, without('egress.end'))).toEqual([
    `${ALLOWED}:443: 0 bytes in the record, ${told} arrived`,
    `${ALLOWED}:443: 5 connections without an end`,
  ]);
  await h.close();
});

test('AUD-015 a connection that takes nothing has an end that says why', async () => {
  const h = await hermetic({ limits: { helloMs: 2_000 } });
  const { raw: silent } = await connectTo(h.socketPath, `${ALLOWED}:443`);
  await silent.finish();
  const { raw: gone } = await connectTo(h.socketPath, `${ALLOWED}:443`);
  gone.close();
  const { raw: other } = await connectTo(h.socketPath, `${ALLOWED}:443`);
  other.send(Buffer.from('SSH-2.0-x\r\n'));
  await other.finish();
  const ends = () => h.events.filter(({ type }) => type === 'egress.end').map(({ data }) => data);
  await expect.poll(ends).toHaveLength(3);
  const why = ends().map((data) => data?.['end']);
  expect(why.sort()).toEqual(['closed', 'not_tls', 'timeout']);
  for (const data of ends()) expect(data).toMatchObject({ host: ALLOWED, port: 443, bytesIn: 0, bytesOut: 0 });
  await h.gateway.close();
  expect(unreconciled(h.internet, h.events)).toEqual([]);
  await h.close();
});
