import { readFileSync } from 'node:fs';

export const say = (line: string): void => void process.stdout.write(`${line}\n`);

export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** Resident bytes of a process. */
export function memoryOf(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}

/** Seconds of processor time that a process has taken, threads included, to a hundredth. */
export function secondsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
  const [user = Number.NaN, system = Number.NaN] = fields.slice(11, 13).map(Number);
  return (user + system) / 100;
}

/** What does not run here is said, never left out in silence. */
export async function orSaid<T>(name: string, opening: Promise<T>): Promise<T | undefined> {
  return opening.catch((error: unknown) => {
    const [reason = ''] = error instanceof Error ? error.message.split('\n') : [];
    say(`  NOT MEASURED: ${name} does not run here: ${reason}`);
    return undefined;
  });
}
