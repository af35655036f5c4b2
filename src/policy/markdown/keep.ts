import { REPOSITORY_FILE } from '../../domain/configuration.ts';
import type { EgressEntry } from '../../domain/policy.ts';
import type { Source } from '../../domain/run.ts';
import { entryText } from '../egress/report.ts';
import { assemble } from './assemble.ts';
import { code, link, plainLine } from './outside.ts';

/** The pull request that keeps a way out which somebody allowed for one run. */
export interface KeepFacts {
  /** Host or preset. */
  name: string;
  /** What is added to the file. */
  entry: EgressEntry;
  requester: string;
  /** Where it was asked for. */
  source: Pick<Source, 'number' | 'isPull' | 'url'>;
}

export function keepTitle({ name }: KeepFacts): string {
  return plainLine(`chore: let runs of the agent reach ${name}`, 120);
}

export function keepMessage(facts: KeepFacts): string {
  return `${keepTitle(facts)}\n\nAsked for by ${plainLine(facts.requester, 60)}.\n`;
}

export function keepBody({ name, entry, requester, source }: KeepFacts): string {
  const thread = link(`${source.isPull ? 'pull request' : 'issue'} ${source.number}`, source.url);
  return assemble([
    {
      text: `${code(requester, { max: 60 })} let one run reach ${code(name, { max: 253 })}, on ${thread}. Merging this lets every run of this repository reach it: ${code(entryText(entry), { max: 400 })} is added under \`egress.allow\` of \`${REPOSITORY_FILE}\`, within what the operator of this installation lets repositories add.`,
    },
    {
      text: 'Nothing else of the file is changed. Close this when one run was enough; it is not opened again by itself.',
    },
  ]);
}
