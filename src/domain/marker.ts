import { RunId } from './ids.ts';

/** By this line the pull request of a run is known again. GitHub does not show it, and it carries the id only. */
export function pullMarker(runId: RunId): string {
  return `<!-- cofferdam:run ${runId} -->`;
}

/** Whether an HTML comment is such a line: by its whole form, since anybody can write one. */
export function isPullMarker(comment: string): boolean {
  return RunId.safeParse(/^<!-- cofferdam:run (\S+) -->$/.exec(comment)?.[1]).success;
}
