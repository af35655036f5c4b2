import { z } from 'zod';
import { RunId } from '../ids.ts';
import { Commit, Count, Sha256 } from './field.ts';

/** Who asked, where: on every decision about a trigger, in the log of the worker. */
const by = {
  deliveryId: z.string(),
  event: z.string(),
  repository: z.string(),
  number: Count,
  actor: z.looseObject({ login: z.string(), id: z.number().int(), type: z.string() }),
};

const Text = z.looseObject({ kind: z.string(), author: z.string(), updatedAt: z.string(), sha256: Sha256 });

export const TRIGGER_EVENTS = {
  'trigger.authority': z
    .strictObject({
      ...by,
      verbs: z.array(z.string()),
      cause: z.literal('ci').optional().describe('Nobody asked: CI failed on this commit, and `login` is answered for'),
      login: z.string().optional(),
      sha: Commit.optional(),
    })
    .describe('Whether this person may make it act'),
  'trigger.accepted': z
    .strictObject({ ...by, runId: RunId, input: z.array(Text).describe('What the agent will see, by hash') })
    .describe('A run was asked for, and its input is frozen'),
  'trigger.refused': z.strictObject(by).describe('Nothing begins, and the person is told why'),
  'trigger.allow': z
    .strictObject({ ...by, name: z.string(), methods: z.array(z.string()) })
    .describe('A person asked for one more way out'),
  'trigger.keep': z
    .strictObject({ ...by, name: z.string(), branch: z.string() })
    .describe('A pull request that keeps this way out for every run is about to be made'),
  'publish.approved': z
    .strictObject({ ...by, runId: RunId, diffHash: Sha256, commit: Commit, requester: z.string() })
    .describe('A person said yes to a result that waited, by its hash'),
  'publish.refused': z
    .strictObject({ ...by, named: z.string().nullable() })
    .describe('The named hash is of no result that waits here'),
};
