/** One line of a set-up: a step begins, says something, and ends with how long it took. */
export type MachineProgress =
  | { kind: 'start'; step: string }
  | { kind: 'note'; step: string; text: string }
  | { kind: 'done'; step: string; text: string; seconds: number };

export type OnProgress = (event: MachineProgress) => void;

/** What a step is given to talk with. */
export type Note = (text: string) => void;

/** Runs a step between its `start` and `done` events; what the work returns as text stands in the latter. */
export async function step<T>(
  onProgress: OnProgress,
  name: string,
  work: (note: Note) => Promise<{ value: T; text: string }>,
): Promise<T> {
  onProgress({ kind: 'start', step: name });
  const started = performance.now();
  const { value, text } = await work((said) => onProgress({ kind: 'note', step: name, text: said }));
  onProgress({ kind: 'done', step: name, text, seconds: (performance.now() - started) / 1000 });
  return value;
}

/** Progress as plain lines, one for each event worth one, for a terminal or a log. */
export function progressLines(write: (line: string) => void): OnProgress {
  return (event) => {
    if (event.kind === 'note') write(`  ${event.step}: ${event.text}`);
    else if (event.kind === 'done') write(`  ${event.step}: ${event.text} (${event.seconds.toFixed(1)} s)`);
  };
}
