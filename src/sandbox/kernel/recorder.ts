import type { KernelEntry } from './entry.ts';

/** Starts containers so that their kernels report to a collector process of this worker. */
export interface KernelRecorder {
  /**
   * Resolves when the container has started and its kernel is bound to us; nothing is left when it rejects.
   * Errors: those of `start`, and `sandbox` when no collector can be had or the kernel did not report.
   */
  record(options: RecordOptions): Promise<KernelRecord>;
}

export interface RecordOptions {
  container: string;
  /** The socket that gVisor's kernel reports to. */
  endpoint: string;
  /** The runtime's program, for attaching again. */
  runsc: string | undefined;
  start: () => Promise<void>;
  onLine: (line: KernelEntry) => void;
}

/** What is recorded of one running container. */
export interface KernelRecord {
  /** A command that the host is about to start in it: gVisor reports its children, but not itself. */
  launched(argv: readonly string[]): void;
  /** Resolves, with why, when there is no record any more and none can be had. */
  readonly lost: Promise<string>;
  /**
   * Ends the record; its last line is handed on before this resolves. `last` makes the kernel report once more, since
   * that report carries the final number of dropped events.
   */
  finish(last?: () => Promise<void>): Promise<void>;
}
