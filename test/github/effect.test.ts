import { describe, expect, it } from 'vitest';
import { CofferdamError } from '../../src/domain/errors.ts';
import { recorded } from '../../src/github/effect.ts';
import { GitHubError } from '../../src/github/failure.ts';
import { memoryAudit } from './run.ts';
import { fitting } from '../audit/fits.ts';

const PUSH = { type: 'git.push', data: { branch: 'cofferdam/1-x', commit: 'a'.repeat(40) } } as const;

describe('AUD-004 an effect on GitHub', () => {
  it('is recorded before it is done, and its end after', async () => {
    const audit = memoryAudit();
    const done = await recorded(audit, PUSH, () => {
      expect(audit.entries.map(({ type }) => type)).toEqual(['git.push']);
      return Promise.resolve('pushed');
    });
    expect(done).toBe('pushed');
    expect(audit.entries.map(fitting)).toMatchObject([
      PUSH,
      { type: 'git.push_end', data: { ...PUSH.data, outcome: 'done' } },
    ]);
  });

  it.each([
    ['permission', 'failed'],
    ['invalid', 'failed'],
    ['unavailable', 'unknown'],
  ] as const)('that ends with %s is %s', async (kind, outcome) => {
    const audit = memoryAudit();
    const failure = new GitHubError({ kind, op: 'github.push' });
    await expect(recorded(audit, PUSH, () => Promise.reject(failure))).rejects.toBe(failure);
    expect(audit.entries.map(fitting)).toMatchObject([PUSH, { type: 'git.push_end', data: { outcome, error: kind } }]);
  });

  it('that is stopped in the middle is unknown', async () => {
    const audit = memoryAudit();
    const stopped = new CofferdamError('cancelled', 'git.pushBranch', 'git was stopped');
    await expect(recorded(audit, PUSH, () => Promise.reject(stopped))).rejects.toBe(stopped);
    expect(audit.entries.map(fitting)).toMatchObject([PUSH, { type: 'git.push_end', data: { outcome: 'unknown' } }]);
  });

  it('is not tried when it cannot be recorded', async () => {
    const full = new Error('no space');
    let tried = false;
    const act = () => {
      tried = true;
      return Promise.resolve();
    };
    await expect(recorded({ append: () => Promise.reject(full) }, PUSH, act)).rejects.toBe(full);
    expect(tried).toBe(false);
  });

  it('keeps its own failure when the record of that fails as well', async () => {
    const failure = new GitHubError({ kind: 'permission', op: 'github.push' });
    const append = ({ type }: { type: string }) =>
      type === 'git.push' ? Promise.resolve() : Promise.reject(new Error('full'));
    await expect(recorded({ append }, PUSH, () => Promise.reject(failure))).rejects.toBe(failure);
  });
});
