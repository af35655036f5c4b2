import type { MachineProgress } from '../local/machine/progress.ts';

/** Set-up progress on standard error: quiet for steps that were done already (under a second), since output belongs to the command. */
export function machineProgress(
  write: (text: string) => void = (text) => process.stderr.write(text),
): (event: MachineProgress) => void {
  return (event) => {
    if (event.kind === 'note') write(`  ${event.step}: ${event.text}\n`);
    if (event.kind === 'done' && event.seconds >= 1)
      write(`  ${event.step}: ${event.text} (${event.seconds.toFixed(1)} s)\n`);
  };
}
