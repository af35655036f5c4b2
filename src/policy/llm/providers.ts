import type { ProviderSettings, Wire } from '../../domain/policy.ts';

/** What is known of providers by their id: their public endpoints and the wires that they speak. */
const WELL_KNOWN: Readonly<Record<string, { wires: readonly Wire[]; baseUrl: string }>> = {
  anthropic: { wires: ['anthropic'], baseUrl: 'https://api.anthropic.com/v1' },
  openai: { wires: ['openai-responses', 'openai-chat'], baseUrl: 'https://api.openai.com/v1' },
  google: { wires: ['gemini'], baseUrl: 'https://generativelanguage.googleapis.com/v1beta' },
};

/** A provider of the operator's policy, complete: which wires it speaks and where. */
export interface ProviderPlan {
  id: string;
  /** The first is what an agent that speaks several should use. */
  wires: readonly Wire[];
  baseUrl: string;
}

/** The plan, or what the operator has to add. */
export type PlannedProvider = { ok: true; plan: ProviderPlan } | { ok: false; problem: string };

/** Completes the settings of one provider with what is known of its id. */
export function planProvider(id: string, settings: ProviderSettings): PlannedProvider {
  const known = Object.hasOwn(WELL_KNOWN, id) ? WELL_KNOWN[id] : undefined;
  const wires = settings.wire === undefined ? known?.wires : [settings.wire];
  const baseUrl = settings.baseUrl ?? known?.baseUrl;
  if (wires === undefined)
    return {
      ok: false,
      problem: `llm.providers.${id}: set wire, since ${id} is not a provider that is known by its id`,
    };
  if (baseUrl === undefined)
    return {
      ok: false,
      problem: `llm.providers.${id}: set baseUrl, since ${id} is not a provider that is known by its id`,
    };
  return { ok: true, plan: { id, wires, baseUrl } };
}
