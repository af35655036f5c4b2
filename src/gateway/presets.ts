import { CofferdamError } from '../domain/errors.ts';
import type { EgressEntry, EgressPolicy, RegistryName } from '../domain/policy.ts';
import { registryRules, type RegistryPlace } from '../policy/egress/registry.ts';

/** The places that an ecosystem's client reads from, asked on the host. Errors: `policy`. */
export type AskRegistry = (preset: RegistryName, signal: AbortSignal) => Promise<RegistryPlace[]>;

/**
 * The hosts of a policy. Presets become rules for what the clients say on the host, before a run starts: nothing in a
 * clone and no answer during a run adds a host. `github` is the git proxy and opens no host. Errors: `policy` for a preset
 * that cannot be resolved.
 */
export async function resolveEntries(options: {
  entries: readonly { entry: EgressEntry; source: string }[];
  ask: AskRegistry;
  allowPrivate: boolean;
  signal: AbortSignal;
}): Promise<EgressPolicy['rules']> {
  const rules = await Promise.all(
    options.entries.map(async ({ entry, source }): Promise<EgressPolicy['rules']> => {
      if (typeof entry !== 'string') return [{ ...entry, source }];
      const found = entry === 'github' ? [] : await presetRules(entry, options);
      return found.map((rule) => ({ ...rule, source: `${entry} preset, ${source}` }));
    }),
  );
  return rules.flat();
}

async function presetRules(
  preset: RegistryName,
  options: { ask: AskRegistry; allowPrivate: boolean; signal: AbortSignal },
): Promise<EgressPolicy['rules']> {
  const places = await options.ask(preset, options.signal);
  const found = registryRules(preset, places, options);
  if (!found.ok)
    throw new CofferdamError('policy', 'gateway.resolveEntries', `the preset "${preset}": ${found.problem}`);
  return found.rules;
}
