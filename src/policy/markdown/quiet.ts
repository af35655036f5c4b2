/**
 * What services make of a commit's message. A pull request's title and text become one when people squash, so all of them are read for
 * it: no CI is skipped, no issue is closed, whatever a stranger or an agent wrote.
 */

/** `[skip ci]`, `[ci skip]`, `[skip travis ci]`, `[CF-Pages-Skip]`, `[no ci]`, `***NO_CI***` and their kin: some other word beside `skip`. */
const SKIP =
  /\[\s*((?:[a-z0-9]{1,20}[ _-]{1,3}){1,3}skip|skip[ _-]{1,3}[a-z0-9_]{1,20}(?:[ -]{1,3}[a-z0-9_]{1,20}){0,3}|ciskip|skipci|no[ _-]?ci|ci[ _-]?off)\s*\]|\*{3}\s*NO_CI\s*\*{3}/gi;
/** A closing word and what it would close. Behind a backtick GitHub finds none. */
const CLOSING =
  /\b(close[sd]?|fix(?:e[sd])?|resolve[sd]?)(\s{0,20}:?\s{0,20})(?!`)(?=\S*#\d|\S*\/issues\/\d|\S*\/pull\/\d|gh-\d)(\S+)/gi;

/** The text, in which nothing skips CI. */
export function skipNothing(text: string): string {
  return text.replaceAll(SKIP, (_, word: string | undefined) => `(${word ?? 'no ci'})`);
}

/** The text, in which nothing skips CI or closes an issue. */
export function quiet(text: string): string {
  return skipNothing(text).replaceAll(
    CLOSING,
    (_, word: string, gap: string, target: string) =>
      `${word}${gap}${target.replaceAll(/#|\/(?=\d)|(?<=gh)-/gi, ' no. ').trim()}`,
  );
}
