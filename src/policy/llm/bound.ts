import type { Wire } from '../../domain/policy.ts';
import { cost, ratesFor } from './prices.ts';
import type { PriceRow, Rates } from './prices.ts';
import type { Findings } from './rules.ts';

/*
 * The most that a call can cost, before it is sent. Byte-level tokenizers make at most one token of a byte, and the
 * whole forwarded body is counted, so that its JSON syntax pays for the few tokens that a provider adds around each
 * message.
 */

/** Tokens that one image can be, by wire: the largest of the documented formulas, rounded up. */
const IMAGE_TOKENS: Record<Wire, number> = {
  anthropic: 8_000,
  'openai-chat': 50_000,
  'openai-responses': 50_000,
  gemini: 20_000,
};

/**
 * A document's pages are sent as text and as images. Anthropic takes so many that only the window of a model bounds them;
 * Gemini takes 1,000 and makes at most 1,120 tokens of one. OpenAI's wires carry none.
 */
const DOCUMENT_TOKENS: Record<Wire, number> = {
  anthropic: 1_000_000,
  'openai-chat': 1_000_000,
  'openai-responses': 1_000_000,
  gemini: 1_120_000,
};

/** What a provider adds for tools: instructions of its own, once for the set. */
const TOOL_SET_TOKENS = 2_000;
const BASE_TOKENS = 64;

export interface BoundInput {
  wire: Wire;
  /** Length of the forwarded body. */
  bytes: number;
  found: Findings;
  tools: boolean;
}

/** Upper bound of the input tokens. */
export function inputBound({ wire, bytes, found, tools }: BoundInput): number {
  const text = Math.max(0, bytes - found.mediaBytes);
  const media = found.images * IMAGE_TOKENS[wire] + found.documents * DOCUMENT_TOKENS[wire];
  return text + media + (tools ? TOOL_SET_TOKENS : 0) + BASE_TOKENS;
}

/** Upper bound of the price of a call in micro-dollars: `fixed` for its input, and all of it with `output` tokens. */
export function worstCase(options: {
  row: PriceRow;
  wire: Wire;
  input: number;
  output: number;
  cache: Findings['cache'];
}): number {
  const { row, wire, input, output, cache } = options;
  const rates = dearest(row, input);
  const perInput = inputRate(rates, wire, cache);
  const worst: PriceRow = {
    ...row,
    tiers: [],
    rates: { ...rates, input: perInput, cacheRead: perInput, cacheWrite: perInput, cacheWrite1h: perInput },
  };
  return cost(worst, { input, cacheRead: 0, cacheWrite: 0, cacheWrite1h: 0, output });
}

/** Most output tokens that `amount` pays for besides the input; -1 when it does not even pay for that. */
export function affordableOutput(options: {
  row: PriceRow;
  wire: Wire;
  input: number;
  cache: Findings['cache'];
  amount: number;
  wanted: number;
}): number {
  const { wanted, amount, ...call } = options;
  if (worstCase({ ...call, output: wanted }) <= amount) return wanted;
  if (worstCase({ ...call, output: 0 }) > amount) return -1;
  // The price grows with the output, so that halving finds the last affordable number.
  let low = 0;
  let high = wanted;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (worstCase({ ...call, output: middle }) <= amount) low = middle;
    else high = middle;
  }
  return low;
}

/** The highest of each price that any input up to the bound can meet. */
function dearest(row: PriceRow, input: number): Rates {
  const met = [row.rates, ...row.tiers.filter((tier) => input > tier.above), ratesFor(row, input)];
  const highest = (key: keyof Rates): number => Math.max(...met.map((rates) => rates[key]));
  return {
    input: highest('input'),
    output: highest('output'),
    cacheRead: highest('cacheRead'),
    cacheWrite: highest('cacheWrite'),
    cacheWrite1h: highest('cacheWrite1h'),
  };
}

/** Anthropic writes a cache only where the request marks one; other providers do it as they like. */
function inputRate(rates: Rates, wire: Wire, cache: Findings['cache']): number {
  const read = Math.max(rates.input, rates.cacheRead);
  if (cache === '1h') return Math.max(read, rates.cacheWrite, rates.cacheWrite1h);
  return wire === 'anthropic' && cache === 'none' ? read : Math.max(read, rates.cacheWrite);
}
