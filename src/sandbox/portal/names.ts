import type { NameAnswer } from './gateway.ts';

/** Who answers for a name, and which name an address of the sandbox stands for. */
export interface Names {
  lookup(name: string): Promise<NameAnswer>;
  /** The name that was given this address, if any. */
  nameOf(address: string): string | undefined;
}

/** Only the portal answers for this name: by it a self-test knows who is behind a resolver's address. */
export const PORTAL_NAME = 'portal.cofferdam.internal';
export const PORTAL_ADDRESS = '198.18.0.1';

const MAX_NAMES = 65_536;
const MAX_WAITING = 256;
/** A refused name is asked for again after this time: clients try twice at once, and policy is on the host. */
const REFUSED_MS = 1_000;

/**
 * Answers of the gateway, kept for their time to live. At most 256 different names wait for an answer at a time; more fail
 * at once. Addresses are never forgotten: a connection may come long after the name was looked up, and the gateway never
 * gives one address to two names in a run.
 */
export function createNames(options: { ask: (name: string) => Promise<NameAnswer>; now?: () => number }): Names {
  const now = options.now ?? Date.now;
  const answers = new Map<string, { answer: NameAnswer; until: number }>();
  const waiting = new Map<string, Promise<NameAnswer>>();
  const byAddress = new Map<string, string>();

  async function ask(name: string): Promise<NameAnswer> {
    const answer = await options.ask(name);
    if (answer === 'failed') return answer;
    const keepMs = answer === 'refused' ? REFUSED_MS : answer.ttl * 1000;
    if (answers.size >= MAX_NAMES) answers.clear();
    answers.set(name, { answer, until: now() + keepMs });
    if (answer !== 'refused' && (byAddress.has(answer.address) || byAddress.size < MAX_NAMES)) {
      byAddress.set(answer.address, name);
    }
    return answer;
  }

  return {
    nameOf: (address) => byAddress.get(address),
    lookup(name) {
      if (name === 'localhost' || name.endsWith('.localhost'))
        return Promise.resolve({ address: '127.0.0.1', ttl: 3600 });
      if (name === PORTAL_NAME) return Promise.resolve({ address: PORTAL_ADDRESS, ttl: 0 });
      const known = answers.get(name);
      if (known !== undefined && known.until > now()) return Promise.resolve(known.answer);
      const pending = waiting.get(name);
      if (pending !== undefined) return pending;
      if (waiting.size >= MAX_WAITING) return Promise.resolve('failed');
      const asked = ask(name).finally(() => waiting.delete(name));
      waiting.set(name, asked);
      return asked;
    },
  };
}
