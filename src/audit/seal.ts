import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify, type KeyObject } from 'node:crypto';
import { readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { CofferdamError } from '../domain/errors.ts';
import { Digest, RunId } from '../domain/ids.ts';
import { writeDurably, writeOnce } from './write-once.ts';

/** The installation's Ed25519 key. */
export interface SigningKey {
  privateKey: KeyObject;
  publicKey: KeyObject;
}

/** The signed part of a seal: signed as the JSON text stored in `<file>.seal`. */
export const SealBody = z.strictObject({
  version: z.literal(1),
  runId: RunId,
  count: z.number().int().positive(),
  head: Digest,
  /** Repository, commit, pull request: what the file belongs to. */
  subject: z.record(z.string(), z.unknown()),
});
export type SealBody = z.infer<typeof SealBody>;

export const Seal = z.strictObject({
  /** Exact text that is signed; parses as `SealBody`. */
  body: z.string().max(65_536),
  /** Ed25519, base64. */
  signature: z.string(),
  /** SPKI PEM. Informative: trust comes from the pinned key. */
  publicKey: z.string(),
});
export type Seal = z.infer<typeof Seal>;

/** Where the public half of the installation's key lies. */
export function publicKeyFile(dataDir: string): string {
  return join(dataDir, 'keys', 'audit.pem.pub');
}

/** The public half in PEM form; undefined: it is not there, or cannot be read. */
export function pinnedKey(dataDir: string): Promise<string | undefined> {
  return readFile(publicKeyFile(dataDir), 'utf8').catch(() => undefined);
}

/**
 * Loads the installation's key from `<dataDir>/keys/audit.pem` (0600), or makes it; its public half is put beside it when it is not
 * there, and never changed. Errors: `audit`.
 */
export async function loadSigningKey(dataDir: string): Promise<SigningKey> {
  const file = join(dataDir, 'keys', 'audit.pem');
  const privateKey = readKey(file, (await readPem(file)) ?? (await makeKey(file)));
  const publicKey = createPublicKey(privateKey);
  await writeOnce(`${file}.pub`, publicPem(publicKey)).catch((cause: unknown) => {
    throw new CofferdamError('audit', 'audit.loadSigningKey', `cannot write ${file}.pub`, cause);
  });
  return { privateKey, publicKey };
}

/** Null: there is none. */
async function readPem(file: string): Promise<string | null> {
  return readFile(file, 'utf8').catch((cause: unknown) => {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new CofferdamError('audit', 'audit.loadSigningKey', `cannot read ${file}`, cause);
  });
}

function readKey(file: string, pem: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (cause) {
    throw new CofferdamError('audit', 'audit.loadSigningKey', `${file} is not a private key`, cause);
  }
}

/** The key that is there then: of two processes that begin together, one makes it. */
async function makeKey(file: string): Promise<string> {
  const pem = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const mine = await writeOnce(file, pem).catch((cause: unknown) => {
    throw new CofferdamError('audit', 'audit.makeKey', `cannot write ${file}`, cause);
  });
  return mine ? pem : ((await readPem(file)) ?? pem);
}

export function publicPem(key: KeyObject): string {
  return key.export({ type: 'spki', format: 'pem' }).toString();
}

/** Writes `<file>.seal` in one step (temporary file, sync, rename). */
export async function writeSeal(options: {
  file: string;
  runId: RunId;
  count: number;
  head: Digest;
  data: Record<string, unknown>;
  key: SigningKey;
}): Promise<void> {
  const content: SealBody = {
    version: 1,
    runId: options.runId,
    count: options.count,
    head: options.head,
    subject: options.data,
  };
  const body = JSON.stringify(content);
  const seal: Seal = {
    body,
    signature: sign(null, Buffer.from(body), options.key.privateKey).toString('base64'),
    publicKey: publicPem(options.key.publicKey),
  };
  const target = `${options.file}.seal`;
  await writeDurably(`${target}.new`, `${JSON.stringify(seal, null, 2)}\n`, 'w');
  await rename(`${target}.new`, target);
}

/** Seal and what it signs; undefined when the text is none. */
export function parseSeal(text: string): { seal: Seal; body: SealBody } | undefined {
  try {
    const seal = Seal.parse(JSON.parse(text));
    return { seal, body: SealBody.parse(JSON.parse(seal.body)) };
  } catch {
    return undefined;
  }
}

/** True when the seal's signature is this key's. */
export function signatureValid(seal: Seal, publicKey: KeyObject): boolean {
  return verify(null, Buffer.from(seal.body), publicKey, Buffer.from(seal.signature, 'base64'));
}
