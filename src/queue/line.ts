import type { Redis } from 'ioredis';
import type { RunId } from '../domain/ids.ts';
import { ownBranch, repoKey, type RunRequest } from '../domain/run.ts';

/**
 * Who may wait, and in which order: the state of the line, kept beside BullMQ, which knows priorities but no fairness.
 *
 * A *lane* is a branch or thread on which one run works at a time: only its first run is handed to BullMQ, the others wait in a list.
 * Fairness is a virtual clock: each run handed over gets the number after its repository's last one, but not before the clock; the
 * clock moves with the runs that start. A repository with a hundred runs so gets every second place when another one has some. Within
 * a repository each person has a number of their own, which moves on by as many as there are people with open runs there.
 */
export interface LineLimits {
  /** Open runs (waiting or running) of everybody. */
  total: number;
  perRepository: number;
  perPerson: number;
}

export type Entry = 'entered' | 'known' | 'total' | 'repository' | 'person';

/** BullMQ's largest priority. */
const MAX_TAG = 2_097_151;

/** KEYS: open, of the repository, of the person, lane, people. ARGV: run, three limits, person. */
const ENTER = `
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then return 'known' end
if redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 'total' end
if redis.call('SCARD', KEYS[2]) >= tonumber(ARGV[3]) then return 'repository' end
if redis.call('SCARD', KEYS[3]) >= tonumber(ARGV[4]) then return 'person' end
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('SADD', KEYS[3], ARGV[1])
redis.call('RPUSH', KEYS[4], ARGV[1])
redis.call('SADD', KEYS[5], ARGV[5])
return 'entered'
`;

/** KEYS: open, of the repository, of the person, lane, people, tags. ARGV: run, person. Answers the lane's next first run. */
const LEAVE = `
redis.call('SREM', KEYS[1], ARGV[1])
redis.call('SREM', KEYS[2], ARGV[1])
redis.call('SREM', KEYS[3], ARGV[1])
redis.call('LREM', KEYS[4], 0, ARGV[1])
if redis.call('SCARD', KEYS[3]) == 0 then redis.call('SREM', KEYS[5], ARGV[2]) end
if redis.call('SCARD', KEYS[1]) == 0 then redis.call('DEL', KEYS[6]) end
return redis.call('LINDEX', KEYS[4], 0)
`;

/** KEYS: tags, people. ARGV: run, repository and person. A run keeps its tag. */
const TAG = `
local known = redis.call('HGET', KEYS[1], 'run ' .. ARGV[1])
if known then return tonumber(known) end
local clock = tonumber(redis.call('HGET', KEYS[1], 'clock') or '0')
local last = tonumber(redis.call('HGET', KEYS[1], 'repo ' .. ARGV[2]) or '0')
local step = math.max(redis.call('SCARD', KEYS[2]), 1)
local tag = math.min(math.max(clock, last) + step, ${MAX_TAG})
redis.call('HSET', KEYS[1], 'repo ' .. ARGV[2], tag, 'run ' .. ARGV[1], tag)
return tag
`;

/** KEYS: tags. ARGV: run. */
const START = `
local tag = tonumber(redis.call('HGET', KEYS[1], 'run ' .. ARGV[1]) or '0')
local clock = tonumber(redis.call('HGET', KEYS[1], 'clock') or '0')
if tag > clock then redis.call('HSET', KEYS[1], 'clock', tag) end
redis.call('HDEL', KEYS[1], 'run ' .. ARGV[1])
return tag
`;

/** Whose runs come one after the other: one person's in one repository. */
function flowOf({ repo, actor }: RunRequest): string {
  return `${repoKey(repo)} ${actor.id}`;
}

/** What one run at a time works on: the branch of a pull request, or the thread. */
function laneOf(request: RunRequest): string {
  const repository = repoKey(request.repo);
  const branch = ownBranch(request.pull);
  return branch === undefined ? `${repository}#${request.source.number}` : `${repository}@${branch}`;
}

export interface Line {
  enter(request: RunRequest, limits: LineLimits): Promise<Entry>;
  /** What `enter` would answer now, without entering. */
  mayEnter(request: RunRequest, limits: LineLimits): Promise<Entry>;
  /** Open runs of the request's person in its repository. */
  ofPerson(request: RunRequest): Promise<number>;
  /** Takes a run out; the run that is now first in its lane, when there is one. */
  leave(request: RunRequest): Promise<RunId | null>;
  /** The first run of the lane: the only one that may be handed over. */
  first(request: RunRequest): Promise<RunId | null>;
  /** Runs before this one in its lane; null when it is not in it. */
  aheadInLane(request: RunRequest): Promise<number | null>;
  laneLength(request: RunRequest): Promise<number>;
  /** The run's place in the fair order, for BullMQ's priority. */
  tag(request: RunRequest): Promise<number>;
  /** The tag that it would get now. */
  nextTag(request: RunRequest): Promise<number>;
  started(runId: RunId): Promise<void>;
  /** Every run that is waiting or running. */
  open(): Promise<RunId[]>;
  /** For a run whose record is gone. */
  forget(runId: RunId): Promise<void>;
}

export function createLine(options: { redis: Redis; prefix: string }): Line {
  const { redis, prefix } = options;
  const openKey = `${prefix}:open`;
  const tagsKey = `${prefix}:tags`;
  const laneKey = (request: RunRequest): string => `${prefix}:lane:${laneOf(request)}`;
  const keys = (request: RunRequest): string[] => {
    const repository = `${openKey}:${repoKey(request.repo)}`;
    return [openKey, repository, `${repository}:${request.actor.id}`, laneKey(request), `${repository}:people`];
  };
  return {
    async enter(request, { total, perRepository, perPerson }) {
      const args = [...keys(request), request.runId, total, perRepository, perPerson, request.actor.id];
      return (await redis.eval(ENTER, 5, ...args)) as Entry;
    },
    async mayEnter(request, { total, perRepository, perPerson }) {
      const [open, repository, person] = keys(request);
      if ((await redis.sismember(openKey, request.runId)) === 1) return 'known';
      if ((await redis.scard(open ?? '')) >= total) return 'total';
      if ((await redis.scard(repository ?? '')) >= perRepository) return 'repository';
      return (await redis.scard(person ?? '')) >= perPerson ? 'person' : 'entered';
    },
    ofPerson: (request) => redis.scard(keys(request)[2] ?? ''),
    async leave(request) {
      return (await redis.eval(LEAVE, 6, ...keys(request), tagsKey, request.runId, request.actor.id)) as RunId | null;
    },
    async first(request) {
      return (await redis.lindex(laneKey(request), 0)) as RunId | null;
    },
    async aheadInLane(request) {
      return redis.lpos(laneKey(request), request.runId);
    },
    laneLength: (request) => redis.llen(laneKey(request)),
    async nextTag(request) {
      const [clock, last] = await redis.hmget(tagsKey, 'clock', `repo ${flowOf(request)}`);
      const people = keys(request)[4] ?? '';
      const known = await redis.sismember(people, request.actor.id);
      const step = (await redis.scard(people)) + (known === 1 ? 0 : 1);
      return Math.min(Math.max(Number(clock ?? 0), Number(last ?? 0)) + step, MAX_TAG);
    },
    async tag(request) {
      return (await redis.eval(TAG, 2, tagsKey, keys(request)[4] ?? '', request.runId, flowOf(request))) as number;
    },
    async started(runId) {
      await redis.eval(START, 1, tagsKey, runId);
    },
    async open() {
      return (await redis.smembers(openKey)) as RunId[];
    },
    async forget(runId) {
      await redis.srem(openKey, runId);
    },
  };
}
