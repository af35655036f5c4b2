import { findProvider } from '@pydantic/genai-prices';
import type {
  ConditionalPrice,
  ModelInfo,
  ModelPrice as LibraryPrice,
  Provider,
  TieredPrices,
} from '@pydantic/genai-prices';
import type { LlmSettings, Wire } from '../../domain/policy.ts';
import { freezePrices, operatorRow, rate } from '../../policy/llm/prices.ts';
import type { PriceRow, PriceTable, Rates } from '../../policy/llm/prices.ts';
import type { ProviderPlan } from '../../policy/llm/providers.ts';

/**
 * The price table of a run: the operator's prices, then the price library's rows for the configured providers, as they
 * hold at `at`. Frozen: later changes of either do not reach a run that has begun.
 */
export function priceTable(options: {
  providers: readonly ProviderPlan[];
  prices: LlmSettings['prices'];
  at: Date;
}): PriceTable {
  const own = Object.entries(options.prices).map(([model, price]) => operatorRow(model, price));
  const library = options.providers.flatMap((provider) => libraryRows(provider, options.at));
  return freezePrices([...own, ...library], options.at.toISOString().slice(0, 10));
}

/** Whose prices a provider has when neither its id nor its address is known: those of the wire's maker. */
const MAKERS: Record<Wire, string> = {
  anthropic: 'anthropic',
  'openai-chat': 'openai',
  'openai-responses': 'openai',
  gemini: 'google',
};

function libraryRows(plan: ProviderPlan, at: Date): PriceRow[] {
  const maker = plan.wires[0] === undefined ? undefined : MAKERS[plan.wires[0]];
  const found =
    findProvider({ providerId: plan.id }) ??
    findProvider({ providerApiUrl: plan.baseUrl }) ??
    (maker === undefined ? undefined : findProvider({ providerId: maker }));
  if (found === undefined) return [];
  const fallbacks = (found.fallback_model_providers ?? []).flatMap((id) => findProvider({ providerId: id }) ?? []);
  return [found, ...fallbacks].flatMap((vendor) => vendorRows(vendor, plan.id, at));
}

/** Charged by the call, or for text that the provider finds. */
const UNPRICEABLE = ['requests_kcount', 'output_citation_mtok'];

function byTokens(price: LibraryPrice): boolean {
  const both = price['input_mtok'] !== undefined && price['output_mtok'] !== undefined;
  return both && !Object.keys(price).some((key) => UNPRICEABLE.includes(key));
}

function vendorRows(vendor: Provider, provider: string, at: Date): PriceRow[] {
  return vendor.models.flatMap((model) => {
    const prices = activePrices(model, at);
    const priced = prices.every(byTokens);
    if (prices.length === 0 || !priced) return [];
    const starts = new Set(prices.flatMap((price) => Object.values(price).flatMap(tierStarts)));
    const tiers = [...starts]
      .sort((a, b) => a - b)
      .map((above) => ({ above, ...highest(prices.map((price) => ratesOf(price, above + 1))) }));
    const row: PriceRow = {
      provider,
      model: model.id,
      source: 'library',
      match: { or: [{ equals: model.id }, model.match] },
      rates: highest(prices.map((price) => ratesOf(price, 0))),
      tiers,
    };
    return [model.context_window === undefined ? row : { ...row, contextWindow: model.context_window }];
  });
}

/**
 * The prices that hold at an instant. Of prices that change with the time of day all are given, so that the highest can
 * be taken: a call may begin in one and end in another.
 */
function activePrices(model: ModelInfo, at: Date): LibraryPrice[] {
  if (!Array.isArray(model.prices)) return [model.prices];
  const daily = model.prices.filter((price) => price.constraint?.type === 'time_of_date');
  const dated = model.prices.filter((price) => price.constraint?.type !== 'time_of_date' && begun(price, at));
  return [...daily, ...dated.slice(-1)].map((price) => price.prices);
}

function begun({ constraint }: ConditionalPrice, at: Date): boolean {
  return constraint?.type !== 'start_date' || at >= new Date(constraint.start_date);
}

function tierStarts(value: number | TieredPrices | undefined): number[] {
  return typeof value === 'object' ? value.tiers.map((tier) => tier.start) : [];
}

function ratesOf(price: LibraryPrice, inputs: number): Rates {
  const of = (key: string): number | undefined => {
    const value = price[key];
    if (typeof value !== 'object') return value === undefined ? undefined : rate(value);
    let dollars = value.base;
    for (const tier of value.tiers) if (inputs > tier.start) dollars = tier.price;
    return rate(dollars);
  };
  // Usage does not tell images apart in every wire: where they are dearer, all is.
  const input = Math.max(of('input_mtok') ?? 0, of('input_image_mtok') ?? 0);
  const cacheWrite = of('cache_write_mtok');
  return {
    input,
    // Reasoning and images that have a price of their own come as output.
    output: Math.max(of('output_mtok') ?? 0, of('output_reasoning_mtok') ?? 0, of('output_image_mtok') ?? 0),
    cacheRead: Math.max(of('cache_read_mtok') ?? input, of('cache_image_read_mtok') ?? 0),
    // The library leaves out what is billed as plain input.
    cacheWrite: cacheWrite ?? input,
    cacheWrite1h: of('cache_write_1h_mtok') ?? (cacheWrite === undefined ? input : 2 * input),
  };
}

function highest(all: Rates[]): Rates {
  const of = (key: keyof Rates): number => Math.max(...all.map((rates) => rates[key]));
  return {
    input: of('input'),
    output: of('output'),
    cacheRead: of('cacheRead'),
    cacheWrite: of('cacheWrite'),
    cacheWrite1h: of('cacheWrite1h'),
  };
}
