import { z } from 'zod';

/** A size such as `4GiB`, `512MiB` or a plain number of bytes; parsed to bytes. */
export const ByteSize = z.union([z.number(), z.string()]).transform((value, context) => {
  const match = /^(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|TiB)?$/.exec(String(value));
  const scale = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 }[match?.[2] ?? 'B'] ?? 1;
  const bytes = Math.floor(Number(match?.[1]) * scale);
  if (!match || !Number.isSafeInteger(bytes) || bytes <= 0) {
    context.addIssue({ code: 'custom', message: 'expected a size such as 512MiB or 4GiB' });
    return z.NEVER;
  }
  return bytes;
});

export const PRESETS = ['npm', 'pip', 'cargo', 'go', 'maven', 'apt', 'github'] as const;
export const PresetName = z.enum(PRESETS);
export type PresetName = z.infer<typeof PresetName>;
/** The presets that stand for package registries; `github` is the git proxy. */
export const RegistryName = PresetName.exclude(['github']);
export type RegistryName = z.infer<typeof RegistryName>;

/** An exact name or `*.` and a suffix; canonical checks (IDNA, public suffixes) are in `policy/`. */
const HostPattern = z.string().min(1).max(253);

export const Credential = z.strictObject({
  header: z.string().regex(/^[A-Za-z0-9-]{1,64}$/),
  /** Name of the environment variable of the worker that holds the value. */
  valueEnv: z.string().regex(/^[A-Z_][A-Z0-9_]*$/),
});
export type Credential = z.infer<typeof Credential>;

/** One host that may be reached. */
export const EgressRule = z.strictObject({
  host: HostPattern,
  ports: z.array(z.number().int().min(1).max(65535)).min(1).optional(),
  methods: z
    .array(z.string().regex(/^[A-Z]{1,16}$/))
    .min(1)
    .optional(),
  /** Path patterns, `**` crosses slashes and `*` does not. */
  paths: z.array(z.string().startsWith('/')).min(1).optional(),
  allowPrivate: z.boolean().optional(),
  /** TLS is passed through instead of terminated: name and address rules hold, methods and paths cannot. */
  passThrough: z.boolean().optional(),
  /** WebSocket and other upgrades. */
  upgrade: z.boolean().optional(),
  /** Permits a wildcard under a public suffix. */
  unsafe: z.boolean().optional(),
  credential: Credential.optional(),
});
export type EgressRule = z.infer<typeof EgressRule>;

export const EgressEntry = z.union([PresetName, EgressRule]);
export type EgressEntry = z.infer<typeof EgressEntry>;

export const OperatorEgress = z.strictObject({
  allow: z.array(EgressEntry),
  mayAdd: z.array(EgressEntry).default([]),
  deny: z.array(HostPattern).default([]),
  /** CA bundle that is trusted upstream; default: the host's. */
  caFile: z.string().optional(),
  /** The company mirror answers the presets' hosts from private addresses. */
  presetsAllowPrivate: z.boolean().default(false),
  /** Addresses of registries by preset, instead of asking the ecosystem's client. */
  registries: z.partialRecord(RegistryName, z.array(z.url({ protocol: /^https?$/ })).min(1)).default({}),
});
export type OperatorEgress = z.infer<typeof OperatorEgress>;

export const OperatorLimits = z.strictObject({
  maxCostUsd: z.number().nonnegative().default(5),
  timeoutMinutes: z
    .number()
    .positive()
    .max(24 * 60)
    .default(30),
  maxTurns: z.number().int().positive().default(100),
  /** One setup command, and a verification as a whole. */
  stepMinutes: z
    .number()
    .positive()
    .max(24 * 60)
    .default(15),
  /** Without a word of the agent or, for one that is a plain command, output or a model call. */
  idleMinutes: z
    .number()
    .positive()
    .max(24 * 60)
    .default(15),
  repositoryDailyCostUsd: z.number().nonnegative().default(20),
  installationDailyCostUsd: z.number().nonnegative().default(50),
  concurrentRuns: z.number().int().positive().max(64).default(4),
});
export type OperatorLimits = z.infer<typeof OperatorLimits>;

export const SandboxSettings = z.strictObject({
  runtime: z
    .string()
    .regex(/^[a-z0-9][a-z0-9._-]*$/)
    .default('cofferdam'),
  image: z.string().default('cofferdam/sandbox:latest'),
  memory: ByteSize.default(4 * 2 ** 30),
  cpus: z.number().positive().max(256).default(2),
  processes: z.number().int().min(16).max(65536).default(512),
  disk: ByteSize.default(10 * 2 ** 30),
  diskMode: z.enum(['watched', 'tmpfs']).default('watched'),
  /** Whether a sandbox may run without a record of its processes where gVisor's kernel cannot report them. */
  processRecord: z.enum(['required', 'optional']).default('required'),
});
export type SandboxSettings = z.infer<typeof SandboxSettings>;

export const WIRES = ['anthropic', 'openai-chat', 'openai-responses', 'gemini'] as const;
export const Wire = z.enum(WIRES);
export type Wire = z.infer<typeof Wire>;

/** Dollars for a million tokens; bounded, so that no call's worst case leaves the range of exact integers. */
const PricePerMTok = z.number().nonnegative().max(100_000);

export const ModelPrice = z.strictObject({
  inputPerMTok: PricePerMTok,
  outputPerMTok: PricePerMTok,
  cacheReadPerMTok: PricePerMTok.optional(),
  cacheWritePerMTok: PricePerMTok.optional(),
});
export type ModelPrice = z.infer<typeof ModelPrice>;

export const ProviderSettings = z
  .strictObject({
    /** Default: what the well-known ids `anthropic`, `openai`, `google` speak. */
    wire: Wire.optional(),
    /** The operator's word: may be private and plain http. */
    baseUrl: z.url({ protocol: /^https?$/ }).optional(),
    apiKeyEnv: z.string().optional(),
    apiKeyFile: z.string().optional(),
  })
  .refine((p) => !(p.apiKeyEnv !== undefined && p.apiKeyFile !== undefined), 'give apiKeyEnv or apiKeyFile, not both');
export type ProviderSettings = z.infer<typeof ProviderSettings>;

export const LlmSettings = z.strictObject({
  /** `<provider>/<model>` */
  default: z
    .string()
    .regex(/^[a-z0-9-]+\/.+$/)
    .optional(),
  providers: z.record(z.string().regex(/^[a-z0-9-]{1,32}$/), ProviderSettings).default({}),
  models: z.array(z.string()).default([]),
  prices: z.record(z.string(), ModelPrice).default({}),
});
export type LlmSettings = z.infer<typeof LlmSettings>;

/** When must a person say yes before a result is pushed? From the loosest to the strictest. */
export const HOLD_SETTINGS = ['never', 'protected', 'always'] as const;
export const HoldSetting = z.enum(HOLD_SETTINGS);
export type HoldSetting = z.infer<typeof HoldSetting>;

/** The operator's policy file. Unknown keys are errors; `egress.allow` must be there, an empty list is valid. */
export const OperatorPolicy = z.strictObject({
  limits: OperatorLimits.prefault({}),
  sandbox: SandboxSettings.prefault({}),
  egress: OperatorEgress,
  llm: LlmSettings.prefault({}),
  agent: z.string().default('opencode'),
  /** The first word of a command comment. */
  prefix: z
    .string()
    .regex(/^[/@][a-z][a-z0-9-]{0,31}$/)
    .default('/agent'),
  label: z.string().min(1).max(50).default('agent'),
  publish: z.strictObject({ hold: HoldSetting.default('protected') }).prefault({}),
});
export type OperatorPolicy = z.infer<typeof OperatorPolicy>;

const Commands = z
  .union([z.string().min(1), z.array(z.string().min(1))])
  .transform((c) => (Array.isArray(c) ? c : [c]));

/** `.github/cofferdam.yml` of the default branch: may only choose within the operator's policy. */
export const RepositoryFile = z.strictObject({
  agent: z.string().optional(),
  model: z.string().optional(),
  env: z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string()).default({}),
  setup: Commands.default([]),
  verify: Commands.default([]),
  services: z.array(z.string()).default([]),
  limits: z
    .strictObject({
      maxCostUsd: z.number().nonnegative().optional(),
      timeoutMinutes: z.number().positive().optional(),
      maxTurns: z.number().int().positive().optional(),
      stepMinutes: z.number().positive().optional(),
      idleMinutes: z.number().positive().optional(),
    })
    .default({}),
  egress: z.strictObject({ allow: z.array(EgressEntry).default([]) }).prefault({}),
  protected: z.array(z.string()).default([]),
  publish: z.strictObject({ hold: HoldSetting.optional() }).default({}),
});
export type RepositoryFile = z.infer<typeof RepositoryFile>;

/** What the gateway of one run enforces: presets are resolved to hosts, `mayAdd` is settled. Frozen in the manifest. */
export interface EgressPolicy {
  /**
   * `source` is what a report names: `npm preset`, `policy line 12`. `registry`: the rule is a preset's, so that query,
   * headers and misses are bound too. `redirected`: only addresses that an allowed answer has just named.
   */
  rules: (EgressRule & { source: string; registry?: RegistryName | undefined; redirected?: boolean | undefined })[];
  deny: string[];
  /** Repositories that the git proxy serves, `owner/name` lower-case. */
  gitRepositories: string[];
}

/** The limits of one run, settled. Money in micro-dollars. */
export interface Limits {
  maxCost: number;
  repositoryDailyCost: number;
  installationDailyCost: number;
  timeoutMs: number;
  maxTurns: number;
  /** Of one setup command, and of a verification. */
  stepMs: number;
  /** Of an agent that says nothing. */
  idleMs: number;
}
