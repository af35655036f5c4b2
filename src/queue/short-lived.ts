import type { Redis } from 'ioredis';

/** Small values in Redis that end by themselves: sessions of people, states of a login. */
export interface ShortLived {
  put(key: string, value: string, seconds: number): Promise<void>;
  get(key: string): Promise<string | null>;
  /** Gets and removes in one step: for what may be used once. */
  take(key: string): Promise<string | null>;
  remove(key: string): Promise<void>;
}

export function createShortLived(options: { redis: Redis; prefix: string }): ShortLived {
  const { redis } = options;
  const name = (key: string): string => `${options.prefix}:short:${key}`;
  return {
    async put(key, value, seconds) {
      await redis.set(name(key), value, 'EX', seconds);
    },
    get: (key) => redis.get(name(key)),
    take: (key) => redis.getdel(name(key)),
    async remove(key) {
      await redis.del(name(key));
    },
  };
}
