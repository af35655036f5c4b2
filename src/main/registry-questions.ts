import type { RegistryName } from '../domain/policy.ts';
import type { RegistryPlace } from '../policy/egress/registry.ts';

/** How an ecosystem's client tells what it is configured for. No registry's name stands in this project. */
export interface RegistryQuestion {
  /** Shell script that runs where the client is, with no network and in no project. */
  script: string;
  /** The oldest version that answers so and reads what the preset opens. */
  needs?: string;
  /** The places that the script's output names; undefined when the client did not answer. */
  read: (output: string) => RegistryPlace[] | undefined;
}

const ADDRESS = /^https?:\/\/\S+$/;

/** Lines of output that are addresses. */
function lines(output: string): RegistryPlace[] | undefined {
  const found = output.split('\n').map((line) => line.trim());
  const addresses = [...new Set(found.filter((line) => ADDRESS.test(line)))];
  return addresses.length === 0 ? undefined : addresses.map((address) => ({ part: 'index', address }));
}

function matched(output: string, pattern: RegExp): RegistryPlace[] | undefined {
  return lines([...output.matchAll(pattern)].map((match) => match[1] ?? '').join('\n'));
}

/** cargo says what it wanted when it cannot reach it, and it is sent to a port where nothing listens. */
const CARGO = `d=$(mktemp -d) && cd "$d" && mkdir src && : >src/lib.rs &&
printf '[package]\\nname="q"\\nversion="0.0.0"\\nedition="2021"\\n[dependencies]\\ncfg-if="1"\\n' >Cargo.toml &&
CARGO_HTTP_PROXY=http://127.0.0.1:9 CARGO_NET_RETRY=0 cargo fetch 2>&1; rm -rf "$d"`;

/** The effective settings, mirrors included, as Maven shows them with an empty project. */
const MAVEN = `d=$(mktemp -d) && cd "$d" &&
printf '<project><modelVersion>4.0.0</modelVersion><groupId>q</groupId><artifactId>q</artifactId><version>0</version><packaging>pom</packaging></project>' >pom.xml &&
mvn -o -X -B validate 2>&1; rm -rf "$d"`;

const PIP = `python3 -c '
from pip._internal.commands import create_command
options, _ = create_command("download").parse_args([])
print("\\n".join([] if options.no_index else [options.index_url, *options.extra_index_urls]))'`;

/** \`GOPROXY\` and \`GOSUMDB\`, a line each. What is asked \`direct\` is asked of version control, which is not opened. */
function readGo(output: string): RegistryPlace[] | undefined {
  const [proxies = '', checksums = ''] = output.trim().split('\n');
  const places = lines(proxies.split(/[,|]/).join('\n'));
  const [name = '', address] = checksums.trim().split(' ');
  if (places === undefined || name === '' || name === 'off') return places;
  const host = /^[^+]+/.exec(name)?.[0] ?? '';
  return [...places, { part: 'checksums', address: address ?? `https://${host}` }];
}

export const REGISTRY_QUESTIONS: Record<RegistryName, RegistryQuestion> = {
  npm: { script: 'cd / && npm config get registry', read: lines },
  pip: { script: `cd / && ${PIP}`, read: lines },
  // Older ones clone the index with git, which the preset does not open.
  cargo: {
    script: CARGO,
    needs: 'cargo 1.68 or newer (sparse index)',
    read: (output) => matched(output, /(https?:\/\/[^\s`'"]+)\/config\.json/g),
  },
  go: { script: 'cd / && go env GOPROXY GOSUMDB', read: readGo },
  maven: {
    script: MAVEN,
    read: (output) =>
      matched(
        [...output.matchAll(/Repositories \((?:dependencies|plugins)\)\s*: (\[.*\])/g)].join('\n'),
        /\((https?:\/\/[^\s,()]+), /g,
      ),
  },
  apt: {
    script: 'cd / && apt-get --print-uris update',
    read: (output) => matched(output, /'(https?:\/\/[^\s']+?)\/dists\/[^\s']+'/g),
  },
};
