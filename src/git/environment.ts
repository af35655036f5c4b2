/**
 * What a git process of the host sees: a built environment and a configuration that no file can add to.
 *
 * Trust assumptions: repositories in the data directory are made by this room and hold only its own configuration; the
 * objects in them may be hostile. Nothing is inherited: no HOME, no proxy, no credential helper, no locale.
 */

/** How git may reach another repository in one call; without it no transport at all. */
export interface Transport {
  protocol: 'https' | 'http' | 'file';
  /** Where `authorization` is sent, and nowhere else: `https://host[:port]/`. */
  origin?: string;
  /** Value of the Authorization header. Never in argv, never in an error. */
  authorization?: string;
  /** CA bundle that is trusted instead of the host's. */
  caFile?: string;
}

export interface EnvironmentOptions {
  transport?: Transport | undefined;
  /** More configuration of command scope, which wins over any file. */
  config?: readonly (readonly [string, string])[] | undefined;
  /** More variables; only names that begin with GIT_. */
  env?: Readonly<Record<string, string>> | undefined;
}

export const SEARCH_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

// Command scope wins over a repository's own file, so each of these holds even where a file says otherwise.
const fixed: readonly (readonly [string, string])[] = [
  ['safe.bareRepository', 'explicit'],
  ['core.hooksPath', '/dev/null'],
  ['core.fsmonitor', 'false'],
  ['core.attributesFile', '/dev/null'],
  ['core.excludesFile', '/dev/null'],
  ['core.askPass', ''],
  ['core.sshCommand', 'false'],
  ['core.pager', 'cat'],
  ['core.editor', 'false'],
  ['core.bigFileThreshold', '32m'],
  // With these an address-space limit is about memory and not about the size of mapped packs.
  ['core.packedGitWindowSize', '16m'],
  ['core.packedGitLimit', '256m'],
  ['core.deltaBaseCacheLimit', '64m'],
  ['pack.threads', '1'],
  ['pack.windowMemory', '64m'],
  ['pack.deltaCacheSize', '64m'],
  ['protocol.allow', 'never'],
  ['credential.helper', ''],
  ['transfer.fsckObjects', 'true'],
  ['fetch.fsckObjects', 'true'],
  ['transfer.credentialsInUrl', 'die'],
  ['transfer.bundleURI', 'false'],
  ['fetch.recurseSubmodules', 'false'],
  ['submodule.recurse', 'false'],
  ['push.recurseSubmodules', 'no'],
  ['push.gpgSign', 'false'],
  ['push.followTags', 'false'],
  ['commit.gpgSign', 'false'],
  ['tag.gpgSign', 'false'],
  ['gpg.program', 'false'],
  ['log.showSignature', 'false'],
  ['color.ui', 'false'],
  ['gc.auto', '0'],
  ['maintenance.auto', 'false'],
  ['fetch.writeCommitGraph', 'false'],
  // A redirect could carry the Authorization header to another host; a renamed repository is an error instead.
  ['http.followRedirects', 'false'],
  ['http.sslVerify', 'true'],
  ['http.delegation', 'none'],
  ['http.proxy', ''],
  ['http.lowSpeedLimit', '1'],
  ['http.lowSpeedTime', '60'],
];

/** The whole environment of one git process. */
export function gitEnvironment(options: EnvironmentOptions): Record<string, string> {
  const { transport } = options;
  const config = [...fixed, ...(options.config ?? []), ...transportConfig(transport)];
  const env: Record<string, string> = {
    PATH: SEARCH_PATH,
    HOME: '/nonexistent',
    LC_ALL: 'C',
    TZ: 'UTC',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_ATTR_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_NO_REPLACE_OBJECTS: '1',
    GIT_NO_LAZY_FETCH: '1',
    GIT_OPTIONAL_LOCKS: '0',
    GIT_PROTOCOL_FROM_USER: '0',
    GIT_DISCOVERY_ACROSS_FILESYSTEM: '0',
    // Stays in force in git's own children, which drop the configuration of the command.
    GIT_ALLOW_PROTOCOL: transport?.protocol ?? 'none',
  };
  for (const [name, value] of Object.entries(options.env ?? {})) {
    if (!name.startsWith('GIT_')) throw new RangeError(`not a variable of git: ${name}`);
    env[name] = value;
  }
  env['GIT_CONFIG_COUNT'] = String(config.length);
  for (const [index, [key, value]] of config.entries()) {
    env[`GIT_CONFIG_KEY_${index}`] = key;
    env[`GIT_CONFIG_VALUE_${index}`] = value;
  }
  return env;
}

function transportConfig(transport: Transport | undefined): [string, string][] {
  if (!transport) return [];
  const config: [string, string][] = [[`protocol.${transport.protocol}.allow`, 'always']];
  if (transport.caFile !== undefined) config.push(['http.sslCAInfo', transport.caFile]);
  if (transport.authorization !== undefined) {
    if (transport.origin === undefined) throw new RangeError('an authorization needs the origin it is for');
    config.push([`http.${transport.origin}.extraHeader`, `Authorization: ${transport.authorization}`]);
  }
  return config;
}
