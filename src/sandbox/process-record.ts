import type { AuditEntry } from '../domain/audit.ts';
import { CofferdamError } from '../domain/errors.ts';
import type { ProcessRecord } from '../domain/run.ts';
import type { SandboxSettings } from '../domain/policy.ts';
import type { Docker } from './docker.ts';
import type { KernelEntry } from './kernel/entry.ts';
import type { KernelRecord, KernelRecorder } from './kernel/recorder.ts';
import { kernelReports } from './kernel/runtime.ts';
import type { RuntimeEntry } from './kernel/runtime.ts';

const OP = 'sandbox.processRecord';

/** How the processes of a sandbox are recorded: by its kernel at this socket, or, where policy allows that, not at all. */
export type Recording = { endpoint: string; recorder: KernelRecorder; runsc: string | undefined } | undefined;

/**
 * What a sandbox of this runtime is started with. Errors: `runtime_missing` when there can be no record and the policy
 * wants one, or when the runtime wants one and it cannot be taken.
 */
export async function recordingFor(options: {
  runtime: RuntimeEntry;
  settings: SandboxSettings;
  recorder: KernelRecorder | undefined;
}): Promise<Recording> {
  const { runtime, settings, recorder } = options;
  const reports = await kernelReports(runtime);
  if (reports.kind === 'broken') {
    throw new CofferdamError('runtime_missing', OP, `the record of processes cannot be taken: ${reports.why}`);
  }
  if (reports.kind === 'no') {
    if (settings.processRecord === 'optional') return undefined;
    const message = `there would be no record of processes: ${reports.why}; add it (\`cofferdam doctor\` shows how), or allow runs without one by \`sandbox.processRecord: optional\` in the policy`;
    throw new CofferdamError('runtime_missing', OP, message);
  }
  if (recorder === undefined) throw new CofferdamError('internal', OP, 'no recorder was given');
  return { endpoint: reports.endpoint, recorder, runsc: runtime.path };
}

/** The record of one running sandbox. */
export interface SandboxRecord {
  state(): ProcessRecord;
  /** Resolves, with why, when the record cannot go on. */
  readonly lost: Promise<string>;
  /** See `KernelRecord.finish`. */
  finish(last?: () => Promise<void>): Promise<void>;
  /** Docker, with each command that is started made known to the record. */
  readonly docker: Docker;
}

/** Starts the container, with its record when there is one. */
export async function startRecorded(options: {
  docker: Docker;
  container: string;
  recording: Recording;
  onRecord: ((entry: AuditEntry) => void) | undefined;
}): Promise<SandboxRecord> {
  const { docker, container, recording, onRecord } = options;
  const start = () => docker.start(container);
  if (recording === undefined) {
    await start();
    return { state: () => 'none', lost: new Promise(() => undefined), finish: () => Promise.resolve(), docker };
  }
  let state: ProcessRecord = 'complete';
  const onLine = ({ type, data }: KernelEntry): void => {
    if (type === 'kernel.gap' || (type === 'kernel.end' && !data.complete)) state = 'gaps';
    onRecord?.({ zone: 'sandbox', source: 'sandbox', type, data });
  };
  const { recorder, endpoint, runsc } = recording;
  const record: KernelRecord = await recorder.record({ container, endpoint, runsc, start, onLine });
  return {
    state: () => state,
    lost: record.lost,
    finish: (last) => record.finish(last),
    docker: {
      ...docker,
      exec: (id, spec) => {
        record.launched(spec.argv);
        return docker.exec(id, spec);
      },
    },
  };
}
