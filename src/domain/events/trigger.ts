import { z } from 'zod';
import { RunId } from '../ids.ts';
import { classed } from './data-class.ts';
import { Commit, Count, Id, Method, Sha256, Text } from './field.ts';

/** Who asked, where: on every decision about a trigger, in the log of the worker. */
const by = {
  deliveryId: Id,
  event: Id,
  repository: Id,
  number: Count,
  actor: z.looseObject({ login: Id, id: z.number().int(), type: Id }),
};

const Input = z.looseObject({ kind: Id, author: Id, updatedAt: Id, sha256: Sha256 });

export const TRIGGER_EVENTS = {
  'trigger.authority': z
    .strictObject({
      ...by,
      verbs: z.array(Id),
      cause: z.literal('ci').optional().describe('Nobody asked: CI failed on this commit, and `login` is answered for'),
      login: Id.optional(),
      sha: Commit.optional(),
    })
    .describe('Whether this person may make it act'),
  'trigger.accepted': z
    .strictObject({
      ...by,
      runId: classed('id', RunId),
      input: z.array(Input).describe('What the agent will see, by hash'),
    })
    .describe('A run was asked for, and its input is frozen'),
  'trigger.refused': z
    .strictObject({
      ...by,
      why: Text.optional().describe("GitHub's refusal, which keeps people from being told there"),
    })
    .describe('Nothing begins, and the person is told why'),
  'trigger.allow': z
    .strictObject({ ...by, name: Text, methods: z.array(Method) })
    .describe('A person asked for one more way out'),
  'trigger.keep': z
    .strictObject({ ...by, name: Text, branch: Id })
    .describe('A pull request that keeps this way out for every run is about to be made'),
  'publish.approved': z
    .strictObject({ ...by, runId: classed('id', RunId), diffHash: Sha256, commit: Commit, requester: Id })
    .describe('A person said yes to a result that waited, by its hash'),
  'publish.refused': z
    .strictObject({ ...by, named: Text.nullable() })
    .describe('The named hash is of no result that waits here'),
};
