import { z } from 'zod';
import { EgressEntry, HoldSetting, Labels, Reviewers } from './policy.ts';

const Commands = z
  .union([z.string().min(1), z.array(z.string().min(1))])
  .transform((c) => (Array.isArray(c) ? c : [c]));

/** `.github/cofferdam.yml` of the default branch: may only choose within the operator's policy. */
export const RepositoryFile = z.strictObject({
  agent: z.string().optional().describe("The agent; default: the operator's."),
  model: z.string().optional().describe("<provider>/<model>; default: the operator's."),
  env: z
    .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string())
    .default({})
    .describe('Plain values for every command; no secrets.'),
  setup: Commands.default([]).describe('Commands in the sandbox, before the agent and before verification.'),
  verify: Commands.default([]).describe(
    'Commands in a second fresh sandbox, without the model, that check the result.',
  ),
  services: z.array(z.string()).default([]).describe('Not offered by this version.'),
  limits: z
    .strictObject({
      maxCostUsd: z.number().nonnegative().optional().describe('Of one run, in dollars.'),
      timeoutMinutes: z.number().positive().optional().describe('Of one run.'),
      maxTurns: z.number().int().positive().optional().describe('Model calls of one run.'),
      stepMinutes: z.number().positive().optional().describe('Of one setup command, and of a verification.'),
      idleMinutes: z.number().positive().optional().describe('Of an agent that says nothing.'),
    })
    .default({})
    .describe("May only lower the operator's."),
  egress: z
    .strictObject({
      allow: z.array(EgressEntry).default([]).describe("Presets and hosts, within the operator's egress.mayAdd."),
    })
    .prefault({})
    .describe('What runs of this repository may reach besides what every run may.'),
  protected: z
    .array(z.string())
    .default([])
    .describe('Paths, such as infra/**, whose change makes a result wait for a person.'),
  publish: z
    .strictObject({
      hold: HoldSetting.optional().describe("May only be stricter than the operator's."),
      labels: Labels.optional(),
      reviewers: Reviewers.optional(),
    })
    .default({})
    .describe('How results reach GitHub.'),
});
export type RepositoryFile = z.infer<typeof RepositoryFile>;
