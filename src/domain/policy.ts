import { z } from 'zod';

/*
 * The operator's file, and what it shares with a repository's (repository-file.ts). What `describe` says is what their editors show (docs/schemas, written by
 * test/config/schema-files.ts); `meta` says in JSON Schema what a transformation checks.
 */

const SIZE = /^(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|TiB)?$/;
const BYTES = z.number().meta({ minimum: 1 });

/** A size such as `4GiB`, `512MiB` or a plain number of bytes; parsed to bytes. */
const ByteSize = z.union([BYTES, z.string().meta({ pattern: SIZE.source })]).transform((value, context) => {
  const match = SIZE.exec(String(value));
  const scale = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 }[match?.[2] ?? 'B'] ?? 1;
  const bytes = Math.floor(Number(match?.[1]) * scale);
  if (!match || !Number.isSafeInteger(bytes) || bytes <= 0) {
    context.addIssue({ code: 'custom', message: 'expected a size such as 512MiB or 4GiB' });
    return z.NEVER;
  }
  return bytes;
});

const PRESETS = ['npm', 'pip', 'cargo', 'go', 'maven', 'apt', 'github'] as const;
export const PresetName = z.enum(PRESETS, {
  error: ({ input }) =>
    typeof input === 'string' && input.includes('.') ? `a host is not a preset: write { host: ${input} }` : undefined,
});
export type PresetName = z.infer<typeof PresetName>;
/** The presets that stand for package registries; `github` is the git proxy. */
export const RegistryName = PresetName.exclude(['github']);
export type RegistryName = z.infer<typeof RegistryName>;

/** Canonical checks (IDNA, public suffixes) are in `policy/`. */
const HostPattern = z.string().min(1).max(253).describe('An exact name, or *. and a suffix.');

const Credential = z.strictObject({
  header: z
    .string()
    .regex(/^[A-Za-z0-9-]{1,64}$/)
    .describe('Name of the header that the gateway adds.'),
  valueEnv: z
    .string()
    .regex(/^[A-Z_][A-Z0-9_]*$/)
    .describe("Environment variable of the worker that holds the header's value."),
});
export type Credential = z.infer<typeof Credential>;

/** One host that may be reached. */
export const EgressRule = z.strictObject({
  host: HostPattern,
  ports: z.array(z.number().int().min(1).max(65535)).min(1).optional().describe('Default: 443 and 80.'),
  methods: z
    .array(z.string().regex(/^[A-Z]{1,16}$/, 'expected a method in capitals, such as GET'))
    .min(1)
    .optional()
    .describe('HTTP methods in capitals, such as GET. Default: all usual ones.'),
  paths: z
    .array(z.string().startsWith('/'))
    .min(1)
    .optional()
    .describe('Path patterns; ** crosses slashes and * does not.'),
  allowPrivate: z.boolean().optional().describe('The name may resolve to private addresses. Operator only.'),
  passThrough: z
    .boolean()
    .optional()
    .describe(
      'TLS is passed through instead of terminated: name and address rules hold, methods and paths cannot. Operator only.',
    ),
  upgrade: z.boolean().optional().describe('WebSocket and other upgrades. Operator only.'),
  unsafe: z.boolean().optional().describe('Permits a wildcard under a public suffix. Operator only.'),
  credential: Credential.optional().describe('Added by the gateway, never seen inside. Operator only.'),
});
export type EgressRule = z.infer<typeof EgressRule>;

export const EgressEntry = z.union([PresetName, EgressRule]);
export type EgressEntry = z.infer<typeof EgressEntry>;

export const OperatorEgress = z.strictObject({
  allow: z.array(EgressEntry).describe('What every run may reach; an empty list means no way out.'),
  mayAdd: z
    .array(EgressEntry)
    .default([])
    .describe("What a repository's file and /agent allow may add; default: nothing."),
  deny: z.array(HostPattern).default([]).describe('Beats everything else.'),
  caFile: z.string().optional().describe("CA bundle that is trusted upstream; default: the host's."),
  revocation: z
    .strictObject({
      crlFile: z
        .string()
        .describe('Revocation lists in PEM, one for each authority above these hosts; read anew for each run.'),
      hosts: z.array(HostPattern).min(1).describe('Exact names, or *. and a suffix for any number of labels.'),
    })
    .optional()
    .describe(
      'Certificates of these hosts are refused when they are on a list, or an authority has none that is current.',
    ),
  presetsAllowPrivate: z
    .boolean()
    .default(false)
    .describe("A company mirror answers the presets' hosts from private addresses."),
  registries: z
    .partialRecord(RegistryName, z.array(z.url({ protocol: /^https?$/ })).min(1))
    .default({})
    .describe("Addresses of registries by preset, instead of asking the ecosystem's client."),
});
export type OperatorEgress = z.infer<typeof OperatorEgress>;

const DAY_MINUTES = 24 * 60;

const OperatorLimits = z.strictObject({
  maxCostUsd: z.number().nonnegative().default(5).describe('Of one run, in dollars.'),
  timeoutMinutes: z.number().positive().max(DAY_MINUTES).default(30).describe('Of one run.'),
  maxTurns: z.number().int().positive().default(100).describe('Model calls of one run.'),
  stepMinutes: z
    .number()
    .positive()
    .max(DAY_MINUTES)
    .default(15)
    .describe('Of one setup command, and of a verification as a whole.'),
  idleMinutes: z
    .number()
    .positive()
    .max(DAY_MINUTES)
    .default(15)
    .describe('Without a word of the agent or, for one that is a plain command, output or a model call.'),
  repositoryDailyCostUsd: z.number().nonnegative().default(20).describe('A day: UTC.'),
  installationDailyCostUsd: z.number().nonnegative().default(50).describe('A day: UTC.'),
  concurrentRuns: z.number().int().positive().max(64).default(4).describe('Of one worker.'),
});
export type OperatorLimits = z.infer<typeof OperatorLimits>;

export const SandboxSettings = z.strictObject({
  runtime: z
    .string()
    .regex(/^[a-z0-9][a-z0-9._-]*$/)
    .default('cofferdam')
    .describe("Name of Docker's runtime entry for gVisor."),
  image: z.string().default('cofferdam/sandbox:latest').describe('What runs start from.'),
  memory: ByteSize.default(4 * 2 ** 30).describe('Such as 4GiB.'),
  cpus: z.number().positive().max(256).default(2),
  processes: z.number().int().min(16).max(65536).default(512).describe("Of the agent's user."),
  disk: ByteSize.default(10 * 2 ** 30).describe('Such as 10GiB.'),
  diskMode: z
    .enum(['watched', 'tmpfs'])
    .default('watched')
    .describe('watched: checked every second; tmpfs: exact, and counted as memory.'),
  processRecord: z
    .enum(['required', 'optional'])
    .default('required')
    .describe("Whether a sandbox may run without a record of its processes where gVisor's kernel cannot report them."),
});
export type SandboxSettings = z.infer<typeof SandboxSettings>;

export const WIRES = ['anthropic', 'openai-chat', 'openai-responses', 'gemini'] as const;
export const Wire = z.enum(WIRES);
export type Wire = z.infer<typeof Wire>;

/** Dollars for a million tokens; bounded, so that no call's worst case leaves the range of exact integers. */
const PricePerMTok = z.number().nonnegative().max(100_000);

export const ModelPrice = z.strictObject({
  inputPerMTok: PricePerMTok.describe('Dollars for a million tokens.'),
  outputPerMTok: PricePerMTok.describe('Dollars for a million tokens.'),
  cacheReadPerMTok: PricePerMTok.optional().describe('Default: the price of input.'),
  cacheWritePerMTok: PricePerMTok.optional().describe('Default: twice the price of input.'),
});
export type ModelPrice = z.infer<typeof ModelPrice>;

export const ProviderSettings = z
  .strictObject({
    wire: Wire.optional().describe('Default: what the well-known ids anthropic, openai and google speak.'),
    baseUrl: z
      .url({ protocol: /^https?$/ })
      .optional()
      .describe("The operator's word: may be private and plain http."),
    apiKeyEnv: z.string().optional().describe('Environment variable of the worker that holds the key.'),
    apiKeyFile: z.string().optional().describe('File that holds the key.'),
  })
  .refine((p) => !(p.apiKeyEnv !== undefined && p.apiKeyFile !== undefined), 'give apiKeyEnv or apiKeyFile, not both');
export type ProviderSettings = z.infer<typeof ProviderSettings>;

export const LlmSettings = z.strictObject({
  default: z
    .string()
    .regex(/^[a-z0-9-]+\/.+$/)
    .optional()
    .describe('<provider>/<model>'),
  providers: z.record(z.string().regex(/^[a-z0-9-]{1,32}$/), ProviderSettings).default({}),
  models: z.array(z.string()).default([]).describe('Models that runs may use; * stands for any part of a name.'),
  prices: z.record(z.string(), ModelPrice).default({}).describe('Of models that the price library does not know.'),
});
export type LlmSettings = z.infer<typeof LlmSettings>;

/** When must a person say yes before a result is pushed? From the loosest to the strictest. */
export const HOLD_SETTINGS = ['never', 'protected', 'always'] as const;
export const HoldSetting = z.enum(HOLD_SETTINGS);
export type HoldSetting = z.infer<typeof HoldSetting>;

/** Who is asked to review a pull request: whoever asked for the run, the code owners of its files. */
const REVIEWERS = ['requester', 'codeowners'] as const;
const Reviewer = z.enum(REVIEWERS);
export type Reviewer = z.infer<typeof Reviewer>;

export const Reviewers = z
  .array(Reviewer)
  .max(REVIEWERS.length)
  .describe('Who is asked to review a new pull request: requester, codeowners.');

export const Labels = z
  .array(z.string().regex(/^\S(?:.{0,48}\S)?$/, 'expected a label of 1 to 50 characters'))
  .max(10)
  .describe('Labels of a new pull request.');

/** What a new pull request gets besides its text. */
export interface PullSettings {
  labels: string[];
  reviewers: Reviewer[];
}

const Asker = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_-]{0,61}(?:\/[A-Za-z0-9_][A-Za-z0-9_.-]{0,254})?$/,
    'expected a login, or a team as ORGANISATION/SLUG',
  )
  .describe('A login, or a team as ORGANISATION/SLUG, which needs the permission members: read.');

/** What is done about files by which a repository configures agents. */
const AgentRules = z.strictObject({
  allowConfiguration: z
    .array(z.string().regex(/^sha256:[0-9a-f]{64}$/, 'expected sha256: and 64 hexadecimal digits, as plan prints it'))
    .default([])
    .describe(
      'SHA-256 of files of the default branch by which a repository configures the agent (hooks, MCP servers, settings) and which are left on; all others are off.',
    ),
});

/** The operator's policy file. Unknown keys are errors; `egress.allow` must be there, an empty list is valid. */
export const OperatorPolicy = z.strictObject({
  limits: OperatorLimits.prefault({}).describe('Ceilings: repositories and commands may only lower them.'),
  sandbox: SandboxSettings.prefault({}).describe('What a run gets of the machine.'),
  egress: OperatorEgress.describe('What runs may reach.'),
  llm: LlmSettings.prefault({}).describe('Model providers, models and prices.'),
  agent: z.string().default('opencode').describe('The agent that runs use when nobody names another.'),
  agents: AgentRules.prefault({}).describe("Repositories' own configuration of agents."),
  prefix: z
    .string()
    .regex(/^[/@][a-z][a-z0-9-]{0,31}$/)
    .default('/agent')
    .describe('The first word of a command comment.'),
  label: z.string().min(1).max(50).default('agent').describe('The label that asks for a run.'),
  askers: z
    .array(Asker)
    .min(1)
    .optional()
    .describe(
      'Of the people with write access, only these logins and members of these teams are obeyed; default: all.',
    ),
  publish: z
    .strictObject({
      hold: HoldSetting.default('protected').describe('When a result waits for a person instead of being pushed.'),
      labels: Labels.default([]),
      // A draft asks nobody by itself; GitHub asks the code owners when somebody marks it ready.
      reviewers: Reviewers.default([]),
    })
    .prefault({})
    .describe('How results reach GitHub.'),
  audit: z
    .strictObject({
      keepDays: z.number().min(1).optional().describe('Sealed audit files older than this are removed.'),
      keepSize: ByteSize.optional().describe('Such as 20GiB: the oldest sealed audit files beyond it are removed.'),
    })
    .default({})
    .describe('What is kept of the record; without either, everything.'),
});
export type OperatorPolicy = z.infer<typeof OperatorPolicy>;

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
