/**
 * Both TLS ends of a terminated connection. Towards the sandbox the run's authority answers; towards the host the
 * certificate is verified, always, for exactly the canonical name.
 */
import type { Socket } from 'node:net';
import { connect, createSecureContext, TLSSocket, type SecureContext } from 'node:tls';

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

/**
 * What hosts are verified with: a PEM bundle, or what this Node trusts. Made once: reading a host's hundreds of certificates
 * takes as long as dozens of handshakes.
 */
export function trustedContext(ca?: string): SecureContext {
  return createSecureContext({ minVersion: 'TLSv1.2', ...(ca === undefined ? {} : { ca }) });
}

/** Rejects with `CertificateInvalid` when the host does not prove its name, with another error when it does not speak. */
export async function openHandshake(options: {
  socket: Socket;
  host: string;
  trusted: SecureContext;
  timeoutMs: number;
}): Promise<TLSSocket> {
  const { socket, host, trusted, timeoutMs } = options;
  // Of an end that has come already nobody would hear.
  if (socket.destroyed || socket.readableEnded) {
    socket.destroy();
    throw new Error('closed before the TLS handshake');
  }
  const secured = connect({
    socket,
    servername: host,
    ALPNProtocols: PROTOCOLS,
    secureContext: trusted,
  });
  // One that has come and was not read yet is told to the socket below only.
  const gone = (): void => void secured.destroy();
  socket.once('end', gone).once('close', gone).read(0);
  try {
    return await finished(secured, 'secureConnect', timeoutMs);
  } catch (cause) {
    throw isCertificateProblem(cause) ? new CertificateInvalid(cause) : cause;
  }
}

export class CertificateInvalid extends Error {
  constructor(cause: unknown) {
    super('the host did not prove its name', { cause });
  }
}

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

/** `UNSPECIFIED` is what Node calls the rarer results of verification, a violated name constraint for one. */
const OPENSSL_CERTIFICATE =
  /^(?:ERR_TLS_CERT_ALTNAME_INVALID|ERR_TLS_CERT_ALTNAME_FORMAT|CERT_|SELF_SIGNED_|DEPTH_ZERO_|UNABLE_TO_|UNSPECIFIED|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH_|HOSTNAME_MISMATCH|ERROR_IN_CERT)/;

function isCertificateProblem(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return OPENSSL_CERTIFICATE.test(code);
}
