/** Remarks on a change as GitHub shows them: beside the line, and as a list. The words are ours; of the outside there is only the path. */
import { CLASS_TEXT } from '../diff/classes.ts';
import type { Remark, RemarkKind } from '../diff/remarks.ts';
import { clean, code } from './outside.ts';

/** One annotation of a check run. */
export interface Annotation {
  path: string;
  start_line: number;
  end_line: number;
  annotation_level: 'notice' | 'warning';
  title: string;
  message: string;
}

/** GitHub takes this many in one request, and every request adds to what is there. */
export const MAX_ANNOTATIONS = 50;

const WORDS: Record<RemarkKind, { title: string; message: string }> = {
  protected: { title: 'Protected file', message: 'What this file says has an effect outside of the change itself.' },
  secret: {
    title: 'Looks like a secret',
    message:
      'A text in this line looks like a credential. If it is one, revoke it: what is pushed is public to its readers.',
  },
  test_skipped: {
    title: 'A test that does not run',
    message: 'A test is skipped here, or the others of its file are.',
  },
  dependency: {
    title: 'A package that is fetched',
    message:
      'See that it exists, is the one that is meant, and whose it is: agents make up names of packages, and others register them.',
  },
  check_off: { title: 'A check is switched off', message: 'What is wrong in or below this line is no longer said.' },
  test_deleted: { title: 'A test was removed', message: 'A test that stood here is not in the change any more.' },
};

function titleOf({ kind, protectedClass }: Remark): string {
  return protectedClass === undefined ? WORDS[kind].title : `${WORDS[kind].title}: ${CLASS_TEXT[protectedClass]}`;
}

/** Remarks that have a line, at most 50. A path that is not shown as it is has none: GitHub would find no such file. */
export function annotations(remarks: readonly Remark[]): Annotation[] {
  return remarks
    .flatMap((remark): Annotation[] => {
      const { kind, path, line } = remark;
      if (line === undefined || path.length > 1_000 || /\s/.test(path.replaceAll(' ', '')) || clean(path) !== path)
        return [];
      const at = { path, start_line: line, end_line: line };
      return [{ ...at, annotation_level: 'warning', title: titleOf(remark), message: WORDS[kind].message }];
    })
    .slice(0, MAX_ANNOTATIONS);
}

/** The first of them as a list; undefined when there is nothing to say. */
export function remarksList(remarks: readonly Remark[], max: number): string | undefined {
  if (remarks.length === 0) return undefined;
  const shown = remarks.slice(0, max).map((remark) => {
    const where = remark.line === undefined ? '' : `, line ${remark.line}`;
    return `- ${titleOf(remark)}: ${code(remark.path, { max: 120 })}${where}`;
  });
  const left = remarks.length - shown.length;
  return [...shown, ...(left > 0 ? [`- and ${left} more`] : [])].join('\n');
}
