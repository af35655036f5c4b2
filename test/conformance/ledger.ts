import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Ledger, LedgerAccount, Reservation } from '../../src/run/ledger.ts';

const account: LedgerAccount = { runId: 'r1', repoKey: 'o/a', installationKey: 'inst', day: '2026-11-24' };
const wide = { run: 1_000_000, repository: 1_000_000, installation: 1_000_000 };

/** What every ledger has to do; `create` makes an empty one. */
export function ledgerConformance(create: () => Promise<Ledger>, { runs }: { runs: number }): void {
  async function reserved(ledger: Ledger, callId: string, amount: number, caps = wide): Promise<Reservation> {
    const result = await ledger.reserve({ ...account, callId, amount, caps });
    if (!result.ok) throw new Error(`refused by ${result.cap}`);
    return result.reservation;
  }

  test('holds, settles with the real price, and frees the rest', async () => {
    const ledger = await create();
    const reservation = await reserved(ledger, 'a', 500);
    const held = { spent: 0, reserved: 500 };
    expect(await ledger.spent(account)).toEqual({ run: held, repository: held, installation: held });
    await ledger.settle(reservation, 123);
    const after = { spent: 123, reserved: 0 };
    expect(await ledger.spent(account)).toEqual({ run: after, repository: after, installation: after });
  });

  test('release gives everything back', async () => {
    const ledger = await create();
    await ledger.release(await reserved(ledger, 'a', 500));
    expect((await ledger.spent(account)).run).toEqual({ spent: 0, reserved: 0 });
  });

  test.each(['run', 'repository', 'installation'] as const)(
    'the cap of the %s refuses, and says what is left',
    async (cap) => {
      const ledger = await create();
      const caps = { ...wide, [cap]: 1_000 };
      await ledger.settle(await reserved(ledger, 'a', 700, caps), 600);
      expect(await ledger.reserve({ ...account, callId: 'b', amount: 401, caps })).toEqual({
        ok: false,
        cap,
        left: 400,
        held: false,
      });
      expect(await ledger.reserve({ ...account, callId: 'c', amount: 400, caps })).toMatchObject({ ok: true });
      expect(await ledger.reserve({ ...account, callId: 'd', amount: 1, caps })).toEqual({
        ok: false,
        cap,
        left: 0,
        held: true,
      });
    },
  );

  test('grants less when that is of use', async () => {
    const ledger = await create();
    const caps = { ...wide, run: 300 };
    const smaller = await ledger.reserve({ ...account, callId: 'a', amount: 500, atLeast: 200, caps });
    // Half of what is left, so that another call fits beside it.
    expect(smaller).toMatchObject({ ok: true, reservation: { amount: 200 }, spent: 0, left: 300 });
    const none = await ledger.reserve({ ...account, callId: 'b', amount: 500, atLeast: 200, caps });
    expect(none).toEqual({ ok: false, cap: 'run', left: 100, held: true });
  });

  test('a call is reserved once and ends once', async () => {
    const ledger = await create();
    const first = await reserved(ledger, 'a', 500);
    expect(await reserved(ledger, 'a', 900)).toEqual(first);
    await ledger.settle(first, 100);
    await ledger.settle(first, 100);
    await ledger.release(first);
    expect(await reserved(ledger, 'a', 500)).toEqual(first);
    expect((await ledger.spent(account)).run).toEqual({ spent: 100, reserved: 0 });
  });

  test('a price above its reservation is counted in full, and nothing is left then', async () => {
    const ledger = await create();
    const caps = { ...wide, run: 1_000 };
    await ledger.settle(await reserved(ledger, 'a', 900, caps), 1_500);
    expect(await ledger.reserve({ ...account, callId: 'b', amount: 0, caps })).toMatchObject({ ok: true });
    expect(await ledger.reserve({ ...account, callId: 'c', amount: 1, caps })).toEqual({
      ok: false,
      cap: 'run',
      left: 0,
      held: false,
    });
  });

  test('runs share the day of their repository and installation, days share nothing (LLM-023)', async () => {
    const ledger = await create();
    const caps = { run: 1_000, repository: 1_000, installation: 1_500 };
    const ask = (over: Partial<LedgerAccount>, callId: string): ReturnType<Ledger['reserve']> =>
      ledger.reserve({ ...account, ...over, callId, amount: 800, caps });
    expect(await ask({}, 'a')).toMatchObject({ ok: true });
    expect(await ask({ runId: 'r2' }, 'a')).toEqual({ ok: false, cap: 'repository', left: 200, held: true });
    expect(await ask({ runId: 'r3', repoKey: 'o/b' }, 'a')).toEqual({
      ok: false,
      cap: 'installation',
      left: 700,
      held: true,
    });
    expect(await ask({ runId: 'r4', day: '2026-11-25' }, 'a')).toMatchObject({ ok: true });
    // The run's own budget never starts anew.
    expect(await ask({ day: '2026-11-25', repoKey: 'o/b' }, 'b')).toEqual({
      ok: false,
      cap: 'run',
      left: 200,
      held: true,
    });
  });

  test('a call counts on the day of its reservation', async () => {
    const ledger = await create();
    const reservation = await reserved(ledger, 'a', 500);
    const next = { ...account, day: '2026-11-25' };
    await ledger.settle({ ...reservation }, 200);
    expect((await ledger.spent(next)).repository).toEqual({ spent: 0, reserved: 0 });
    expect((await ledger.spent(account)).repository).toEqual({ spent: 200, reserved: 0 });
  });

  test('LLM-024 recovery counts the open reservations of a dead run as spent', async () => {
    const ledger = await create();
    await ledger.settle(await reserved(ledger, 'a', 500), 100);
    const lost = await reserved(ledger, 'b', 300);
    await reserved(ledger, 'c', 50);
    const other = { ...account, runId: 'r2' };
    await ledger.reserve({ ...other, callId: 'a', amount: 70, caps: wide });
    expect(await ledger.recover('r1')).toEqual({ calls: 2, amount: 350 });
    expect(await ledger.recover('r1')).toEqual({ calls: 0, amount: 0 });
    await ledger.settle(lost, 1);
    const standing = await ledger.spent(account);
    expect(standing.run).toEqual({ spent: 450, reserved: 0 });
    expect(standing.repository).toEqual({ spent: 450, reserved: 70 });
  });

  test('large sums stay exact', async () => {
    const ledger = await create();
    const caps = { run: 9e15, repository: 9e15, installation: 9e15 };
    await ledger.settle(await reserved(ledger, 'a', 4_000_000_000_000_001, caps), 4_000_000_000_000_001);
    await reserved(ledger, 'b', 4_000_000_000_000_001, caps);
    expect((await ledger.spent(account)).run).toEqual({
      spent: 4_000_000_000_000_001,
      reserved: 4_000_000_000_000_001,
    });
    expect(await ledger.reserve({ ...account, callId: 'c', amount: 1e15, caps })).toEqual({
      ok: false,
      cap: 'run',
      left: 999_999_999_999_998,
      held: true,
    });
  });

  test.each([-1, 0.5, Number.NaN, Infinity, 2 ** 60])('refuses an amount of %s', async (amount) => {
    const ledger = await create();
    await expect(async () => ledger.reserve({ ...account, callId: 'a', amount, caps: wide })).rejects.toThrow(
      'micro-dollars',
    );
    const reservation = await reserved(ledger, 'b', 1);
    await expect(async () => ledger.settle(reservation, amount)).rejects.toThrow('micro-dollars');
    expect((await ledger.spent(account)).run).toEqual({ spent: 0, reserved: 1 });
  });

  test('LLM-001 of 64 parallel calls only as many are admitted as fit', async () => {
    const ledger = await create();
    const caps = { ...wide, run: 10 * 1_000 - 1 };
    const asked = Array.from({ length: 64 }, (_, i) =>
      ledger.reserve({ ...account, callId: `c${i}`, amount: 1_000, caps }),
    );
    expect((await Promise.all(asked)).filter((result) => result.ok)).toHaveLength(9);
  });

  describe('any interleaving', () => {
    const step = fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({
          do: fc.constant('reserve' as const),
          run: fc.nat(3),
          call: fc.nat(30),
          amount: fc.nat(400),
          least: fc.nat(400),
        }),
      },
      {
        weight: 3,
        arbitrary: fc.record({
          do: fc.constant('settle' as const),
          pick: fc.nat(),
          share: fc.double({ min: 0, max: 1, noNaN: true }),
        }),
      },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('release' as const), pick: fc.nat() }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const), run: fc.nat(3) }) },
    );
    const caps = { run: 1_000, repository: 1_700, installation: 2_500 };
    const accountOf = (run: number): LedgerAccount => ({
      runId: `r${run}`,
      repoKey: run < 2 ? 'o/a' : 'o/b',
      installationKey: 'inst',
      day: '2026-11-24',
    });

    test('never exceeds a cap, and open reservations end at 0', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(fc.array(step, { maxLength: 12 }), { maxLength: 6 }), async (batches) => {
          const ledger = await create();
          const open: Reservation[] = [];
          for (const batch of batches) {
            // A batch is in flight at once, as if from several workers.
            await Promise.all(
              batch.map(async (action) => {
                if (action.do === 'reserve') {
                  const request = {
                    ...accountOf(action.run),
                    callId: `c${action.call}`,
                    amount: action.amount,
                    atLeast: action.least,
                    caps,
                  };
                  const result = await ledger.reserve(request);
                  if (result.ok) open.push(result.reservation);
                } else if (action.do === 'crash') await ledger.recover(`r${action.run}`);
                else {
                  const reservation = open[action.pick % Math.max(1, open.length)];
                  if (reservation === undefined) return;
                  if (action.do === 'release') await ledger.release(reservation);
                  else await ledger.settle(reservation, Math.floor(reservation.amount * action.share));
                }
              }),
            );
            for (const run of [0, 2]) {
              const standing = await ledger.spent(accountOf(run));
              for (const cap of ['run', 'repository', 'installation'] as const) {
                expect(standing[cap].spent + standing[cap].reserved).toBeLessThanOrEqual(caps[cap]);
              }
            }
          }
          for (const run of [0, 1, 2, 3]) await ledger.recover(`r${run}`);
          for (const run of [0, 1, 2, 3]) {
            const standing = await ledger.spent(accountOf(run));
            expect([standing.run.reserved, standing.repository.reserved, standing.installation.reserved]).toEqual([
              0, 0, 0,
            ]);
          }
        }),
        { numRuns: runs },
      );
    });
  });
}
