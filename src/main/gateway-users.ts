/** User ids for gateway processes, one each, so that none of them can touch another or anything of the worker. */
export interface UserIds {
  /** Undefined when this process is not root: then the gateway stays what the worker is. */
  take(): { uid: number; gid: number; release: () => void } | undefined;
}

/** Of the range that service managers use for users without an entry. */
const DEFAULT_RANGE = { first: 62_000, count: 1_000 };

/** Starts at a random place of the range, so that two workers of one machine rarely meet. */
export function createUserIds(range: { first: number; count: number } = DEFAULT_RANGE): UserIds {
  const taken = new Set<number>();
  let next = Math.floor(Math.random() * range.count);
  return {
    take: () => {
      if (process.getuid?.() !== 0) return undefined;
      while (taken.has(next) && taken.size < range.count) next = (next + 1) % range.count;
      const offset = next;
      taken.add(offset);
      next = (next + 1) % range.count;
      const id = range.first + offset;
      return { uid: id, gid: id, release: () => void taken.delete(offset) };
    },
  };
}
