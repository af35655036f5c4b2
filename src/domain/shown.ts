/** What lies in the agent's workspace otherwise than in its base, and why. */
import type { CommitSha, Digest } from './ids.ts';

/** What a repository has to configure an agent with: hooks, MCP servers, settings. */
export interface AgentConfiguration {
  /** Of the default branch. */
  commit: CommitSha;
  /** `sha256`: of the bytes; null: no plain file, or one that is too large. */
  files: { path: string; sha256: Digest | null; allowed: boolean }[];
  /** Where one is allowed: what lies in the workspace otherwise than in the base. The agent reads its configuration then. */
  shown: ShownFile[];
}

/** What steers the agent, as the default branch has it. */
export interface Steering {
  /** Advice for agents that is shown as this commit of the default branch has it, instead of as the base has it. */
  advice?: { commit: CommitSha; files: ShownFile[] };
  /** Files of the default branch that configure the agent of this run. */
  configuration?: AgentConfiguration;
}

/** Does the agent read what the repository configures it with? */
export function readsConfiguration({ configuration }: Steering): boolean {
  return configuration?.files.some(({ allowed }) => allowed) === true;
}

/** All files that lie in the agent's workspace otherwise than in its base. */
export function shownFiles({ advice, configuration }: Steering): ShownFile[] {
  return [...(advice?.files ?? []), ...(configuration?.shown ?? [])];
}

/** A file that lies in the workspace otherwise than in the base that was checked out. */
export interface ShownFile {
  path: string;
  /** The blob that lies there; null: no file does. */
  shown: string | null;
  /** What the base has; null: nothing. */
  own: { mode: string; id: string } | null;
}
