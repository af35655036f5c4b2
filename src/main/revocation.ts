import { readFile } from 'node:fs/promises';
import { CofferdamError } from '../domain/errors.ts';
import type { OperatorEgress } from '../domain/policy.ts';
import { isRevocationList, type Revocation } from '../gateway/tls/trust.ts';

/** A gateway is told its lists in one message, beside the host's certificates. */
const MAX_BYTES = 8 * 2 ** 20;
const LIST = /-----BEGIN X509 CRL-----[^-]+-----END X509 CRL-----/g;

/** The lists that `egress.revocation` names, as they are now. Errors: `config` when the file cannot be read or holds none. */
export async function readRevocation(setting: OperatorEgress['revocation']): Promise<Revocation | undefined> {
  if (setting === undefined) return undefined;
  const { crlFile, hosts } = setting;
  const fail = (what: string, cause?: unknown): CofferdamError =>
    new CofferdamError('config', 'main.readRevocation', `egress.revocation.crlFile: ${crlFile} ${what}`, cause);
  const text = await readFile(crlFile, 'utf8').catch((cause: unknown) => {
    throw fail('cannot be read', cause);
  });
  if (Buffer.byteLength(text) > MAX_BYTES)
    throw fail(`is larger than ${MAX_BYTES / 2 ** 20} MiB: name the lists of the authorities above these hosts only`);
  const lists = text.match(LIST) ?? [];
  if (lists.length === 0)
    throw fail(
      'holds no revocation list in PEM (openssl crl -inform DER -in LIST -out FILE makes one of the other form)',
    );
  const other = lists.findIndex((list) => !isRevocationList(list));
  if (other !== -1) throw fail(`holds something else than a revocation list as number ${other + 1}`);
  return { lists, hosts };
}
