import type { Step } from '../domain/step.ts';
import type { AgentMessage, RunProgress } from '../run/ports.ts';
import { formatUsd } from '../domain/ids.ts';
import { terminalText } from './terminal.ts';

/** Steps of a run in words. */
export const STEP_LABELS: Record<Step, string> = {
  mirror: 'fetch the repository',
  spec: 'freeze task, limits and policy',
  gateway: 'start the gateway',
  sandbox: 'start the sandbox (gVisor)',
  self_test: 'prove the isolation',
  clone: 'clone in the sandbox',
  setup: 'set up',
  agent: 'agent works',
  harvest: 'bring the result out and check it',
  verify: 'verify in a second sandbox',
  publish: 'publish',
  destroy: 'destroy everything',
  seal: 'seal the audit',
  report: 'report',
};

/** A run as lines in a terminal: steps with durations, what the agent does, egress decisions as they come, money. */
export function createRunReport(write: (line: string) => void): {
  progress: (progress: RunProgress) => void;
  message: (message: AgentMessage) => void;
} {
  const seen = new Set<string>();
  let cost = 0;
  const network = (progress: RunProgress): void => {
    for (const entry of progress.egress) {
      const key = `${entry.host}:${entry.port}:${String(entry.allow)}`;
      if (seen.has(key)) continue;
      seen.add(key);
      const where = entry.port === 0 ? terminalText(entry.host) : `${terminalText(entry.host)}:${entry.port}`;
      write(
        `      network ${entry.allow ? 'allowed' : 'denied '} ${where}${entry.reason === undefined ? '' : ` (${entry.reason})`}`,
      );
    }
    if (progress.usage.cost !== cost) {
      cost = progress.usage.cost;
      write(`      spent   ${formatUsd(cost)} in ${progress.usage.turns} model calls`);
    }
  };
  return {
    progress(progress) {
      network(progress);
      const at = `${(progress.atMs / 1000).toFixed(1).padStart(6)}s`;
      if (progress.state === 'started') write(`${at}  → ${STEP_LABELS[progress.step]}`);
      else
        write(
          `${at}  ${progress.state === 'done' ? '✓' : '✗'} ${STEP_LABELS[progress.step]} (${((progress.durationMs ?? 0) / 1000).toFixed(1)}s)`,
        );
    },
    message(message) {
      if (message.kind === 'tool' && message.status !== 'completed')
        write(`      agent   ${terminalText(message.title)}`);
      if (message.kind === 'text' && message.text.trim() !== '') write(`      agent   “${terminalText(message.text)}”`);
    },
  };
}
