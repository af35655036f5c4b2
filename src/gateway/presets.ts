import { CofferdamError } from '../domain/errors.ts';
import type { EgressEntry, EgressPolicy, PresetName } from '../domain/policy.ts';

/** Addresses of the registries that a preset's client is configured for, asked on the host. */
export type AskRegistry = (preset: PresetName, signal: AbortSignal) => Promise<string[]>;

/** Presets that this version resolves; `github` is the git proxy and opens no host. */
const RESOLVED: readonly PresetName[] = ['npm', 'pip'];

/**
 * The hosts of a policy. Presets become rules for what the clients on the host say, once, before a run starts: nothing in
 * a clone and no answer during a run adds a host. Errors: `policy` for a preset that cannot be resolved.
 */
export async function resolveEntries(options: {
  entries: readonly EgressEntry[];
  ask: AskRegistry;
  allowPrivate: boolean;
  signal: AbortSignal;
}): Promise<EgressPolicy['rules']> {
  const rules: EgressPolicy['rules'] = [];
  for (const entry of options.entries) {
    if (typeof entry !== 'string') rules.push({ ...entry, source: 'policy' });
    else if (entry !== 'github') rules.push(...(await presetRules(entry, options)));
  }
  return rules;
}

async function presetRules(
  preset: PresetName,
  options: { ask: AskRegistry; allowPrivate: boolean; signal: AbortSignal },
): Promise<EgressPolicy['rules']> {
  if (!RESOLVED.includes(preset)) {
    throw new CofferdamError(
      'policy',
      'gateway.resolveEntries',
      `egress.allow: the preset "${preset}" is not offered by this version; name its hosts instead`,
    );
  }
  const hosts = new Set((await options.ask(preset, options.signal)).map((address) => registryOf(preset, address)));
  return [...hosts].map((host) => {
    const { hostname, port } = new URL(host);
    return {
      host: hostname,
      ports: [port === '' ? 443 : Number(port)],
      // TLS is passed through, so methods and paths are not seen.
      passThrough: true,
      ...(options.allowPrivate ? { allowPrivate: true } : {}),
      source: `${preset} preset`,
    };
  });
}

function registryOf(preset: PresetName, address: string): string {
  const url = URL.parse(address);
  if (url?.protocol !== 'https:')
    throw new CofferdamError(
      'policy',
      'gateway.resolveEntries',
      `the preset "${preset}": its client is configured for ${JSON.stringify(address)}, which is no https address`,
    );
  return url.origin;
}
