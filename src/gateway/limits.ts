/** What one run may use of its gateway. Every limit that is hit is an event. */
export interface GatewayLimits {
  /** Connections on the run's socket at one time, whatever they do. */
  connections: number;
  /** Of these, connections that have not reached their destination or shown their first bytes. */
  halfOpen: number;
  /** Connections to the outside over the whole run. */
  connectionsTotal: number;
  /** Milliseconds for the request head on the run's socket. */
  headMs: number;
  /** Milliseconds for the first bytes inside a tunnel (ClientHello or request head). */
  helloMs: number;
  /** Milliseconds without a byte in either direction. */
  idleMs: number;
  resolveMs: number;
  dialMs: number;
  /** Bytes from the sandbox to one host, and to all of them. */
  bytesOutPerHost: number;
  bytesOutTotal: number;
  /** Distinct names that get an address. */
  names: number;
  /** Distinct names that a wildcard may allow, and the length of the label that it stands for. */
  wildcardNames: number;
  wildcardLabel: number;
  /** Distinct paths of registries that were answered with "not found"; after that only paths that were found before. */
  registryMisses: number;
  /** Denials that get an event of their own; later ones are counted by reason. */
  distinctDenials: number;
  /** Milliseconds between two writes of aggregated counts. */
  flushMs: number;
}

export const GATEWAY_LIMITS: GatewayLimits = {
  connections: 1500,
  halfOpen: 256,
  connectionsTotal: 50_000,
  headMs: 10_000,
  helloMs: 5_000,
  idleMs: 300_000,
  resolveMs: 5_000,
  dialMs: 10_000,
  bytesOutPerHost: 256 * 2 ** 20,
  bytesOutTotal: 512 * 2 ** 20,
  names: 2000,
  wildcardNames: 64,
  wildcardLabel: 40,
  registryMisses: 400,
  distinctDenials: 500,
  flushMs: 30_000,
};
