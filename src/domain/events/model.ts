import { z } from 'zod';
import { EndReason } from '../final-state.ts';
import { as, Command, Count, Id, Method, Micro, Ms, Text, UrlPath } from './field.ts';

const callId = as('gen_ai.response.id', Id).describe('Ours: one for each call');
const provider = as('gen_ai.provider.name', Id);
const model = as('gen_ai.request.model', Text);

/** Model calls: reserved durably before they are made, settled after. Bodies and keys are in none of them. */
export const MODEL_EVENTS = {
  'llm.reserve': z
    .strictObject({
      callId,
      provider,
      wire: Id,
      model,
      main: z.boolean().describe('Offers tools'),
      stream: z.boolean(),
      amount: Micro.describe('Worst case, asked for'),
      atLeast: Micro,
      loose: z.boolean().optional().describe('The bound is loose: asked again with a tighter one when refused'),
      tellable: z.boolean().describe('Has a place for words of the host'),
      inputTokens: Count.describe('Upper bound'),
      outputTokens: as('gen_ai.request.max_tokens', Count),
      granted: Micro,
    })
    .describe('A call is about to be made, and its worst case is set aside'),
  'llm.settle': z
    .strictObject({
      callId,
      outcome: z.enum(['usage', 'reserved', 'released']),
      cost: Micro,
      usage: z
        .strictObject({
          input: as('gen_ai.usage.input_tokens', Count),
          cacheRead: as('gen_ai.usage.cache_read.input_tokens', Count),
          cacheWrite: as('gen_ai.usage.cache_creation.input_tokens', Count),
          cacheWrite1h: Count,
          output: as('gen_ai.usage.output_tokens', Count),
        })
        .optional(),
      status: as('http.response.status_code', z.number().int()).describe('0: no answer'),
      aborted: z.boolean(),
      ms: Ms,
      firstByteMs: Ms.optional(),
      runCost: Micro.describe('Of the run, with this call'),
      turns: Count,
    })
    .describe('What a call cost'),
  'llm.notice': z
    .strictObject({ callId, notices: z.array(Text) })
    .describe('Words of the host that a call carries to the model'),
  'llm.close': z.strictObject({ reason: EndReason }).describe('No more calls'),
  'llm.recover': z
    .strictObject({ calls: Count, cost: Micro })
    .describe('Calls whose end is not known, charged in full'),
  'llm.refuse': z
    .strictObject({
      provider: provider.optional(),
      model: model.optional(),
      method: Method.optional(),
      path: UrlPath.optional(),
      say: Text.optional().describe('What the agent was told'),
      problem: Text.optional(),
      error: as('error.type', Text).optional(),
    })
    .describe('A call that was not made'),
  'llm.count': z
    .strictObject({
      provider,
      model,
      byBytes: Count,
      counted: Count.nullable(),
      forAgent: z.boolean().optional().describe('The agent asked, and only it is told the count'),
    })
    .describe("The provider is asked for its own count of a call's input tokens, beside the bound by bytes"),
  'llm.strip': z
    .strictObject({ provider, fields: z.array(Text), betas: z.array(Text) })
    .describe('Parts of a request that were not sent on'),
  'llm.foreign_key': z
    .strictObject({ provider, places: z.array(Text) })
    .describe('A request carried a key that is not the placeholder; it was not sent on'),
  'llm.upstream': z
    .strictObject({
      provider,
      model,
      status: as('http.response.status_code', z.number().int()),
      problem: Text.optional(),
    })
    .describe('A provider failed, or did not answer'),
};

/** What the agent says: prose and hints, never facts. */
export const AGENT_EVENTS = {
  'agent.text': z.strictObject({ kind: z.literal('text'), text: Text }).describe('It said'),
  'agent.thought': z.strictObject({ kind: z.literal('thought'), text: Text }).describe('It thought aloud'),
  'agent.tool': z
    .strictObject({
      kind: z.literal('tool'),
      id: as('gen_ai.tool.call.id', Text),
      title: Command,
      status: Text,
      toolKind: as('gen_ai.tool.name', Text).optional(),
      input: as('gen_ai.tool.call.arguments', Command).optional().describe('As text, cut'),
      output: as('gen_ai.tool.call.result', Text).optional().describe('As text, cut'),
    })
    .describe('It began, or ended, the use of a tool'),
  'agent.plan': z
    .strictObject({
      kind: z.literal('plan'),
      entries: z.array(z.strictObject({ content: Text, status: Text })),
    })
    .describe('Its plan'),
  'agent.end': z
    .strictObject({ stop: Text, summary: Text, error: Text.optional(), dropped: Count.optional() })
    .describe('It ended'),
};
