import type { TokenCounts } from './script.ts';

/** Dollars per million tokens. `tiers` replace the prices once the whole input is longer than `above`. */
export interface PriceCard {
  input: number;
  output: number;
  cacheRead?: number;
  cacheWrite?: number;
  cacheWrite1h?: number;
  tiers?: (Omit<PriceCard, 'tiers'> & { above: number })[];
}

/** How a call ended, as the provider saw it. */
export type Outcome = 'open' | 'done' | 'cut' | 'aborted' | 'refused';

/** One line of the provider's own books: what it really charges, in micro-dollars. */
export interface BookEntry {
  index: number;
  model: string;
  usage: TokenCounts;
  cost: number;
  outcome: Outcome;
}

/** What the provider charges for a call: each part at its price, the sum rounded up to a micro-dollar. */
export function charge(card: PriceCard, usage: TokenCounts): number {
  const inputs = usage.input + usage.cacheRead + usage.cacheWrite + usage.cacheWrite1h;
  const tier = [...(card.tiers ?? [])].sort((a, b) => b.above - a.above).find((t) => inputs > t.above) ?? card;
  const write = tier.cacheWrite ?? tier.input;
  // A dollar per million tokens is a micro-dollar per token; a millionth of that keeps six decimals of a price exact.
  const parts: [number, number][] = [
    [usage.input, tier.input],
    [usage.cacheRead, tier.cacheRead ?? tier.input],
    [usage.cacheWrite, write],
    [usage.cacheWrite1h, tier.cacheWrite1h ?? write],
    [usage.output, tier.output],
  ];
  const millionths = parts.reduce((sum, [tokens, price]) => sum + BigInt(tokens) * BigInt(Math.round(price * 1e6)), 0n);
  return Number((millionths + 999_999n) / 1_000_000n);
}

/** Tokens of a text as this provider counts them: four bytes make one. */
export function tokens(bytes: number): number {
  return Math.ceil(bytes / 4);
}
