/**
 * The JSON Schema files of what people write, for their editors, from the zod schemas.
 * `node test/config/schema-files.ts` writes them. Draft 7: what editors' YAML servers know best.
 */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { format } from 'prettier';
import { z } from 'zod';
import { OperatorPolicy, ProviderSettings } from '../../src/domain/policy.ts';
import { RepositoryFile } from '../../src/domain/repository-file.ts';

export const DIRECTORY = join(import.meta.dirname, '../../docs/schemas');

const FILES = {
  'policy.json': { schema: OperatorPolicy, title: 'Cofferdam: the policy of the operator' },
  'repository.json': { schema: RepositoryFile, title: 'Cofferdam: .github/cofferdam.yml of a repository' },
} as const;

type Json = z.core.JSONSchema.BaseSchema;

/** What JSON Schema says otherwise than zod, or what only a check in zod says. */
function correct(zod: z.core.$ZodTypes, json: Json): void {
  if (json.maximum === Number.MAX_SAFE_INTEGER) delete json.maximum;
  // An empty value to begin with is no completion.
  if (JSON.stringify(json.default) === '{}' || JSON.stringify(json.default) === '[]') delete json.default;
  if (json.format === 'starts_with') delete json.format;
  if (json.format === 'uri') {
    delete json.format;
    json.pattern = '^https?://[^\\s/]';
  }
  if (zod === (ProviderSettings as z.core.$ZodType)) json.not = { required: ['apiKeyEnv', 'apiKeyFile'] };
}

function schemaOf({ schema, title }: { schema: z.ZodType; title: string }): Record<string, unknown> {
  const { $schema, ...json } = z.toJSONSchema(schema, {
    io: 'input',
    target: 'draft-7',
    override: ({ zodSchema, jsonSchema }) => correct(zodSchema, jsonSchema),
  });
  return { $schema, title, ...json };
}

/** Every file by its name, as it must be. */
export async function schemaFiles(): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const [name, file] of Object.entries(FILES)) {
    files.set(name, await format(JSON.stringify(schemaOf(file)), { parser: 'json', printWidth: 120 }));
  }
  return files;
}

async function write(): Promise<void> {
  const files = await schemaFiles();
  await mkdir(DIRECTORY, { recursive: true });
  for (const name of await readdir(DIRECTORY)) if (!files.has(name)) await rm(join(DIRECTORY, name));
  for (const [name, text] of files) await writeFile(join(DIRECTORY, name), text);
}

if (import.meta.main) await write();
