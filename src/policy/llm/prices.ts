import { createHash } from 'node:crypto';
import type { ModelPrice } from '../../domain/policy.ts';

/**
 * Prices as integers: millionths of a micro-dollar for one token. A dollar per million tokens is a micro-dollar per
 * token, so that six decimals of a price in dollars per million tokens are exact.
 */
export interface Rates {
  input: number;
  output: number;
  cacheRead: number;
  cacheWrite: number;
  cacheWrite1h: number;
}

/** How a model's name is recognised: the price library's own words, as data. */
export type NameMatch =
  | { equals: string }
  | { starts_with: string }
  | { ends_with: string }
  | { contains: string }
  | { regex: string }
  | { or: NameMatch[] }
  | { and: NameMatch[] };

export interface PriceRow {
  /** Id of the configured provider that it is for; `*` for an operator's price. */
  provider: string;
  model: string;
  source: 'library' | 'operator';
  match: NameMatch;
  rates: Rates;
  /** Long-context prices: they hold for a whole call once its input is longer than `above`. */
  tiers: (Rates & { above: number })[];
  /** Longest input that the model takes, where it is known. */
  contextWindow?: number;
}

/** What the run manifest records: rows with the day they are from and their hash. */
export interface PriceTable {
  /** ISO date. */
  date: string;
  /** `sha256:` over the rows. */
  hash: string;
  rows: readonly PriceRow[];
}

/** Tokens of one call as they are billed. `input` is what was neither read from nor written to a cache. */
export interface TokenUsage {
  input: number;
  cacheRead: number;
  cacheWrite: number;
  cacheWrite1h: number;
  output: number;
}

/** Dollars per million tokens → integer rate; a seventh decimal is rounded up. */
export function rate(dollarsPerMTok: number): number {
  return Math.ceil(Number((dollarsPerMTok * 1e6).toFixed(3)));
}

/**
 * An operator's price for `model`, or for `provider/model` at one provider. A missing cache price counts as 2 × input for a write (also for an hour's) and 1 × for a read.
 */
export function operatorRow(model: string, price: ModelPrice): PriceRow {
  const input = rate(price.inputPerMTok);
  const cacheWrite = price.cacheWritePerMTok === undefined ? 2 * input : rate(price.cacheWritePerMTok);
  const rates: Rates = {
    input,
    output: rate(price.outputPerMTok),
    cacheRead: price.cacheReadPerMTok === undefined ? input : rate(price.cacheReadPerMTok),
    cacheWrite,
    cacheWrite1h: Math.max(cacheWrite, 2 * input),
  };
  return { provider: '*', model, source: 'operator', match: { equals: model }, rates, tiers: [] };
}

export function freezePrices(rows: readonly PriceRow[], date: string): PriceTable {
  return { date, hash: `sha256:${createHash('sha256').update(JSON.stringify(rows)).digest('hex')}`, rows };
}

/** Models that search or run tools without being asked to: what that costs beside the tokens is in no table. */
const ACTS_ITSELF = /(?:^|[-./])(?:search|sonar|online|deep-research|compound)(?:[-.:]|$)/;

/**
 * The row that prices a model at a provider: the operator's before the library's. Undefined means unpriced, as are models
 * that search by themselves, unless the operator prices them.
 */
export function findPrice(table: PriceTable, provider: string, model: string): PriceRow | undefined {
  const operator = table.rows.find((row) => row.source === 'operator' && row.model === `${provider}/${model}`);
  const general = table.rows.find((row) => row.source === 'operator' && row.model === model);
  if (operator !== undefined || general !== undefined) return operator ?? general;
  if (ACTS_ITSELF.test(model)) return undefined;
  return table.rows.find(
    (row) => row.source === 'library' && row.provider === provider && nameMatches(row.match, model),
  );
}

/** A date, a version or `latest`: what may follow a name that is known only by its beginning. */
const STAMP = /^(?:[-@.]?(?:\d{1,8}(?:-\d{2}){0,2}|latest|v\d{1,2})(?::\d{1,2})?){0,3}$/;

/**
 * Exact where the library is; where it knows a beginning only, what follows must be a date or version stamp, so that a
 * newer and dearer model does not pass under an older one's price. Case counts.
 */
export function nameMatches(match: NameMatch, model: string): boolean {
  if ('or' in match) return match.or.some((one) => nameMatches(one, model));
  if ('and' in match) return match.and.every((one) => nameMatches(one, model));
  if ('equals' in match) return model === match.equals;
  if ('starts_with' in match)
    return model.startsWith(match.starts_with) && STAMP.test(model.slice(match.starts_with.length));
  if ('regex' in match) return new RegExp(match.regex).test(model);
  // An end or a part of a name says too little about the rest.
  return false;
}

/** What a call costs, in micro-dollars, rounded up once. */
export function cost(row: PriceRow, usage: TokenUsage): number {
  const inputs = usage.input + usage.cacheRead + usage.cacheWrite + usage.cacheWrite1h;
  return total(ratesFor(row, inputs), usage);
}

export function ratesFor(row: PriceRow, inputs: number): Rates {
  let chosen: Rates & { above?: number } = row.rates;
  let above = -1;
  for (const tier of row.tiers) {
    if (inputs > tier.above && tier.above > above) {
      chosen = tier;
      above = tier.above;
    }
  }
  return chosen;
}

function total(rates: Rates, usage: TokenUsage): number {
  const millionths =
    BigInt(rates.input) * BigInt(usage.input) +
    BigInt(rates.cacheRead) * BigInt(usage.cacheRead) +
    BigInt(rates.cacheWrite) * BigInt(usage.cacheWrite) +
    BigInt(rates.cacheWrite1h) * BigInt(usage.cacheWrite1h) +
    BigInt(rates.output) * BigInt(usage.output);
  const micro = (millionths + 999_999n) / 1_000_000n;
  // Nothing real costs nine billion dollars; a usage that says so is kept at a number that every sum can hold.
  return micro > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(micro);
}
