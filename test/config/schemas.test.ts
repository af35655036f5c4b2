import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { parsePolicy, parseRepositoryFile } from '../../src/config/policy-file.ts';
import { DIRECTORY, schemaFiles } from './schema-files.ts';

const DOCUMENTATION = join(import.meta.dirname, '../../docs/settings.md');

type Reader = (text: string) => unknown;
const readers = {
  'policy.json': (text: string) => parsePolicy(text, 'policy.yml'),
  'repository.json': parseRepositoryFile,
} satisfies Record<string, Reader>;
type Name = keyof typeof readers;

async function accepts(name: Name, text: string): Promise<{ editor: boolean; product: boolean }> {
  const schema = JSON.parse((await schemaFiles()).get(name) ?? '') as object;
  const editor = new Ajv({ strict: true, strictRequired: false, allowUnionTypes: true }).validate(
    schema,
    parse(text, { version: '1.2' }),
  );
  try {
    readers[name](text);
    return { editor, product: true };
  } catch {
    return { editor, product: false };
  }
}

/** The whole examples that people copy. */
async function examples(): Promise<string[]> {
  const text = await readFile(DOCUMENTATION, 'utf8');
  return [...text.matchAll(/```yaml\n([^`]*)```/g)].map((match) => match[1] ?? '');
}

describe('the schemas for editors', () => {
  it('are in docs/schemas as the code has them (node test/config/schema-files.ts writes them)', async () => {
    const files = await schemaFiles();
    expect((await readdir(DIRECTORY)).sort()).toEqual([...files.keys()].sort());
    for (const [name, text] of files) expect(await readFile(join(DIRECTORY, name), 'utf8'), name).toBe(text);
  });

  it('say of each key of the first level what it is for', async () => {
    for (const text of (await schemaFiles()).values()) {
      const { properties } = JSON.parse(text) as { properties: Record<string, { description?: string }> };
      const silent = Object.entries(properties).filter(([, value]) => value.description === undefined);
      expect(silent.map(([key]) => key)).toEqual([]);
    }
  });

  it('take the examples of the documentation, as the product does', async () => {
    const found = await examples();
    const policies = found.filter((text) => /^limits:\n/.test(text) || /^egress:\n/.test(text));
    const files = found.filter((text) => text.startsWith('agent:'));
    expect([policies.length, files.length]).toEqual([2, 1]);
    for (const text of policies) expect(await accepts('policy.json', text)).toEqual({ editor: true, product: true });
    for (const text of files) expect(await accepts('repository.json', text)).toEqual({ editor: true, product: true });
  });

  const samples: [Name, boolean, string][] = [
    ['policy.json', true, 'egress: { allow: [] }'],
    ['policy.json', true, 'egress: { allow: [] }\nsandbox: { memory: 512MiB, disk: 1.5 GiB }'],
    ['policy.json', true, 'egress: { allow: [] }\nsandbox: { memory: 1073741824 }'],
    ['policy.json', true, 'egress: { allow: [{ host: a.test, ports: [443], methods: [GET], paths: ["/x/**"] }] }'],
    ['policy.json', true, 'egress: { allow: [], registries: { cargo: ["https://crates.corp.example/index"] } }'],
    ['policy.json', true, 'egress: { allow: [] }\nllm: { providers: { corp: { baseUrl: "http://llm.corp/v1" } } }'],
    ['policy.json', false, 'limits: { maxCostUsd: 5 }'],
    ['policy.json', false, 'egress: {}'],
    ['policy.json', false, 'egress: { allow: [] }\nlimts: {}'],
    ['policy.json', false, 'egress: { allow: [npn] }'],
    ['policy.json', false, 'egress: { allow: [{ host: a.test, path: ["/x"] }] }'],
    ['policy.json', false, 'egress: { allow: [{ host: a.test, paths: [x] }] }'],
    ['policy.json', false, 'egress: { allow: [{ host: a.test, methods: [get] }] }'],
    ['policy.json', false, 'egress: { allow: [{ host: a.test, credential: { header: A } }] }'],
    ['policy.json', false, 'egress: { allow: [], registries: { github: ["https://x.test"] } }'],
    ['policy.json', false, 'egress: { allow: [], registries: { npm: ["ftp://x.test"] } }'],
    ['policy.json', false, 'egress: { allow: [], registries: { npm: [nowhere] } }'],
    ['policy.json', false, 'egress: { allow: [] }\nsandbox: { memory: 4GB }'],
    ['policy.json', false, 'egress: { allow: [] }\nsandbox: { memory: 0 }'],
    ['policy.json', false, 'egress: { allow: [] }\nsandbox: { diskMode: fast }'],
    ['policy.json', false, 'egress: { allow: [] }\nlimits: { maxTurns: 1.5 }'],
    ['policy.json', false, 'egress: { allow: [] }\nlimits: { timeoutMinutes: 1441 }'],
    ['policy.json', false, 'egress: { allow: [] }\nlimits: { maxCostUsd: .inf }'],
    ['policy.json', false, 'egress: { allow: [] }\nllm: { default: gpt }'],
    ['policy.json', false, 'egress: { allow: [] }\nllm: { providers: { A_B: {} } }'],
    ['policy.json', false, 'egress: { allow: [] }\nllm: { providers: { a: { apiKeyEnv: K, apiKeyFile: /k } } }'],
    ['policy.json', false, 'egress: { allow: [] }\nprefix: agent'],
    ['repository.json', true, '{}'],
    ['repository.json', true, 'setup: npm ci\nverify: [npm test, npm run lint]'],
    ['repository.json', true, 'env: { NODE_ENV: test }\negress: { allow: [pip, { host: a.test }] }'],
    ['repository.json', false, 'setup: ""'],
    ['repository.json', false, 'setup: [""]'],
    ['repository.json', false, 'verify: { a: b }'],
    ['repository.json', false, 'env: { NODE_ENV: 1 }'],
    ['repository.json', false, 'env: { "A-B": x }'],
    ['repository.json', false, 'limits: { maxCostUsd: -1 }'],
    ['repository.json', false, 'limits: { timeoutMinutes: 0 }'],
    ['repository.json', false, 'limits: { concurrentRuns: 1 }'],
    ['repository.json', false, 'egress:'],
    ['repository.json', false, 'publish: { hold: sometimes }'],
    ['repository.json', false, 'egress: { mayAdd: [pip] }'],
    ['repository.json', false, '[a]'],
    ['repository.json', false, 'just words'],
  ];
  it.each(samples)('%s: %s for %j, to editors and to the product', async (name, valid, text) => {
    expect(await accepts(name, text)).toEqual({ editor: valid, product: valid });
  });
});
