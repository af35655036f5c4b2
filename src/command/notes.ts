import type { FrozenInput } from '../domain/run.ts';
import { findHiddenContent, type HiddenContent } from './hidden-content.ts';

/** One kind of hidden content in one text, for the people who read the status comment. */
export interface HiddenContentNote {
  where: string;
  kind: HiddenContent;
  count: number;
  /** Outside text. */
  sample: string;
}

/** All hidden content of a run's input. */
export function hiddenContentNotes(input: FrozenInput): HiddenContentNote[] {
  return input.texts.flatMap((text) => {
    const where = text.id === undefined ? text.kind : `${text.kind} ${text.id}`;
    return findHiddenContent(`${text.title ?? ''}\n\n${text.body}`).map((finding) => ({ where, ...finding }));
  });
}
