import { z } from 'zod';
import { classed } from './data-class.ts';
import { as, Count, Host, Id, Method, Ms, Text, UrlPath } from './field.ts';

const Port = as('server.port', z.number().int().min(0).max(65535));

/** Where something went, or was meant to go. */
const at = {
  host: as('server.address', Host).describe('Canonical; or what was asked for, escaped and cut'),
  port: Port.optional(),
};

/** On a denial: of what kind it is, and the line of policy that would allow it. */
const denied = {
  class: z.enum(['telemetry', 'needed', 'suspicious']).optional(),
  wouldAllow: Text.optional(),
};

/** Everything that the gateway decides, before it takes effect. */
export const GATEWAY_EVENTS = {
  'egress.name': z
    .strictObject({
      ...at,
      ...denied,
      address: Host.optional().describe('What stands for it inside'),
      record: as('dns.question.type', Id).optional().describe('What was asked for, other than an address'),
      asked: Host.optional().describe('The name as it was asked for, where it is not the host: `_http._tcp.…`'),
    })
    .describe('A name was asked for; an allowed one is no traffic yet'),
  'egress.connect': z
    .strictObject({
      ...at,
      ...denied,
      addresses: z.array(as('network.peer.address', Host)).optional(),
      tls: z.enum(['passed', 'terminated']).optional(),
    })
    .describe('A connection'),
  'egress.tls': z
    .strictObject({ ...at, ...denied, sni: as('tls.client.server_name', Host).optional(), what: Text.optional() })
    .describe('A connection whose first bytes were refused'),
  'egress.request': z
    .strictObject({ ...at, ...denied, method: Method.optional(), path: UrlPath.optional(), what: Text.optional() })
    .describe('A request that the gateway read; the query is never recorded'),
  'egress.upgrade': z
    .strictObject({ ...at, ...denied, method: Method.optional(), path: UrlPath.optional(), what: Text.optional() })
    .describe('A change to another protocol'),
  'egress.limit': z.strictObject({ ...at, ...denied }).describe('A limit of bytes ended a connection'),
  'egress.handshake': z
    .strictObject({ ...at, problem: Text, hint: Text })
    .describe("A client did not take the run's certificate, or sent nothing"),
  'egress.aborted': z
    .strictObject({ ...at, method: Method.optional(), path: UrlPath.optional() })
    .describe('A client left while its request was under way'),
  'egress.end': z
    .strictObject({
      ...at,
      bytesIn: as('network.io (receive)', Count),
      bytesOut: as('network.io (transmit)', Count),
      ms: Ms,
      requests: Count.optional(),
      end: Id.optional(),
    })
    .describe('A connection ended, with what went through it'),
  'egress.repeated': z
    .strictObject({
      of: Id.describe('Type of the event that repeats'),
      ...at,
      method: Method.optional(),
      path: UrlPath.optional(),
      more: Count.describe('Since the last line of this kind'),
      count: Count.describe('In all, the first one included'),
    })
    .describe('A denial that came again; each is counted, and told in windows'),
  'git.request': z
    .strictObject({
      repository: as('vcs.repository.name', Text),
      'url.path': UrlPath,
      'url.query': classed('query', z.string()),
    })
    .describe("A request to the run's own git server"),
  'gateway.lost': z.strictObject({ message: Text }).describe('The gateway process ended'),
};
