/**
 * Cuts GitHub's own OpenAPI description down to the operations and webhooks that the stand-in speaks:
 *
 *     npm i --prefix DIR --no-save --ignore-scripts @octokit/openapi
 *     node src/local/github/openapi/cut.ts DIR/node_modules/@octokit/openapi
 *
 * The package is 385 MB, so it is fetched beside the tree and never a dependency; what is committed is the cut.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { operationIds, webhookNames } from './operations.ts';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type JsonObject = Record<string, Json>;

/** Prose and links: most of the bytes, none of the contract. */
const PROSE = new Set(['description', 'summary', 'externalDocs', 'tags', 'x-github', 'x-github-breaking-changes']);

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `named` is true where keys are names chosen by the API (properties, responses …), so that a property called `description` stays. */
function withoutProse(value: Json, named: boolean): Json {
  if (Array.isArray(value)) return value.map((item) => withoutProse(item, false));
  if (!isObject(value)) return value;
  const kept: JsonObject = {};
  for (const [key, item] of Object.entries(value)) {
    if (!named && (PROSE.has(key) || key === 'example' || key === 'examples')) continue;
    kept[key] = withoutProse(item, !named && NAMES.has(key));
  }
  return nullableFixed(kept);
}

const NAMES = new Set(['properties', 'responses', 'content', 'headers', 'schemas', 'parameters', 'patternProperties']);

/**
 * ajv refuses `nullable` without `type`: such a schema becomes a choice between itself and null. And a nullable `enum` must list
 * null to accept it, which GitHub's mostly forget.
 */
function nullableFixed(schema: JsonObject): JsonObject {
  if (schema['nullable'] !== true) return schema;
  const allowed = schema['enum'];
  if (Array.isArray(allowed) && !allowed.includes(null)) schema['enum'] = [...allowed, null];
  if ('type' in schema) return schema;
  const rest = Object.entries(schema).filter(([key]) => key !== 'nullable');
  return { anyOf: [Object.fromEntries(rest), { enum: [null] }] };
}

function referencesIn(value: Json, found: Set<string>): void {
  if (Array.isArray(value)) for (const item of value) referencesIn(item, found);
  if (!isObject(value)) return;
  for (const [key, item] of Object.entries(value)) {
    if (key === '$ref' && typeof item === 'string') found.add(item);
    else referencesIn(item, found);
  }
}

function member(value: Json | undefined, path: string[]): Json | undefined {
  return path.reduce<Json | undefined>((at, key) => (isObject(at) ? at[key] : undefined), value);
}

function componentsOf(description: JsonObject, roots: Json): JsonObject {
  const components: Record<string, JsonObject> = {};
  const done = new Set<string>();
  const waiting = new Set<string>();
  referencesIn(roots, waiting);
  for (const reference of waiting) {
    if (done.has(reference)) continue;
    done.add(reference);
    const [, , group, name] = reference.split('/');
    if (group === undefined || name === undefined) throw new Error(`unexpected reference ${reference}`);
    const target = member(description, ['components', group, name]);
    if (target === undefined) throw new Error(`${reference} is not in the description`);
    const cut = withoutProse(target, false);
    (components[group] ??= {})[name] = cut;
    referencesIn(cut, waiting); // a Set yields what is added while it is walked
  }
  return components;
}

/** In the list of installations the account must be a user *and* an enterprise, which nothing is; the component has it right. */
function corrected(paths: JsonObject): void {
  const path = ['/app/installations', 'get', 'responses', '200', 'content', 'application/json', 'schema'];
  const list = member(paths, path);
  if (!isObject(list)) throw new Error('the list of installations has no schema');
  list['items'] = { $ref: '#/components/schemas/installation' };
}

function pathsOf(description: JsonObject): JsonObject {
  const wanted = new Set<string>(operationIds);
  const paths: Record<string, JsonObject> = {};
  for (const [path, item] of Object.entries(description['paths'] as JsonObject)) {
    for (const [method, operation] of Object.entries(item as JsonObject)) {
      const id = member(operation, ['operationId']);
      if (typeof id !== 'string' || !wanted.delete(id)) continue;
      (paths[path] ??= {})[method] = withoutProse(operation, false);
    }
  }
  if (wanted.size > 0) throw new Error(`not in the description: ${[...wanted].join(', ')}`);
  corrected(paths);
  return paths;
}

function webhooksOf(description: JsonObject): JsonObject {
  const webhooks: JsonObject = {};
  for (const name of webhookNames) {
    const schema = member(description, [
      'x-webhooks',
      name,
      'post',
      'requestBody',
      'content',
      'application/json',
      'schema',
    ]);
    if (schema === undefined) throw new Error(`no webhook ${name} in the description`);
    webhooks[name] = withoutProse(schema, false);
  }
  return webhooks;
}

function cut(packageDir: string): Json {
  const description = JSON.parse(
    readFileSync(join(packageDir, 'generated', 'api.github.com.json'), 'utf8'),
  ) as JsonObject;
  const { version } = JSON.parse(readFileSync(join(packageDir, 'package.json'), 'utf8')) as { version: string };
  const paths = pathsOf(description);
  const webhooks = webhooksOf(description);
  const components = componentsOf(description, [paths, webhooks]);
  return {
    openapi: description['openapi'] ?? '3.0.3',
    info: { title: 'GitHub REST API (cut)', version, license: { name: 'MIT' } },
    'x-cut-from': `@octokit/openapi ${version}, generated/api.github.com.json`,
    'x-licence': readFileSync(join(packageDir, 'LICENSE'), 'utf8'),
    paths,
    'x-webhooks': webhooks,
    components,
  };
}

const packageDir = process.argv[2];
if (packageDir === undefined) {
  console.error('usage: node cut.ts DIRECTORY_OF_@octokit/openapi');
  process.exitCode = 2;
} else {
  writeFileSync(join(import.meta.dirname, 'description.json'), JSON.stringify(cut(packageDir)) + '\n');
}
