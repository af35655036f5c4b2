import { cost, type PriceRow, type TokenUsage } from './prices.ts';

/** What a run is expected to cost, in micro-dollars, and by what. A guess for people; the cap is what holds. */
export interface ExpectedCost {
  low: number;
  high: number;
  basis: { kind: 'runs'; count: number } | { kind: 'prices'; calls: [number, number] };
  /** The cap is lower than what was expected: `high` is the cap. */
  capped: boolean;
}

/** A small task and a long one, as runs of coding agents with a warm cache are: calls, and the tokens of each. */
const SMALL = { calls: 8, each: { input: 1_000, cacheRead: 12_000, cacheWrite: 3_000, cacheWrite1h: 0, output: 400 } };
const LARGE = { calls: 80, each: { input: 2_000, cacheRead: 60_000, cacheWrite: 4_000, cacheWrite1h: 0, output: 800 } };
/** Fewer runs than these say nothing. */
const ENOUGH = 3;

/** From what runs of the repository cost when there are enough of them, else from the model's price. Undefined: neither is known. */
export function expectedCost(facts: {
  past: readonly number[];
  price: PriceRow | undefined;
  cap: number;
}): ExpectedCost | undefined {
  const { past, price, cap } = facts;
  if (past.length >= ENOUGH) {
    return within(cap, Math.min(...past), Math.max(...past), { kind: 'runs', count: past.length });
  }
  if (price === undefined) return undefined;
  const of = (size: { calls: number; each: TokenUsage }): number => size.calls * cost(price, size.each);
  return within(cap, of(SMALL), of(LARGE), { kind: 'prices', calls: [SMALL.calls, LARGE.calls] });
}

function within(cap: number, low: number, high: number, basis: ExpectedCost['basis']): ExpectedCost {
  return { low: Math.min(low, cap), high: Math.min(high, cap), basis, capped: high > cap };
}
