import type { Removal } from '../audit/removal.ts';
import type { RunId } from '../domain/ids.ts';
import type { RunRecord } from '../run/ports.ts';

/** The lines of one run, wherever they are kept. */
export interface RunLog {
  /** It may begin in the middle: a live stream keeps the newest lines only. */
  readonly partial: boolean;
  /** What is there after a mark (empty: from the beginning), with the mark after it. Ends at the present end. */
  read(mark: string): AsyncIterable<{ bytes: Uint8Array; mark: string }>;
  /** Whether less is there than this mark says; absent: never. */
  shorter?(mark: string): Promise<boolean>;
  /** Resolves when there may be something after this mark, or when the signal aborts. */
  changed(mark: string, signal: AbortSignal): Promise<void>;
  /** The text of the seal, once there is one. */
  seal(): Promise<string | null>;
  /** The diff of the result, when it was kept. */
  patch(): Promise<string | null>;
}

export interface RunLogs {
  /** Null: this run has no line here. */
  open(runId: RunId): Promise<RunLog | null>;
  /** What is known of a log that was here and is kept no longer; absent: nothing is ever removed. */
  removed?(runId: RunId): Promise<Removal | null>;
}

/** Where the public keys come from that seals are checked with: the same place as the record, and it proves as much as that place. */
export interface SealKeys {
  /** For records on this server's disk. */
  disk(): Promise<string[]>;
  /** For records that workers sent: the key of each host. */
  announced(): Promise<string[]>;
}

/** What the queue knows of runs. */
export interface RunIndex {
  load(runId: RunId): Promise<RunRecord | null>;
  /** Newest first. */
  newest(limit: number): Promise<RunRecord[]>;
  /** How many begin before a queued one; null when it does not wait. */
  place(runId: RunId): Promise<{ ahead: number } | null>;
}

/** Small values that end by themselves: sessions, states of a login. */
export interface ShortLived {
  put(key: string, value: string, seconds: number): Promise<void>;
  get(key: string): Promise<string | null>;
  /** Gets and removes in one step: for what may be used once. */
  take(key: string): Promise<string | null>;
  remove(key: string): Promise<void>;
}

/** GitHub, as a person who signs in sees it. */
export interface GitHubLogin {
  /** Where the browser is sent. */
  authorizeUrl(options: { state: string; challenge: string; redirectUrl: string }): string;
  /** The person's own token for the code that came back. Errors: `github`. */
  exchange(options: { code: string; verifier: string; redirectUrl: string }): Promise<string>;
  login(token: string): Promise<string>;
  /** May the holder of this token read the repository? False for any refusal. Errors: `github` when it cannot be asked. */
  mayRead(token: string, repository: { owner: string; name: string; id?: number | undefined }): Promise<boolean>;
}
