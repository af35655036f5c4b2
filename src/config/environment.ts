import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { z } from 'zod';
import { CofferdamError } from '../domain/errors.ts';
import type { OperatorPolicy } from '../domain/policy.ts';

const LogLevel = z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']);

/** Settings that every command reads. Empty strings count as absent, as in Probot. */
const Base = z.object({
  COFFERDAM_DATA_DIR: z.string().optional(),
  COFFERDAM_POLICY: z.string().optional(),
  COFFERDAM_PUBLIC_URL: z.url().optional(),
  DOCKER_HOST: z.string().optional(),
  REDIS_URL: z.string().optional(),
  GHE_HOST: z
    .string()
    .regex(/^[a-zA-Z0-9.-]+(?::\d+)?$/, 'expected a host name, with a port where needed')
    .optional(),
  GHE_PROTOCOL: z.enum(['https', 'http']).default('https'),
  PORT: z.coerce.number().int().min(0).max(65535).default(3000),
  HOST: z.string().default('127.0.0.1'),
  LOG_LEVEL: LogLevel.default('info'),
  APP_ID: z.coerce.number().int().positive().optional(),
  PRIVATE_KEY: z.string().optional(),
  PRIVATE_KEY_PATH: z.string().optional(),
  WEBHOOK_SECRET: z.string().optional(),
  GITHUB_CLIENT_ID: z.string().optional(),
  GITHUB_CLIENT_SECRET: z.string().optional(),
  COFFERDAM_PAGES: z.enum(['github', 'local']).default('github'),
});

export interface Environment {
  dataDir: string;
  policyFile: string | undefined;
  publicUrl: string | undefined;
  dockerHost: string | undefined;
  redisUrl: string | undefined;
  github: GitHubAddress;
  port: number;
  host: string;
  logLevel: z.infer<typeof LogLevel>;
  appId: number | undefined;
  privateKey: string | undefined;
  webhookSecret: string | undefined;
  /** Of the App's OAuth flow, by which people sign in to the run pages. */
  clientId: string | undefined;
  clientSecret: string | undefined;
  /** Who sees run pages: people who sign in with GitHub, or whoever reaches this server, which must then be on loopback. */
  pages: 'github' | 'local';
}

/** Where GitHub's API and its git remotes are. */
export interface GitHubAddress {
  /** `https://api.github.com` or `<protocol>://<host>/api/v3`. */
  apiUrl: string;
  /** `https://github.com` or `<protocol>://<host>`; remotes are `<webUrl>/<owner>/<repo>.git`. */
  webUrl: string;
}

/** Reads and validates the environment. Errors: `config`, naming each variable that is wrong. */
export function readEnvironment(env: NodeJS.ProcessEnv = process.env): Environment {
  const present = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
  const parsed = Base.safeParse(present);
  if (!parsed.success) {
    const lines = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
    throw new CofferdamError('config', 'config.readEnvironment', lines.join('\n'));
  }
  const e = parsed.data;
  const dataDir = e.COFFERDAM_DATA_DIR ?? defaultDataDir();
  if (!isAbsolute(dataDir))
    throw new CofferdamError('config', 'config.readEnvironment', 'COFFERDAM_DATA_DIR must be an absolute path');
  return {
    dataDir,
    policyFile: e.COFFERDAM_POLICY,
    publicUrl: e.COFFERDAM_PUBLIC_URL?.replace(/\/+$/, ''),
    dockerHost: e.DOCKER_HOST,
    redisUrl: e.REDIS_URL,
    github: githubAddress(e.GHE_HOST, e.GHE_PROTOCOL),
    port: e.PORT,
    host: e.HOST,
    logLevel: e.LOG_LEVEL,
    appId: e.APP_ID,
    privateKey: privateKey(e.PRIVATE_KEY, e.PRIVATE_KEY_PATH),
    webhookSecret: e.WEBHOOK_SECRET,
    clientId: e.GITHUB_CLIENT_ID,
    clientSecret: e.GITHUB_CLIENT_SECRET,
    pages: e.COFFERDAM_PAGES,
  };
}

/** This process's variables, for a process that it starts. */
export function environmentOf(): NodeJS.ProcessEnv {
  return { ...process.env };
}

/** Takes over what a file of `NAME=value` lines sets and the environment does not; a file that is not there sets nothing. Errors: `config`. */
export function loadEnvironmentFile(file = '.env'): void {
  if (!existsSync(file)) return;
  try {
    process.loadEnvFile(file);
  } catch (cause) {
    throw new CofferdamError('config', 'config.loadEnvironmentFile', `cannot read ${file}`, cause);
  }
}

function defaultDataDir(): string {
  return process.getuid?.() === 0 ? '/var/lib/cofferdam' : join(homedir(), '.local', 'share', 'cofferdam');
}

function githubAddress(host: string | undefined, protocol: string): GitHubAddress {
  if (host === undefined) return { apiUrl: 'https://api.github.com', webUrl: 'https://github.com' };
  return { apiUrl: `${protocol}://${host}/api/v3`, webUrl: `${protocol}://${host}` };
}

/** A PEM as it is, with `\n` spelled out (as .env files carry it), or in base64. */
function privateKey(value: string | undefined, path: string | undefined): string | undefined {
  if (value === undefined && path !== undefined) {
    try {
      return readFileSync(path, 'utf8');
    } catch (cause) {
      throw new CofferdamError('config', 'config.privateKey', `PRIVATE_KEY_PATH: cannot read ${path}`, cause);
    }
  }
  if (value === undefined) return undefined;
  const text = value.includes('-----BEGIN')
    ? value.replaceAll('\\n', '\n')
    : Buffer.from(value, 'base64').toString('utf8');
  if (!text.includes('-----BEGIN'))
    throw new CofferdamError('config', 'config.privateKey', 'PRIVATE_KEY is neither PEM nor PEM in base64');
  return text;
}

/** The settings, when all of these are there. Errors: `config` that lists those that are not and says how to get them. */
export function requireSettings<Name extends SettingName>(
  environment: Environment,
  names: readonly Name[],
): Environment & { [Key in Name as (typeof SETTINGS)[Key]]: NonNullable<Environment[(typeof SETTINGS)[Key]]> } {
  const absent = missing(environment, names);
  if (absent.length > 0) {
    throw new CofferdamError(
      'config',
      'config.requireSettings',
      `not set: ${absent.join(', ')}. Register the GitHub App with \`npm run -s cofferdam -- setup\`, which writes them to .env, or set them in the environment; see docs/settings.md`,
    );
  }
  return environment as ReturnType<typeof requireSettings<Name>>;
}

const SETTINGS = {
  APP_ID: 'appId',
  PRIVATE_KEY: 'privateKey',
  WEBHOOK_SECRET: 'webhookSecret',
  COFFERDAM_POLICY: 'policyFile',
  REDIS_URL: 'redisUrl',
} as const satisfies Record<string, keyof Environment>;
type SettingName = keyof typeof SETTINGS;

/** Names of what is missing of these settings, for one message that lists all of them. */
export function missing(environment: Environment, names: readonly SettingName[]): string[] {
  return names.filter((name) => environment[SETTINGS[name]] === undefined);
}

/** A secret that the policy names: from the environment or a file. Errors: `config` when it is named and absent. */
export function readSecret(
  source: { env?: string | undefined; file?: string | undefined },
  env: NodeJS.ProcessEnv = process.env,
): string | undefined {
  if (source.env !== undefined) {
    const value = env[source.env];
    if (value === undefined || value === '')
      throw new CofferdamError(
        'config',
        'config.readSecret',
        `the policy names ${source.env}, which is not set in the worker's environment`,
      );
    return value;
  }
  if (source.file === undefined) return undefined;
  try {
    return readFileSync(source.file, 'utf8').trim();
  } catch (cause) {
    throw new CofferdamError(
      'config',
      'config.readSecret',
      `cannot read ${source.file}, which the policy names`,
      cause,
    );
  }
}

/** Every secret value that the policy names: what the audit redacts. Missing ones are skipped here and reported where they are used. */
export function knownSecrets(
  policy: OperatorPolicy,
  environment: Environment,
  env: NodeJS.ProcessEnv = process.env,
): string[] {
  const fromEnv = [
    ...Object.values(policy.llm.providers).map((p) => p.apiKeyEnv),
    ...policy.egress.allow.map((entry) => (typeof entry === 'string' ? undefined : entry.credential?.valueEnv)),
  ].flatMap((name) => (name === undefined ? [] : [env[name] ?? '']));
  const fromFiles = Object.values(policy.llm.providers).flatMap((p) =>
    p.apiKeyFile === undefined ? [] : [tryRead(p.apiKeyFile)],
  );
  return [
    ...fromEnv,
    ...fromFiles,
    environment.webhookSecret ?? '',
    environment.privateKey ?? '',
    environment.clientSecret ?? '',
  ].filter((s) => s.length > 0);
}

function tryRead(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
}
