/** A public key infrastructure made by OpenSSL: root, issuing authority, hosts, what it says about their revocation. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { X509Certificate } from 'node:crypto';

export interface Certified {
  name: string;
  /** PEM. */
  cert: string;
  key: string;
  /** With the certificates above it, but for the root's. */
  chain: string;
  der: Buffer;
  serial: string;
}

type Status = 'good' | 'revoked' | 'unknown';

const DAY_MS = 24 * 3_600_000;

export class Pki {
  readonly #directory = mkdtempSync(join(tmpdir(), 'cofpki-'));
  readonly root: Certified;
  readonly issuing: Certified;

  constructor() {
    this.root = this.#make('root', undefined, AUTHORITY);
    this.issuing = this.#make('issuing', this.root, AUTHORITY);
  }

  close(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }

  host(name: string, extra = '', issuer = this.issuing): Certified {
    return this.#make(name, issuer, `subjectAltName=DNS:${name}\n${extra}`);
  }

  authority(name: string, issuer?: Certified): Certified {
    return this.#make(name, issuer, AUTHORITY);
  }

  /** One that its issuer lets sign answers, or that claims to be one: `usage`. */
  responder(name: string, usage = 'extendedKeyUsage=OCSPSigning', issuer = this.issuing): Certified {
    return this.#make(name, issuer, usage);
  }

  /** An OCSP answer in DER, good for a day. */
  staple(
    of: Certified,
    status: Status,
    options: { issuer?: Certified; signer?: Certified; bare?: boolean } = {},
  ): Buffer {
    const { issuer = this.issuing, signer = issuer, bare = false } = options;
    const index = this.#file('index.txt', status === 'unknown' ? '' : line(of, status));
    const out = join(this.#directory, 'answer.der');
    this.#openssl(
      ['ocsp', '-index', index, '-CA', this.#pem(issuer), '-rsigner', this.#pem(signer), '-rkey', this.#key(signer)],
      ['-issuer', this.#pem(issuer), '-cert', this.#pem(of), '-respout', out, '-ndays', '1', '-noverify', '-no_nonce'],
      bare ? ['-resp_no_certs'] : [],
    );
    return readFileSync(out);
  }

  /** A revocation list in PEM. `days`: until it expires, which may be in the past. */
  list(issuer: Certified, revoked: Certified[], days = 7): string {
    const index = this.#file('revoked.txt', revoked.map((one) => line(one, 'revoked')).join(''));
    const number = this.#file('crlnumber', '01\n');
    const section = `database=${index}\ncrlnumber=${number}\ndefault_md=sha256\n`;
    const config = this.#file('ca.cnf', `[ca]\ndefault_ca=own\n[own]\n${section}`);
    const from = stamp(new Date(Date.now() + Math.min(0, days - 1) * DAY_MS));
    const until = stamp(new Date(Date.now() + days * DAY_MS));
    const out = join(this.#directory, 'list.pem');
    this.#openssl(
      ['ca', '-config', config, '-gencrl', '-cert', this.#pem(issuer), '-keyfile', this.#key(issuer)],
      ['-crl_lastupdate', from, '-crl_nextupdate', until, '-out', out],
    );
    return readFileSync(out, 'utf8');
  }

  #make(name: string, issuer: Certified | undefined, extensions: string): Certified {
    const key = join(this.#directory, `${name}.key`);
    const cert = join(this.#directory, `${name}.pem`);
    const request = join(this.#directory, `${name}.csr`);
    this.#openssl(['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', key]);
    this.#openssl(['req', '-new', '-key', key, '-subj', `/CN=${name}`, '-out', request]);
    const file = this.#file(`${name}.ext`, `${extensions}\n`);
    const by = issuer ? ['-CA', this.#pem(issuer), '-CAkey', this.#key(issuer)] : ['-signkey', key];
    this.#openssl(['x509', '-req', '-in', request, '-days', '30', '-extfile', file, '-out', cert], by);
    const pem = readFileSync(cert, 'utf8');
    const parsed = new X509Certificate(pem);
    const chain = issuer && issuer !== this.root ? `${pem}${issuer.chain}` : pem;
    return { name, cert: pem, key: readFileSync(key, 'utf8'), chain, der: parsed.raw, serial: parsed.serialNumber };
  }

  #pem(of: Certified): string {
    return this.#file(`${of.name}.pem`, of.cert);
  }

  #key(of: Certified): string {
    return this.#file(`${of.name}.key`, of.key);
  }

  #file(name: string, text: string): string {
    const path = join(this.#directory, name);
    writeFileSync(path, text);
    return path;
  }

  #openssl(...words: string[][]): void {
    execFileSync('openssl', words.flat(), { stdio: 'pipe', cwd: this.#directory });
  }
}

const AUTHORITY = 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash';

/** Of OpenSSL's own database of what an authority has issued. */
function line(of: Certified, status: 'good' | 'revoked'): string {
  const [until, since] = [new Date(Date.now() + 30 * DAY_MS), new Date(Date.now() - 3_600_000)].map(stamp);
  return `${status === 'good' ? `V\t${until}\t` : `R\t${until}\t${since}`}\t${of.serial}\tunknown\t/CN=${of.name}\n`;
}

function stamp(at: Date): string {
  return `${at.toISOString().slice(2, 19).replace(/[-:T]/g, '')}Z`;
}
