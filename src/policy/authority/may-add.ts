import { allow, deny, type Decision } from '../../domain/decision.ts';
import { DEFAULT_METHODS } from '../egress/decide.ts';
import { matchesAllow } from '../egress/host.ts';
import { PresetName, type EgressEntry, type EgressRule } from '../../domain/policy.ts';

/** Without a word about methods a host may only be read. */
const READ = ['GET', 'HEAD'];

/** A way out that somebody who is not the operator asks for. */
export interface WayOut {
  /** A host name, a wildcard of the operator's own, or the name of a preset. */
  name: string;
  /** Empty: reading only. */
  methods: string[];
}

/** `host`, `host=GET+POST`, several with commas: as the flag `--allow` carries them. */
export function readWaysOut(flag: string): WayOut[] {
  return flag.split(',').map((part) => {
    const [name = '', methods = ''] = part.split('=');
    return { name: name.toLowerCase(), methods: methods.split('+').filter((method) => method !== '') };
  });
}

/** The reverse of `readWaysOut`. */
export function writeWaysOut(ways: readonly WayOut[]): string {
  return ways.map(({ name, methods }) => (methods.length === 0 ? name : `${name}=${methods.join('+')}`)).join(',');
}

export type WayOutDecision =
  { decision: Decision & { allow: true }; entry: EgressEntry } | { decision: Decision & { allow: false } };

const RULE = 'egress.mayAdd';

/**
 * May this way out be added to one run? What comes back is no wider than what the operator lets people add: its paths and ports,
 * and of its methods those that were asked for.
 */
export function mayAdd(permitted: readonly EgressEntry[], wanted: WayOut): WayOutDecision {
  const preset = PresetName.safeParse(wanted.name);
  if (preset.success) {
    const listed = permitted.includes(preset.data) && wanted.methods.length === 0;
    return listed ? { decision: allow(RULE), entry: preset.data } : { decision: deny(RULE, 'not_allowed') };
  }
  for (const entry of permitted) {
    const narrowed = typeof entry === 'string' ? undefined : narrow(entry, wanted);
    if (narrowed !== undefined) return { decision: allow(RULE), entry: narrowed };
  }
  return { decision: deny(RULE, 'not_allowed') };
}

function narrow(permitted: EgressRule, wanted: WayOut): EgressRule | undefined {
  // A wildcard is the operator's word alone.
  if (wanted.name.includes('*') || !matchesAllow(permitted.host, wanted.name)) return undefined;
  const asked = wanted.methods.length === 0 ? READ : wanted.methods;
  const given = permitted.methods ?? DEFAULT_METHODS;
  const methods = asked.filter((one) => given.includes(one));
  // Reading is taken as far as it is given; a method that was named must be.
  if (methods.length === 0 || (wanted.methods.length > 0 && methods.length < asked.length)) return undefined;
  const { paths, ports } = permitted;
  return {
    host: wanted.name,
    methods,
    ...(paths === undefined ? {} : { paths }),
    ...(ports === undefined ? {} : { ports }),
  };
}

/** The line that an operator would add under `egress.mayAdd`. Precondition: the name is a plain host name or a preset. */
export function operatorLine({ name, methods }: WayOut): string {
  if (PresetName.safeParse(name).success) return `- ${name}`;
  return `- { host: "${name}", methods: [${(methods.length === 0 ? READ : methods).join(', ')}] }`;
}
