import { AGENT, APT_FILE, CA_FILE, SOCKET_MOUNT, TRUST_STORE } from './layout.ts';

/** Variables of an image that change which code another program loads or whom it talks to: they never reach a command. */
const IMAGE_REFUSED =
  /^(?:LD_.*|GLIBC_TUNABLES|GCONV_PATH|NODE_OPTIONS|NODE_PATH|BASH_ENV|ENV|SHELLOPTS|BASHOPTS|PERL5OPT|PERL5LIB|RUBYOPT|PYTHONSTARTUP|PYTHONHOME|JAVA_TOOL_OPTIONS|GIT_.*|SSH_.*|COFFERDAM_.*|HOME|HOSTNAME|USER|LOGNAME|(?:https?|ftp|all|no)_proxy)$/i;

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** What common clients read to find the certificates that the gateway's connections are made with. */
const CA_VARIABLES = [
  'SSL_CERT_FILE',
  'NODE_EXTRA_CA_CERTS',
  'REQUESTS_CA_BUNDLE',
  'CURL_CA_BUNDLE',
  'GIT_SSL_CAINFO',
  'PIP_CERT',
  'CARGO_HTTP_CAINFO',
  'AWS_CA_BUNDLE',
  'DENO_CERT',
  'HTTPLIB2_CA_CERTS',
  'GRPC_DEFAULT_SSL_ROOTS_FILE_PATH',
] as const;

/**
 * Root has no capability in a sandbox: apt cannot become another user for its downloads, nor write into the directories
 * that it gave to that user when the image was made. And its own TLS reads no variable. Lies beside the certificates, so
 * that it holds in any image.
 */
export const APT_CONFIGURATION = `APT::Sandbox::User "root";
APT::Update::Pre-Invoke { "cd /var/lib/apt/lists && { test -O partial || { rmdir partial && mkdir -m 700 partial; }; }"; };
Dir::Cache "/var/tmp/";
Acquire::https::CAInfo "${SOCKET_MOUNT}/${CA_FILE}";
`;

export interface EnvironmentOptions {
  user: 'agent' | 'root';
  imageEnv: readonly string[];
  /** Whether the socket directory holds the run's certificates. */
  ca: boolean;
  /** Base URL of the git remotes, `https://github.com/`: rewritten to the gateway's git proxy. Undefined: no rewriting. */
  gitBase: string | undefined;
  /** The caller's own variables: they win. */
  extra: Readonly<Record<string, string>>;
}

/**
 * The whole environment of a command in the sandbox, as `NAME=value` lines. Built from nothing: no variable of the host is
 * passed on, and of the image's only those that change neither loaders nor identities.
 */
export function commandEnvironment(options: EnvironmentOptions): string[] {
  const home = options.user === 'agent' ? AGENT.home : '/root';
  const variables = new Map<string, string>([['PATH', DEFAULT_PATH]]);
  for (const [name, value] of imageVariables(options.imageEnv)) variables.set(name, value);
  for (const [name, value] of Object.entries({
    HOME: home,
    USER: options.user,
    LOGNAME: options.user,
    HOSTNAME: 'cofferdam',
    TERM: 'dumb',
    LANG: 'C.UTF-8',
    COFFERDAM: '1',
    GIT_TERMINAL_PROMPT: '0',
    // Each of them would be a refused request on every installation: the list of what is installed is not sent out.
    npm_config_audit: 'false',
    npm_config_update_notifier: 'false',
  })) {
    variables.set(name, value);
  }
  if (options.ca) {
    for (const name of CA_VARIABLES) variables.set(name, `${SOCKET_MOUNT}/${CA_FILE}`);
    const store = `${SOCKET_MOUNT}/${TRUST_STORE}`;
    variables.set('JAVA_TOOL_OPTIONS', `-Djavax.net.ssl.trustStore=${store} -Djavax.net.ssl.trustStoreType=JKS`);
    variables.set('APT_CONFIG', `${SOCKET_MOUNT}/${APT_FILE}`);
  }
  for (const [name, value] of Object.entries(gitVariables(options.gitBase))) variables.set(name, value);
  for (const [name, value] of Object.entries(options.extra)) variables.set(name, value);
  return [...variables].map(([name, value]) => `${name}=${value}`);
}

function imageVariables(lines: readonly string[]): [string, string][] {
  return lines.flatMap((line): [string, string][] => {
    const end = line.indexOf('=');
    const name = line.slice(0, end);
    return end <= 0 || IMAGE_REFUSED.test(name) ? [] : [[name, line.slice(end + 1)]];
  });
}

/**
 * Git's settings by environment: they reach every git in the sandbox, whatever its home is, and cannot be lost with a file.
 * The remote's real address is rewritten in all its spellings, so that `origin`, submodules and git dependencies keep theirs.
 */
function gitVariables(gitBase: string | undefined): Record<string, string> {
  const settings: [string, string][] = [
    // The workspace belongs to the agent; root (setup) has to be able to work in it.
    ['safe.directory', '*'],
    ['user.name', 'Cofferdam agent'],
    ['user.email', 'agent@cofferdam.invalid'],
    ['advice.detachedHead', 'false'],
  ];
  if (gitBase !== undefined) {
    const { host, href } = new URL(gitBase);
    const base = href.endsWith('/') ? href : `${href}/`;
    for (const spelling of [base, `git@${host}:`, `ssh://git@${host}/`, `git://${host}/`]) {
      settings.push(['url.http://git.cofferdam.internal/.insteadOf', spelling]);
    }
  }
  const variables: Record<string, string> = { GIT_CONFIG_COUNT: String(settings.length) };
  settings.forEach(([key, value], index) => {
    variables[`GIT_CONFIG_KEY_${index}`] = key;
    variables[`GIT_CONFIG_VALUE_${index}`] = value;
  });
  return variables;
}
