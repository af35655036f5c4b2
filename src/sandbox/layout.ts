/**
 * Where things lie inside a sandbox. The toolbox is a read-only directory of the host, so that nothing of the image has to
 * be trusted, or even be there: its own Node (interpreter and libraries from the toolbox, too), a static busybox, a static
 * init and the portal.
 */
export const TOOLBOX = {
  mount: '/opt/cofferdam',
  /** Reaps zombies, which Node as PID 1 would not, and ends with its one child: the portal's death ends the container. */
  init: ['/opt/cofferdam/bin/init', '--'],
  /**
   * Runs a script of the toolbox. The OpenSSL configuration is switched off because its default place is a path that an
   * image could fill; `--disable-warning` keeps standard error for errors.
   */
  node: [
    '/opt/cofferdam/bin/node',
    '--openssl-config=/dev/null',
    '--disable-warning=ExperimentalWarning',
    '--max-old-space-size=128',
  ],
  busybox: '/opt/cofferdam/bin/busybox',
  portal: '/opt/cofferdam/portal/main.ts',
  selfTest: '/opt/cofferdam/portal/self-test.ts',
  processes: '/opt/cofferdam/portal/processes.ts',
} as const;

/** The run's socket directory, inside. */
export const SOCKET_MOUNT = '/run/cofferdam';
export const CA_FILE = 'ca.pem';
/** The same certificates in Java's format. */
export const TRUST_STORE = 'ca.jks';
/** What apt has to know about a sandbox. */
export const APT_FILE = 'apt.conf';

/**
 * Of every file in a mount: gVisor empties a file that its owner may write when it is opened with O_TRUNC, before it sees
 * that the mount is read-only (measured on 20240729, opened as root inside). What nobody may write it leaves alone.
 */
export const MOUNTED_MODE = 0o444;

/** The one socket that a mount may hold. */
export const SOCKET_NAME = 'gateway.sock';

/** Explicit proxy of the portal, for clients that insist on one. */
export const PROXY_PORT = 3128;

/** The address that makes every IPv4 address local: `ip addr add` of it comes before anything of the image runs. */
export const LOCAL_NETWORK = '198.18.0.1/0';

export const AGENT = { uid: 1000, gid: 1000, home: '/home/agent' } as const;
export const WORKSPACE = '/workspace';

export { PORTAL_EXIT } from './portal/exit.ts';

/** Labels on every container: by them a sweep finds what a dead worker left. */
export const LABEL = {
  installation: 'cofferdam.installation',
  run: 'cofferdam.run',
  role: 'cofferdam.role',
} as const;
