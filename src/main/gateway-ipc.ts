/**
 * What a worker and the gateway process of one run say to each other: frames of a length and JSON, on a socket pair.
 *
 * Trust: the gateway process faces the sandbox, so the worker reads it as hostile: frames are capped before they are
 * parsed, every message is checked against its schema, and anything else ends the process. The worker is trusted by the
 * gateway; its messages are checked all the same.
 */
import type { Duplex } from 'node:stream';
import { z } from 'zod';
import { AuditEntry } from '../domain/audit.ts';
import { RunId } from '../domain/ids.ts';
import { EgressRule, RegistryName, WIRES } from '../domain/policy.ts';
import { LlmReserve, LlmSettlement } from '../gateway/llm/port.ts';

/** Bytes of one message: to the worker (it parses hostile input), to the gateway (CA bundle and price table). */
export const MAX_TO_WORKER = 2 ** 20;
export const MAX_TO_GATEWAY = 16 * 2 ** 20;
/** Calls that a gateway may leave unanswered at one time; it queues above this. */
export const MAX_CALLS = 256;
/** Pairs of agent streams that a gateway process is started with, from descriptor 4 up; each serves one agent. */
export const AGENT_SLOTS = 4;
export const CONTROL_FD = 3;
/** What lies in the run's socket directory. */
export const SOCKET_NAME = 'gateway.sock';
export const CA_NAME = 'ca.pem';
/** The same certificates for Java. */
export const TRUST_STORE_NAME = 'ca.jks';

const Text = z.string().max(65_536);
const Count = z.number().int().nonnegative();

export const GatewayStart = z.strictObject({
  type: z.literal('start'),
  runId: RunId,
  socketDir: z.string(),
  policy: z.strictObject({
    rules: z.array(EgressRule.extend({ source: z.string(), registry: RegistryName.optional() })),
    deny: z.array(z.string()),
    gitRepositories: z.array(z.string()),
  }),
  /** Trusted upstream, and by the sandbox for what is passed through: PEM. */
  ca: z.string(),
  /** Of which hosts certificates must be on none of these lists (PEM). */
  revocation: z.strictObject({ lists: z.array(z.string()), hosts: z.array(z.string()) }).optional(),
  /** `owner/name` → directory. */
  git: z.record(z.string(), z.string()),
  /** Values of the credentials that rules name, by the name of their variable. */
  credentials: z.record(z.string(), z.string()),
  llm: z
    .strictObject({
      providers: z.array(
        z.strictObject({
          id: z.string(),
          wires: z.array(z.enum(WIRES)),
          baseUrl: z.string(),
          key: z.string().optional(),
        }),
      ),
      models: z.array(z.string()),
      /** The frozen price table, as the policy room made it. */
      prices: z.unknown(),
      runHash: z.string(),
    })
    .optional(),
  limits: z.record(z.string(), z.number()),
  /** Set when the worker is root: who the process becomes once everything is loaded and open. */
  user: z.strictObject({ uid: z.number().int().positive(), gid: z.number().int().positive() }).optional(),
});
export type GatewayStart = z.infer<typeof GatewayStart>;

const Slot = z
  .number()
  .int()
  .min(0)
  .max(AGENT_SLOTS - 1);

export const ToGateway = z.discriminatedUnion('type', [
  GatewayStart,
  z.strictObject({ type: z.literal('answer'), id: Count, ok: z.boolean(), value: z.unknown().optional() }),
  z.strictObject({
    type: z.literal('agent'),
    slot: Slot,
    agent: z.string(),
    configured: z.boolean(),
    cwd: z.string(),
    prompt: z.string(),
    idleMs: z.number().positive(),
  }),
  z.strictObject({ type: z.literal('cancelAgent'), slot: Slot }),
  z.strictObject({ type: z.literal('closeModel') }),
  /** Asks for the egress as it stands now. */
  z.strictObject({ type: z.literal('reportEgress'), id: Count }),
  z.strictObject({ type: z.literal('close') }),
]);
export type ToGateway = z.infer<typeof ToGateway>;

const EgressFact = z.strictObject({
  host: z.string().max(1024),
  port: Count,
  allow: z.boolean(),
  reason: z.string().max(64).optional(),
  count: Count,
  bytesIn: Count,
  bytesOut: Count,
});

const AgentMessage = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('text'), text: Text }),
  z.strictObject({ kind: z.literal('thought'), text: Text }),
  z.strictObject({
    kind: z.literal('tool'),
    id: Text,
    title: Text,
    status: z.string().max(256),
    toolKind: z.string().max(256).optional(),
    input: Text.optional(),
    output: Text.optional(),
  }),
  z.strictObject({
    kind: z.literal('plan'),
    entries: z.array(z.strictObject({ content: Text, status: z.string().max(256) })).max(1000),
  }),
]);

const AgentOutcome = z.strictObject({
  stop: z.string().max(256),
  summary: z.string().max(262_144),
  error: Text.optional(),
  dropped: Count.optional(),
});

/** What a gateway may record: its own decisions, never what the worker vouches for. */
const GatewayEntry = AuditEntry.refine(
  (entry) =>
    entry.zone === 'gateway' &&
    /^(?:gateway|egress|git|llm|agent)\.(?!reserve$|settle$|push$|commit$)/.test(entry.type),
  'not an event of the gateway',
);

export const ToWorker = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('ready'), uid: Count }),
  z.strictObject({ type: z.literal('failed'), code: z.enum(['gateway', 'config', 'policy']), message: Text }),
  z.strictObject({ type: z.literal('audit'), id: Count, entry: GatewayEntry }),
  z.strictObject({ type: z.literal('reserve'), id: Count, call: LlmReserve }),
  z.strictObject({ type: z.literal('settle'), id: Count, settlement: LlmSettlement }),
  /** `id`: the answer to a `reportEgress`. */
  z.strictObject({ type: z.literal('egress'), entries: z.array(EgressFact).max(2000), id: Count.optional() }),
  z.strictObject({ type: z.literal('agentMessage'), slot: Slot, message: AgentMessage }),
  z.strictObject({ type: z.literal('agentDone'), slot: Slot, outcome: AgentOutcome }),
]);
export type ToWorker = z.input<typeof ToWorker>;

export interface Channel<Out> {
  send(message: Out): void;
  /** Bytes that wait to be sent. */
  backlog(): number;
  /** Sends what waits, then closes. */
  end(): void;
  close(): void;
}

/** `onMessage` gets what the schema accepts; anything else closes the channel, and `onClose` says why. */
export function openChannel<Out, In>(options: {
  stream: Duplex;
  schema: z.ZodType<In>;
  maxIncoming: number;
  onMessage: (message: In) => void;
  onClose: (reason: string) => void;
}): Channel<Out> {
  const { stream, schema, maxIncoming } = options;
  /** Frames that go out in one write at the end of this turn of the event loop, after its first; their bytes. */
  let outgoing: Buffer[] = [];
  let waiting = 0;
  let written = false;
  let buffered: Buffer = Buffer.alloc(0);
  let wanted = 4;
  let reason = 'the other process is gone';
  const violate = (what: string): void => {
    reason = what;
    stream.destroy();
  };
  const accept = (body: Buffer): void => {
    const parsed = schema.safeParse(parseJson(body));
    if (parsed.success) options.onMessage(parsed.data);
    else
      violate(
        `a message that is not valid: ${parsed.error.issues[0]?.path.join('.') ?? ''} ${parsed.error.issues[0]?.message ?? ''}`,
      );
  };
  stream.on('data', (chunk: Buffer) => {
    buffered = buffered.length === 0 ? chunk : Buffer.concat([buffered, chunk]);
    while (buffered.length >= wanted && !stream.destroyed) {
      const length = buffered.readUInt32BE(0);
      if (length > maxIncoming) {
        violate('a message that is too large');
        return;
      }
      wanted = 4 + length;
      if (buffered.length < wanted) return;
      const body = buffered.subarray(4, wanted);
      buffered = buffered.subarray(wanted);
      wanted = 4;
      accept(body);
    }
  });
  stream.on('error', () => undefined);
  stream.once('close', () => {
    options.onClose(reason);
  });
  stream.once('end', () => stream.destroy());
  const flush = (): void => {
    written = false;
    if (outgoing.length === 0) return;
    const bytes = Buffer.concat(outgoing, waiting);
    outgoing = [];
    waiting = 0;
    if (!stream.destroyed && stream.writable) stream.write(bytes);
  };
  return {
    send: (message) => {
      if (stream.destroyed || !stream.writable) return;
      const frame = frameOf(message);
      if (written) {
        outgoing.push(frame);
        waiting += frame.length;
        return;
      }
      stream.write(frame);
      // A write, which wakes the other process, costs more than a message does: what follows at once goes together.
      written = true;
      setImmediate(flush);
    },
    backlog: () => stream.writableLength + waiting,
    end: () => {
      flush();
      stream.end();
    },
    close: () => stream.destroy(),
  };
}

function frameOf(message: unknown): Buffer {
  const text = JSON.stringify(message);
  const length = Buffer.byteLength(text);
  const frame = Buffer.allocUnsafe(4 + length);
  frame.writeUInt32BE(length);
  frame.write(text, 4);
  return frame;
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
}
