import type { Redis } from 'ioredis';
import { z } from 'zod';
import { CofferdamError } from '../domain/errors.ts';
import type { RunId } from '../domain/ids.ts';
import { ownBranch, repoKey, RunRequest } from '../domain/run.ts';
import { FinalState } from '../domain/final-state.ts';
import { STEPS } from '../domain/step.ts';
import type { RunRecord, RunRecords } from '../run/ports.ts';

/** Finished runs stay readable this long. */
const KEPT_SECONDS = 60 * 86_400;
/** Newest runs of a thread that are remembered. */
const PER_THREAD = 50;
/** Newest runs of everybody that are remembered as a list. */
const LISTED = 5_000;

const StoredRecord = z.object({
  request: RunRequest,
  installation: z.string(),
  step: z.enum(STEPS),
  state: z.union([FinalState, z.enum(['queued', 'running'])]),
  branch: z.string().optional(),
  pull: z.object({ number: z.number().int(), url: z.string() }).optional(),
  checkRunId: z.number().int().optional(),
  commentId: z.number().int().optional(),
  maxCost: z.number().int().nonnegative().optional(),
  question: z.string().optional(),
  denied: z.array(z.string()).optional(),
  held: z.object({ host: z.string(), diffHash: z.string(), files: z.number().int(), keptAt: z.string() }).optional(),
  worker: z.string(),
  updatedAt: z.string(),
});

/** Others may have written since it was read. KEYS: record. ARGV: as it was read, as it is to be, seconds. */
const SWAP = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
`;

/** Is the run over? */
export function isFinal(state: RunRecord['state']): state is FinalState {
  return state !== 'queued' && state !== 'running';
}

export interface RedisRunRecords extends RunRecords {
  /** Saves a new record; false when the run has one already. */
  create(record: RunRecord): Promise<boolean>;
  /** Merges into the record; null when there is none. A final state stays; only what was held may become published. */
  update(runId: RunId, patch: Partial<Omit<RunRecord, 'request' | 'installation'>>): Promise<RunRecord | null>;
  remove(record: RunRecord): Promise<void>;
  /** Runs of everybody, newest first. */
  newest(limit: number): Promise<RunRecord[]>;
  /** Runs of an issue or pull request, newest first. */
  ofThread(thread: { owner: string; name: string; number: number }): Promise<RunRecord[]>;
  /** Runs that work, or worked, on this branch; newest first. */
  ofBranch(branch: { owner: string; name: string; branch: string }): Promise<RunRecord[]>;
}

/** What is known of each run, in Redis: enough for any worker to finish what another one began. */
export function createRunRecords(options: { redis: Redis; prefix: string }): RedisRunRecords {
  const { redis, prefix } = options;
  const key = (runId: string): string => `${prefix}:run:${runId}`;
  const threadKey = (thread: { owner: string; name: string; number: number }): string =>
    `${prefix}:thread:${repoKey(thread)}#${thread.number}`;

  const branchKey = (branch: { owner: string; name: string; branch: string }): string =>
    `${prefix}:branch:${repoKey(branch)}@${branch.branch}`;

  async function index(record: RunRecord): Promise<void> {
    const { repo, source, runId, requestedAt } = record.request;
    const thread = threadKey({ owner: repo.owner, name: repo.name, number: source.number });
    await redis
      .multi()
      .zadd(thread, Date.parse(requestedAt) || 0, runId)
      .zremrangebyrank(thread, 0, -PER_THREAD - 1)
      .expire(thread, KEPT_SECONDS)
      .zadd(`${prefix}:runs`, Date.parse(requestedAt) || 0, runId)
      .zremrangebyrank(`${prefix}:runs`, 0, -LISTED - 1)
      .exec();
    const branch = record.branch ?? ownBranch(record.request.pull);
    if (branch !== undefined) await indexBranch(record, branch);
  }

  async function indexBranch({ request }: RunRecord, branch: string): Promise<void> {
    const key = branchKey({ owner: request.repo.owner, name: request.repo.name, branch });
    await redis
      .multi()
      .zadd(key, Date.parse(request.requestedAt) || 0, request.runId)
      .zremrangebyrank(key, 0, -PER_THREAD - 1)
      .expire(key, KEPT_SECONDS)
      .exec();
  }

  async function listed(key: string): Promise<RunRecord[]> {
    const ids = await redis.zrevrange(key, 0, -1);
    const records = await Promise.all(ids.map((id) => load(id as RunId)));
    return records.filter((record) => record !== null);
  }

  function read(runId: RunId, stored: string): RunRecord {
    const parsed = StoredRecord.safeParse(JSON.parse(stored));
    if (!parsed.success) {
      throw new CofferdamError('internal', 'queue.records', `the record of ${runId} cannot be read`, parsed.error);
    }
    return parsed.data as RunRecord;
  }

  async function load(runId: RunId): Promise<RunRecord | null> {
    const stored = await redis.get(key(runId));
    return stored === null ? null : read(runId, stored);
  }

  async function save(record: RunRecord): Promise<void> {
    await redis.set(key(record.request.runId), JSON.stringify(record), 'EX', KEPT_SECONDS);
    await index(record);
  }

  return {
    load,
    save,
    async create(record) {
      const stored = await redis.set(key(record.request.runId), JSON.stringify(record), 'EX', KEPT_SECONDS, 'NX');
      if (stored === 'OK') await index(record);
      return stored === 'OK';
    },
    async update(runId, patch) {
      for (;;) {
        const stored = await redis.get(key(runId));
        if (stored === null) return null;
        const record = read(runId, stored);
        const state = isFinal(record.state) && record.state !== 'held' ? record.state : (patch.state ?? record.state);
        const next: RunRecord = { ...record, ...patch, state, updatedAt: new Date().toISOString() };
        const swap = [stored, JSON.stringify(next), KEPT_SECONDS] as const;
        if ((await redis.eval(SWAP, 1, key(runId), ...swap)) !== 1) continue;
        if (patch.branch !== undefined) await indexBranch(next, patch.branch);
        return next;
      }
    },
    async remove(record) {
      const { repo, source, runId } = record.request;
      await redis.del(key(runId));
      await redis.zrem(threadKey({ owner: repo.owner, name: repo.name, number: source.number }), runId);
      await redis.zrem(`${prefix}:runs`, runId);
      const branch = record.branch ?? ownBranch(record.request.pull);
      if (branch !== undefined) await redis.zrem(branchKey({ owner: repo.owner, name: repo.name, branch }), runId);
    },
    async newest(limit) {
      const ids = await redis.zrevrange(`${prefix}:runs`, 0, limit - 1);
      const records = await Promise.all(ids.map((id) => load(id as RunId)));
      return records.filter((record) => record !== null);
    },
    ofThread: (thread) => listed(threadKey(thread)),
    ofBranch: (branch) => listed(branchKey(branch)),
  };
}
