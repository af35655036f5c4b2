import type { NameAnswer } from './gateway.ts';

/** Who answers for a name, and which name an address of the sandbox stands for. */
export interface Names {
  /** With a type: of a record that is no address. There are none, so the gateway only hears of it, and the answer is `refused`. */
  lookup(name: string, type?: number): Promise<NameAnswer>;
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
export function createNames(options: {
  ask: (name: string, type?: number) => Promise<NameAnswer>;
  now?: () => number;
}): Names {
  const now = options.now ?? Date.now;
  const answers = new Map<string, { answer: NameAnswer; until: number }>();
  const waiting = new Map<string, Promise<NameAnswer>>();
  const byAddress = new Map<string, string>();

  async function ask(key: string, name: string, type?: number): Promise<NameAnswer> {
    const answer = await options.ask(name, type);
    if (answer === 'failed') return answer;
    const keepMs = answer === 'refused' ? REFUSED_MS : answer.ttl * 1000;
    if (answers.size >= MAX_NAMES) answers.clear();
    answers.set(key, { answer, until: now() + keepMs });
    if (answer !== 'refused' && (byAddress.has(answer.address) || byAddress.size < MAX_NAMES)) {
      byAddress.set(answer.address, name);
    }
    return answer;
  }

  return {
    nameOf: (address) => byAddress.get(address),
    lookup(name, type) {
      if (type !== undefined && (isLocal(name) || name === PORTAL_NAME)) return Promise.resolve('refused');
      if (isLocal(name)) return Promise.resolve({ address: '127.0.0.1', ttl: 3600 });
      if (name === PORTAL_NAME) return Promise.resolve({ address: PORTAL_ADDRESS, ttl: 0 });
      const key = type === undefined ? name : `${type} ${name}`;
      const known = answers.get(key);
      if (known !== undefined && known.until > now()) return Promise.resolve(known.answer);
      const pending = waiting.get(key);
      if (pending !== undefined) return pending;
      if (waiting.size >= MAX_WAITING) return Promise.resolve('failed');
      const asked = ask(key, name, type).finally(() => waiting.delete(key));
      waiting.set(key, asked);
      return asked;
    },
  };
}

function isLocal(name: string): boolean {
  return name === 'localhost' || name.endsWith('.localhost');
}
