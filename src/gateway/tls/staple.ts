/**
 * What a host's certificate says about its own revocation: the OCSP answer that the host staples to its handshake. It is
 * read here, and nobody is asked for one: a look-up for each host would be another way out.
 *
 * Trust: every byte of an answer is hostile until the signature over it is checked. Source: RFC 6960, RFC 7633.
 */
import { createHash, verify, X509Certificate, type KeyObject } from 'node:crypto';
import {
  BasicOCSPResponse,
  id_kp_OCSPSigning,
  id_pkix_ocsp_basic,
  OCSPResponse,
  OCSPResponseStatus,
  type SingleResponse,
} from '@peculiar/asn1-ocsp';
import { AsnConvert } from '@peculiar/asn1-schema';
import { Certificate, SubjectPublicKeyInfo } from '@peculiar/asn1-x509';

/** `none`: nothing that proves anything, be it absent, out of date, of another certificate or signed by somebody else. */
export type StapleVerdict = 'good' | 'revoked' | 'none';

/** Both in DER. */
export interface Chain {
  certificate: Buffer;
  issuer: Buffer;
}

/** Responders send their own certificate, and perhaps its issuer's. */
const MAX_SIGNERS = 4;
const CLOCK_MS = 5 * 60_000;

/** Signature algorithms by OID, with their hash; a signature of another one proves nothing. */
const HASHES: Readonly<Record<string, string | null>> = {
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
  '1.3.101.112': null,
};

/** Hashes by which an answer names the issuer's key. */
const NAMING: Readonly<Record<string, string>> = { '1.3.14.3.2.26': 'sha1', '2.16.840.1.101.3.4.2.1': 'sha256' };

/** Pure. Never throws: what cannot be read is `none`. `staple`: a few KiB at most, as OpenSSL bounds the handshake. */
export function judgeStaple(staple: Buffer, chain: Chain, nowMs: number): StapleVerdict {
  try {
    const answer = basicAnswer(staple);
    const issuer = new X509Certificate(chain.issuer);
    if (!answer || !signedFor(answer, issuer, nowMs)) return 'none';
    const named = answer.tbsResponseData.responses.filter((one) => isAbout(one, chain.certificate, issuer.publicKey));
    // Revoked stays revoked, however old the answer is.
    if (named.some((one) => one.certStatus.revoked !== undefined)) return 'revoked';
    return named.some((one) => one.certStatus.good !== undefined && isCurrent(one, nowMs)) ? 'good' : 'none';
  } catch {
    return 'none';
  }
}

/** Whether the certificate (DER) may be believed only together with a staple: the TLS feature `status_request`. */
export function mustStaple(certificate: Buffer): boolean {
  // Cheap for the many that have none: the identifier is in every certificate that has the extension.
  if (!certificate.includes(TLS_FEATURE)) return false;
  const { extensions } = AsnConvert.parse(certificate, Certificate).tbsCertificate;
  const feature = extensions?.find((extension) => extension.extnID === '1.3.6.1.5.5.7.1.24');
  // A sequence of small integers: `status_request` is 5, its successor `status_request_v2` 17.
  return feature !== undefined && STATUS_REQUESTS.some((one) => Buffer.from(feature.extnValue.buffer).includes(one));
}

const TLS_FEATURE = Buffer.from('06082b06010505070118', 'hex');
const STATUS_REQUESTS = [Buffer.from('020105', 'hex'), Buffer.from('020111', 'hex')];

function basicAnswer(staple: Buffer): BasicOCSPResponse | undefined {
  const { responseStatus, responseBytes } = AsnConvert.parse(staple, OCSPResponse);
  if (responseStatus !== OCSPResponseStatus.successful || responseBytes?.responseType !== id_pkix_ocsp_basic)
    return undefined;
  return AsnConvert.parse(responseBytes.response.buffer, BasicOCSPResponse);
}

/** By the issuer itself, or by one whom the issuer has certified for this. */
function signedFor(answer: BasicOCSPResponse, issuer: X509Certificate, nowMs: number): boolean {
  const hash = HASHES[answer.signatureAlgorithm.algorithm];
  const signed = answer.tbsResponseDataRaw;
  if (hash === undefined || signed === undefined) return false;
  const by = (key: KeyObject): boolean => verify(hash, Buffer.from(signed), key, Buffer.from(answer.signature));
  if (by(issuer.publicKey)) return true;
  return (answer.certs ?? []).slice(0, MAX_SIGNERS).some((one) => {
    const signer = new X509Certificate(Buffer.from(AsnConvert.serialize(one)));
    return isResponder(signer, issuer, nowMs) && by(signer.publicKey);
  });
}

function isResponder(signer: X509Certificate, issuer: X509Certificate, nowMs: number): boolean {
  // Absent where a certificate names none, whatever the type says.
  const usages = (signer.keyUsage as string[] | undefined) ?? [];
  return (
    signer.checkIssued(issuer) &&
    signer.verify(issuer.publicKey) &&
    usages.includes(id_kp_OCSPSigning) &&
    nowMs >= signer.validFromDate.getTime() - CLOCK_MS &&
    nowMs <= signer.validToDate.getTime()
  );
}

/** An issuer is told by its key, which signed both the certificate and, for this answer, the responder. */
function isAbout({ certID }: SingleResponse, certificate: Buffer, issuerKey: KeyObject): boolean {
  const naming = NAMING[certID.hashAlgorithm.algorithm];
  if (naming === undefined) return false;
  const spki = AsnConvert.parse(issuerKey.export({ type: 'spki', format: 'der' }), SubjectPublicKeyInfo);
  const key = createHash(naming).update(Buffer.from(spki.subjectPublicKey)).digest();
  const serial = `0x${Buffer.from(certID.serialNumber).toString('hex')}`;
  return (
    key.equals(Buffer.from(certID.issuerKeyHash.buffer)) &&
    BigInt(serial) === BigInt(`0x${new X509Certificate(certificate).serialNumber}`)
  );
}

/** An answer that names no end is one among many to come: it proves nothing later. */
function isCurrent(one: SingleResponse, nowMs: number): boolean {
  if (one.nextUpdate === undefined) return false;
  return one.thisUpdate.getTime() - CLOCK_MS <= nowMs && nowMs <= one.nextUpdate.getTime() + CLOCK_MS;
}
