import { expect, test } from 'vitest';
import { CofferdamError } from '../../src/domain/errors.ts';
import { execute } from '../../src/run/execute.ts';
import { publishHeld } from '../../src/run/held.ts';
import type { HeldResult, HeldResults, Publisher } from '../../src/run/ports.ts';
import { JOB, world } from './fakes.ts';

/** A result that waits, and where it does. */
async function held(): Promise<{ kept: HeldResult; store: HeldResults; publisher: Publisher }> {
  const w = world({ spec: { hold: 'always' } });
  let kept: HeldResult | undefined;
  const store: HeldResults = {
    keep: (options) => Promise.resolve(void (kept = { ...options, keptAt: '' })),
    note: (_runId, later) => Promise.resolve(void (kept &&= { ...kept, ...later })),
    load: () => Promise.resolve(kept ?? null),
  };
  await execute({ ...w.ports, held: store }, JOB, new AbortController().signal);
  if (kept === undefined) throw new Error('it was not held');
  return { kept, store, publisher: w.ports.publisher };
}

test('of two people who let a result go at the same time both are told where it is', async () => {
  const { kept, store, publisher } = await held();
  const audit = { append: () => Promise.resolve() };
  const options = { store, kept, publisher, audit, signal: new AbortController().signal };
  const gone = new CofferdamError('github', 'github.push', 'the remote refused the push');
  const second: Publisher = {
    ...publisher,
    publish: async () => {
      // While it pushes, the first one has done so, and the repository is gone.
      await publishHeld(options);
      throw gone;
    },
  };
  const pull = { number: 2, url: 'u' };
  expect(await publishHeld({ ...options, publisher: second })).toMatchObject({ pull });
});

test('one that cannot be published still waits', async () => {
  const { kept, store, publisher } = await held();
  const audit = { append: () => Promise.resolve() };
  const refused = new CofferdamError('github', 'github.push', 'no');
  const refusing: Publisher = { ...publisher, publish: () => Promise.reject(refused) };
  const options = { store, kept, publisher: refusing, audit, signal: new AbortController().signal };
  await expect(publishHeld(options)).rejects.toBe(refused);
  expect((await store.load(kept.spec.runId))?.published).toBeUndefined();
});
