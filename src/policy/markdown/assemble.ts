/** GitHub's limits with room to spare: 65,536 of a comment or pull request, 65,535 of a check run's summary. It says characters; bytes are counted here, which are never fewer. */
const MAX_BODY = 60_000;

export interface Section {
  text: string;
  /** Left out first when everything together is too long. */
  optional?: boolean;
}

const utf8 = new TextEncoder();

const LEFT_OUT = '*Some sections were left out for length; the run page and the audit file have everything.*';

/** Joins sections with blank lines, within GitHub's limit of bytes. A section is left out whole, so that nothing stays open. */
export function assemble(sections: readonly (Section | undefined)[], max = MAX_BODY): string {
  const kept = sections.filter((section) => section !== undefined && section.text !== '');
  let dropped = false;
  while (length(kept) + LEFT_OUT.length > max && kept.length > 1) {
    const optional = kept.findLastIndex((section) => section?.optional === true);
    kept.splice(optional > 0 ? optional : kept.length - 1, 1);
    dropped = true;
  }
  const body = kept.map((section) => section?.text ?? '').join('\n\n');
  return (dropped ? `${body}\n\n${LEFT_OUT}` : body).slice(0, max);
}

function length(sections: readonly (Section | undefined)[]): number {
  return sections.reduce((sum, section) => sum + utf8.encode(section?.text ?? '').length + 2, 0);
}
