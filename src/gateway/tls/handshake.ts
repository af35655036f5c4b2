/**
 * Both TLS ends of a terminated connection. Towards the sandbox the run's authority answers; towards the host the
 * certificate is verified, always, for exactly the canonical name, and whether it was revoked as far as that can be known
 * without asking anybody.
 */
import { isIP, type Socket } from 'node:net';
import { connect, TLSSocket, type SecureContext } from 'node:tls';
import { judgeStaple, mustStaple } from './staple.ts';
import type { Trust } from './trust.ts';

/** HTTP/1.1 is what the gateway reads. */
const PROTOCOLS = ['http/1.1'];

/** Answers the hello that has begun in `opening`. Rejects when the client does not finish the handshake in time. */
export function answerHandshake(options: {
  client: Socket;
  opening: Buffer;
  context: SecureContext;
  timeoutMs: number;
}): Promise<TLSSocket> {
  const { client, opening, context, timeoutMs } = options;
  client.unshift(opening);
  const secured = new TLSSocket(client, {
    isServer: true,
    secureContext: context,
    ALPNProtocols: PROTOCOLS,
    requestCert: false,
  });
  return finished(secured, 'secure', timeoutMs);
}

/** Rejects with `CertificateInvalid` when the host does not prove its name, with another error when it does not speak. */
export async function openHandshake(options: {
  socket: Socket;
  host: string;
  trust: Trust;
  timeoutMs: number;
}): Promise<TLSSocket> {
  const { socket, host, trust, timeoutMs } = options;
  // Of an end that has come already nobody would hear.
  if (socket.destroyed || socket.readableEnded) {
    socket.destroy();
    throw new Error('closed before the TLS handshake');
  }
  const secured = connect({
    socket,
    // An operator's model server may be an address, which is no server name.
    ...(isIP(host) === 0 ? { servername: host } : { host }),
    ALPNProtocols: PROTOCOLS,
    secureContext: trust.contextFor(host),
    requestOCSP: true,
  });
  let staple: Buffer | null = null;
  secured.once('OCSPResponse', (response: Buffer | null) => (staple = response));
  // One that has come and was not read yet is told to the socket below only.
  const gone = (): void => void secured.destroy();
  socket.once('end', gone).once('close', gone).read(0);
  try {
    await finished(secured, 'secureConnect', timeoutMs);
  } catch (cause) {
    const code = codeOf(cause);
    throw OPENSSL_CERTIFICATE.test(code)
      ? new CertificateInvalid(ADVICE[code] ?? code, code === REVOKED, cause)
      : cause;
  }
  const refused = refusedByStaple(secured, staple);
  if (refused) {
    secured.destroy();
    throw refused;
  }
  return secured;
}

/** `message`: what is wrong, in OpenSSL's word or in ours; of no secret. */
export class CertificateInvalid extends Error {
  readonly reason: 'certificate_invalid' | 'certificate_revoked';
  constructor(problem: string, revoked: boolean, cause?: unknown) {
    super(problem, { cause });
    this.reason = revoked ? 'certificate_revoked' : 'certificate_invalid';
  }
}

/** Never throws: what cannot be read is refused. */
function refusedByStaple(secured: TLSSocket, staple: Buffer | null): CertificateInvalid | undefined {
  try {
    // Asked for before the other form: Node answers nothing to this call after that one.
    const chain = staple === null ? undefined : secured.getPeerCertificate(true);
    const certificate = chain?.raw ?? secured.getPeerX509Certificate()?.raw;
    if (certificate === undefined) throw new Error('there is none');
    const verdict =
      staple === null || chain === undefined
        ? 'none'
        : judgeStaple(staple, { certificate, issuer: chain.issuerCertificate.raw }, Date.now());
    if (verdict === 'revoked')
      return new CertificateInvalid('its authority says that the certificate was revoked', true);
    return verdict === 'none' && mustStaple(certificate) ? new CertificateInvalid(UNSTAPLED, false) : undefined;
  } catch (cause) {
    return new CertificateInvalid('the certificate cannot be read', false, cause);
  }
}

const UNSTAPLED =
  'the certificate demands a stapled proof that it was not revoked, and the host sends none that is valid';

function finished(secured: TLSSocket, event: 'secure' | 'secureConnect', timeoutMs: number): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => secured.destroy(new Error('the TLS handshake took too long')), timeoutMs);
    const fail = (error: unknown): void => {
      clearTimeout(timer);
      secured.destroy();
      reject(error instanceof Error ? error : new Error('closed during the TLS handshake'));
    };
    // Stays: a connection that breaks later must not end the process.
    secured.on('error', fail);
    // Half-open sockets end without closing.
    secured.once('close', fail).once('end', fail);
    secured.once(event, () => {
      clearTimeout(timer);
      secured.off('close', fail).off('end', fail);
      resolve(secured);
    });
  });
}

const REVOKED = 'CERT_REVOKED';
const UNTRUSTED =
  'no authority that is trusted stands behind the certificate: one of your own has to be in egress.caFile';

/** Where OpenSSL's word alone would not say what to do. */
const ADVICE: Readonly<Record<string, string>> = {
  ERR_TLS_CERT_ALTNAME_INVALID: 'the certificate is of other names',
  CERT_HAS_EXPIRED: 'the certificate has expired',
  DEPTH_ZERO_SELF_SIGNED_CERT: UNTRUSTED,
  SELF_SIGNED_CERT_IN_CHAIN: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNTRUSTED,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNTRUSTED,
  CERT_REVOKED: 'the certificate is on the revocation list of its authority',
  UNABLE_TO_GET_CRL: 'egress.revocation names this host, and its file has no list of one of its authorities',
  CRL_HAS_EXPIRED: 'the revocation list of its authority has expired: renew the file of egress.revocation',
  CRL_SIGNATURE_FAILURE:
    'the revocation list of its authority was signed by another key: renew the file of egress.revocation',
};

/** `UNSPECIFIED` is what Node calls the rarer results of verification, a violated name constraint for one. */
const OPENSSL_CERTIFICATE =
  /^(?:ERR_TLS_CERT_ALTNAME_INVALID|ERR_TLS_CERT_ALTNAME_FORMAT|CERT_|SELF_SIGNED_|DEPTH_ZERO_|UNABLE_TO_|UNSPECIFIED|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH_|HOSTNAME_MISMATCH|ERROR_IN_C|CRL_)/;

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
