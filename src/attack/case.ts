/** What an attack of the battery is: data, with a program that runs inside and a judgement on what the host saw. */
import type { AuditEntry } from '../domain/audit.ts';
import type { DenyReason } from '../domain/decision.ts';
import type { EgressEntryFact } from '../domain/run.ts';
import type { Inside } from './inside.ts';
import type { Internet } from './internet.ts';

export const CLASSES = {
  ESC: 'escape and file system',
  NET: 'network, and exfiltration through allowed places',
  DNS: 'names',
  TLS: 'TLS and HTTP',
  RES: 'resource exhaustion',
} as const;
export type AttackClass = keyof typeof CLASSES;

export const TIERS = ['T0', 'T1', 'T2'] as const;
/** The least that the catalogue needs for a row: in process, the real gateway over a real socket, Docker with gVisor. */
export type Tier = (typeof TIERS)[number];

export const USERS = ['agent', 'root'] as const;
export type AttackUser = (typeof USERS)[number];

/** Names that stand for one case and one user only, so that what reaches them is theirs. All have public addresses. */
export interface Given {
  user: AttackUser;
  /** In no rule. */
  denied: string;
  /** Every usual method and path; TLS is terminated. */
  allowed: string;
  /** GET and HEAD below /ok/ only. */
  read: string;
  /** TLS is passed through. */
  passed: string;
  /** Of the twin only: allowed. */
  twin: string;
  /** Of the twin only, too: TLS is passed through. */
  twinPassed: string;
  /** Nothing else has these 32 hexadecimal digits. */
  mark: string;
  /** Counts the pairs of case and user, from 1. */
  index: number;
  /** A TCP and UDP port of the host's own loopback, where a decoy listens. */
  decoyPort: number;
  /** A name in the host's abstract namespace of Unix sockets, where a decoy listens. */
  decoyName: string;
}

/** Runs inside the sandbox: what it gives back has to be JSON. It may use nothing but its two arguments. */
export type Probe = (inside: Inside, given: Given) => Promise<unknown>;

/** What there is to judge by. */
export interface Seen {
  given: Given;
  /** What the probe found: of a hint's worth where the host can see for itself, all there is where it cannot. */
  inside: unknown;
  /** Denials that the gateway counted from the probe's start to its end, none of the twin's. */
  denied: EgressEntryFact[];
  /** Events of the audit in that time. */
  events: AuditEntry[];
  /** What arrived at a name of `given`. */
  sink: (name: 'denied' | 'allowed' | 'read' | 'passed') => string;
  /** Bytes that arrived at other places than the twin's. */
  sinkBytes: number;
  /** Addresses that were dialled, without the twin's. */
  dials: string[];
  /** Names that the host's resolver was asked for, without the twin's. */
  queries: string[];
  /** Connections and datagrams that the decoys on the host got. */
  decoys: number;
  /** The command was ended at its time limit. */
  timedOut: boolean;
}

/** Fields of one `kernel.connect` or `kernel.socket`. */
export type KernelHint = { type: 'kernel.connect' | 'kernel.socket' } & Readonly<Record<string, string | number>>;

export interface Expected {
  /** As in the catalogue: denied, limited, neutralised, or the effect stays in the sandbox. */
  outcome: 'denied' | 'limited' | 'neutralised' | 'contained';
  /** Each of these has to be among the gateway's denials. */
  reasons?: readonly DenyReason[];
  /** No byte may have arrived anywhere; default for `denied`. */
  silent?: boolean;
  /** Lines that the sandbox's kernel has to report of it, by what they hold at least; where the host has such a record. */
  hints?: (given: Given) => readonly KernelHint[];
  /** What else has to hold: says what is wrong, or nothing. */
  also?: (seen: Seen) => string | undefined;
}

/** An allowed way out, judged at its sink: so that a broken network cannot pass for security. */
export interface Twin {
  title: string;
  probe: Probe;
  /** What its sink has to have. */
  arrives: (given: Given) => { at: 'twin' | 'twinPassed'; text: string };
}

export interface AttackCase {
  id: `${AttackClass}-${string}`;
  title: string;
  /** What the probe does, in a sentence. */
  tried: string;
  class: AttackClass;
  tier: Tier;
  as: AttackUser | 'both';
  /** Names and places of the hermetic internet that this case needs otherwise. `at`: the address of a name, with port 443. */
  prepare?: (internet: Internet, given: Given, at: (name: keyof Places) => string) => void | Promise<void>;
  probe: Probe;
  expected: Expected;
  /** What is allowed and has to arrive, from the same command right after the probe. */
  twin: Twin;
  /** The command's time limit, where ending it is the point. */
  timeoutMs?: number;
  /** Why this cannot be tried here; undefined when it can. */
  skip?: (host: { processRecord: boolean }) => string | undefined;
}

export type Places = Pick<Given, 'denied' | 'allowed' | 'read' | 'passed' | 'twin' | 'twinPassed'>;
export const PLACES = ['denied', 'allowed', 'read', 'passed', 'twin', 'twinPassed'] as const satisfies (keyof Places)[];
