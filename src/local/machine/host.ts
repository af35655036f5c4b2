import { lookup } from 'node:dns/promises';
import { access } from 'node:fs/promises';
import ipaddr from 'ipaddr.js';
import { CofferdamError } from '../../domain/errors.ts';
import { mustRun, runCommand } from './process.ts';

const DISTRIBUTION_BUNDLE = '/etc/ssl/certs/ca-certificates.crt';

/** The certificates that this host trusts: what its user configured for Node or OpenSSL, else the distribution's bundle. */
export async function hostCaFile(env: NodeJS.ProcessEnv = process.env): Promise<string | undefined> {
  for (const file of [env['NODE_EXTRA_CA_CERTS'], env['SSL_CERT_FILE'], DISTRIBUTION_BUNDLE]) {
    if (file === undefined || file === '') continue;
    const readable = await access(file).then(
      () => true,
      () => false,
    );
    if (readable) return file;
  }
  return undefined;
}

/** The proxy settings of this host's apt, as lines of an apt configuration file; empty where it uses none. */
export async function aptProxyLines(signal?: AbortSignal): Promise<string[]> {
  const { stdout } = await runCommand(['apt-config', 'dump'], { signal });
  return stdout.split('\n').filter((line) => /^Acquire::https?::(?:[^ ]+::)?Proxy "[^"]+";$/i.test(line));
}

/** The package registry that npm is configured for here. */
export async function npmRegistry(signal?: AbortSignal): Promise<URL> {
  const { stdout } = await mustRun(['npm', 'config', 'get', 'registry'], { signal });
  const url = URL.parse(stdout.trim());
  if (url === null) {
    throw new CofferdamError('config', 'local.npmRegistry', `npm's registry is no address: ${stdout.trim()}`);
  }
  return url;
}

/** What npm is configured for here, as lines of a configuration file: its registry, and proxies where it uses any. */
export async function npmSettings(signal?: AbortSignal): Promise<string[]> {
  const proxies = await Promise.all(
    ['proxy', 'https-proxy', 'noproxy'].map(async (name) => {
      const { stdout } = await mustRun(['npm', 'config', 'get', name], { signal });
      return { name, value: stdout.trim() };
    }),
  );
  const set = proxies.filter(({ value }) => value !== '' && value !== 'null' && value !== 'undefined');
  return [`registry=${(await npmRegistry(signal)).href}`, ...set.map(({ name, value }) => `${name}=${value}`)];
}

/** Whether a host resolves to an address that is not of the public internet (a company mirror, a proxy of this machine). */
export async function isPrivateHost(host: string): Promise<boolean> {
  const name = host.replace(/^\[|\]$/g, '');
  const addresses = await lookup(name, { all: true }).catch((cause: unknown) => {
    throw new CofferdamError('config', 'local.isPrivateHost', `the name ${name} does not resolve here`, cause);
  });
  return addresses.some(({ address }) => ipaddr.process(address).range() !== 'unicast');
}
