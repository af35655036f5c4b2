import type { Redis } from 'ioredis';

/** Public halves of the keys that seal audits, for servers that do not see a worker's disk: the present one of each host, in PEM form. */
export interface AnnouncedKeys {
  announce(host: string, pem: string): Promise<void>;
  all(): Promise<string[]>;
}

/** Trust: a key from here proves as much as Redis does, where the lines and seals of runs come from, too. */
export function createAnnouncedKeys({ redis, prefix }: { redis: Redis; prefix: string }): AnnouncedKeys {
  const key = `${prefix}:audit-keys`;
  return {
    async announce(host, pem) {
      await redis.hset(key, host, pem);
    },
    all: () => redis.hvals(key),
  };
}
