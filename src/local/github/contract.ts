/** GitHub's OpenAPI description as a judge of requests, responses and webhook payloads. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import addFormats from 'ajv-formats';
import { OpenAPIBackend, type Document } from 'openapi-backend';
import { operationIds, type OperationId } from './openapi/operations.ts';

export interface Match {
  operation: OperationId;
  /** Decoded path parameters. */
  path: Record<string, string>;
}

export interface Contract {
  match: (method: string, path: string) => Match | undefined;
  /** Problems of a request, and its query with numbers and booleans as such. */
  checkRequest: (
    match: Match,
    request: {
      method: string;
      query: Record<string, string | string[]>;
      headers: Record<string, string>;
      body: unknown;
    },
  ) => { problems: unknown[]; query: Record<string, unknown>; path: Record<string, unknown> };
  checkResponse: (operation: OperationId, status: number, body: unknown) => unknown[];
  checkWebhook: (name: string, payload: unknown) => unknown[];
}

interface Parameter {
  name: string;
  in: string;
  'x-multi-segment'?: boolean;
}

interface Operation {
  operationId: string;
  parameters?: (Parameter | { $ref: string })[];
}

interface Description {
  paths: Record<string, Record<string, Operation>>;
  'x-webhooks': Record<string, unknown>;
  components: { parameters: Record<string, Parameter> };
}

interface Route {
  operation: OperationId;
  method: string;
  template: string;
  pattern: RegExp;
  names: string[];
}

/** GitHub's formats that say nothing a validator could check. */
const OPAQUE_FORMATS = ['repo.nwo', 'timestamp', 'ref'];

function routesOf(description: Description): Route[] {
  const routes: Route[] = [];
  for (const [template, methods] of Object.entries(description.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const known = (operation.parameters ?? []).map((one) =>
        '$ref' in one ? description.components.parameters[one.$ref.split('/').pop() ?? ''] : one,
      );
      const names: string[] = [];
      const source = template.replaceAll('.', '\\.').replace(/\{(\w+)\}/g, (_all, name: string) => {
        names.push(name);
        // Multi-segment parameters (paths, refs) may hold slashes, encoded or not.
        return known.find((one) => one?.name === name)?.['x-multi-segment'] === true ? '(.+)' : '([^/]+)';
      });
      const id = operationIds.find((one) => one === operation.operationId);
      if (id === undefined)
        throw new Error(`the description has an operation that is not listed: ${operation.operationId}`);
      // Clients leave out the slash before an empty path: the root directory.
      const pattern = new RegExp(`^${source.replace('/contents/(.+)', '/contents(?:/(.*))?')}$`);
      routes.push({ operation: id, method: method.toUpperCase(), template, pattern, names });
    }
  }
  // The most literal template wins: `commits/{ref}/check-runs` before `commits/{ref}`.
  const literal = (route: Route): number => route.template.replace(/\{\w+\}/g, '').length;
  return routes.sort((left, right) => literal(right) - literal(left));
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function matchRoute(routes: readonly Route[], method: string, path: string): Match | undefined {
  for (const route of routes) {
    const found = route.method === method ? route.pattern.exec(path) : null;
    if (found === null) continue;
    const values: Record<string, string> = {};
    for (const [index, name] of route.names.entries()) {
      const value = decoded(found[index + 1] ?? '');
      if (value === undefined) return undefined;
      values[name] = value;
    }
    return { operation: route.operation, path: values };
  }
  return undefined;
}

async function backendOf(description: Description): Promise<OpenAPIBackend> {
  // Webhooks are judged by the same library: each becomes an operation of its own.
  const { 'x-webhooks': webhooks, ...definition } = structuredClone(description);
  for (const [name, schema] of Object.entries(webhooks)) {
    const operation = {
      operationId: `webhook/${name}`,
      requestBody: { required: true, content: { 'application/json': { schema } } },
      responses: {},
    };
    definition.paths[`/webhooks/${name}`] = { post: operation };
  }
  const backend = new OpenAPIBackend({
    definition: definition as unknown as Document,
    quick: true,
    coerceTypes: true,
    // Each validator judges a few documents: making it faster takes longer than it saves.
    ajvOpts: { code: { optimize: false } },
    customizeAjv: (ajv) => {
      addFormats.default(ajv);
      for (const format of OPAQUE_FORMATS) ajv.addFormat(format, true);
      ajv.addFormat('email', /@/); // a bot's address has brackets, which the strict format refuses
      return ajv;
    },
  });
  await backend.init();
  return backend;
}

/** Path parameters as the client wrote them, but with those that the description calls numbers as numbers. */
function numbered(path: Record<string, string>, coerced: unknown): Record<string, unknown> {
  const typed = Object.entries((coerced ?? {}) as Record<string, unknown>).filter(
    ([, value]) => typeof value === 'number',
  );
  return { ...path, ...Object.fromEntries(typed) };
}

/** Loads the committed cut; validators are compiled when first used. */
async function loadContract(): Promise<Contract> {
  const file = join(import.meta.dirname, 'openapi', 'description.json');
  const description = JSON.parse(readFileSync(file, 'utf8')) as Description;
  const routes = routesOf(description);
  const backend = await backendOf(description);
  const templates = new Map(routes.map((route) => [route.operation, route.template]));
  return {
    match: (method, path) => matchRoute(routes, method, path),
    checkRequest: (match, request) => {
      const template = templates.get(match.operation) ?? '';
      const path = template.replace(
        /\{(\w+)\}/g,
        (_all, name: string) => encodeURIComponent(match.path[name] ?? '') || '.',
      );
      const result = backend.validator.validateRequest({ ...request, path }, match.operation);
      const coerced = result.coerced as { query?: unknown; params?: unknown } | undefined;
      return {
        problems: result.errors ?? [],
        query: ((result.valid ? coerced?.query : undefined) as Record<string, unknown> | undefined) ?? {},
        path: numbered(match.path, coerced?.params),
      };
    },
    checkResponse: (operation, status, body) =>
      backend.validator.validateResponse(body, operation, status).errors ?? [],
    checkWebhook: (name, payload) => {
      const operation = `webhook/${name}`;
      if (backend.router.getOperation(operation) === undefined) return [`no webhook ${name} in the description`];
      const headers = { 'content-type': 'application/json' };
      const request = { method: 'POST', path: `/webhooks/${name}`, headers, body: payload };
      return backend.validator.validateRequest(request, operation).errors ?? [];
    },
  };
}

/** The description never changes, and compiling its validators is what takes time: all stand-ins of a process share them. */
export const contract: Contract = await loadContract();
