import dns from 'node:dns/promises';
import { syncBuiltinESMExports } from 'node:module';
import { afterAll, afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createDialer, type Dialer } from '../../src/gateway/dialer.ts';

// In the place of the machine's own `lookup`: a mocked module would stay for whatever shares the process.
const asked = vi.spyOn(dns, 'lookup') as unknown as ReturnType<typeof vi.fn>;
syncBuiltinESMExports();
afterAll(() => {
  asked.mockRestore();
  syncBuiltinESMExports();
});

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
  asked.mockReset().mockResolvedValue([{ address: '10.1.2.3', family: 4 }]);
});
afterEach(() => void vi.useRealTimers());

function dialer(): Dialer {
  return createDialer({ limits: { resolveMs: 2_000, dialMs: 2_000 }, signal: new AbortController().signal });
}

test('the host is asked once for connections that follow one another, and each is judged', async () => {
  const made = dialer();
  const at = { host: 'mirror.test', port: 443 };
  expect((await made.check({ ...at, allowPrivate: true })).addresses).toEqual(['10.1.2.3']);
  expect((await made.check({ ...at, allowPrivate: true })).decision.allow).toBe(true);
  expect((await made.check({ ...at, allowPrivate: false })).decision).toMatchObject({ allow: false });
  expect(asked).toHaveBeenCalledTimes(1);
  await made.check({ ...at, host: 'other.test', allowPrivate: true });
  expect(asked).toHaveBeenCalledTimes(2);
});

test('after some seconds it is asked again', async () => {
  const made = dialer();
  const at = { host: 'mirror.test', port: 443, allowPrivate: true };
  await made.check(at);
  asked.mockResolvedValue([{ address: '10.9.9.9', family: 4 }]);
  vi.advanceTimersByTime(4_900);
  expect((await made.check(at)).addresses).toEqual(['10.1.2.3']);
  vi.advanceTimersByTime(200);
  expect((await made.check(at)).addresses).toEqual(['10.9.9.9']);
});

test('what could not be resolved is not kept', async () => {
  const made = dialer();
  const at = { host: 'mirror.test', port: 443, allowPrivate: true };
  asked.mockRejectedValueOnce(Object.assign(new Error('no'), { code: 'ENOTFOUND' }));
  expect((await made.check(at)).decision).toMatchObject({ allow: false, reason: 'name_not_found' });
  expect((await made.check(at)).decision.allow).toBe(true);
});
