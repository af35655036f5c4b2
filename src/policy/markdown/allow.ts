import { block, code, link } from './outside.ts';

/** What `allow` answers: a no with the line that would make it a yes, or what begins. */
export function allowReply(
  answer:
    | { kind: 'unclear'; prefix: string }
    | { kind: 'operator'; name: string; line: string }
    | { kind: 'nothing'; prefix: string; name: string; flag: string }
    | { kind: 'again'; name: string; line: string; kept?: KeptFacts | undefined },
): string {
  switch (answer.kind) {
    case 'unclear':
      return `Write \`${answer.prefix} allow HOST\` with a plain host name, and methods behind it when reading is not enough: \`${answer.prefix} allow api.example.com GET POST\`.`;
    case 'operator':
      return [
        `😕 ${code(answer.name, { max: 253 })} is not among the hosts that people may add here. An operator would add under \`egress.mayAdd\` (or \`egress.allow\`, for every run):`,
        '',
        block(answer.line, { maxChars: 600, maxLines: 1, language: 'yaml' }),
      ].join('\n');
    case 'nothing':
      return `Nothing was run here yet. \`${answer.prefix} run --allow ${answer.flag}\` begins with ${code(answer.name, { max: 253 })}.`;
    case 'again':
      return againReply(answer);
  }
}

/** What became of the offer to keep it for good. */
export type KeptFacts =
  | { kind: 'opened' | 'open' | 'widened' | 'closed'; pull: { number: number; url: string } }
  | { kind: 'there' }
  | { kind: 'cannot'; why: string };

function againReply({ name, line, kept }: { name: string; line: string; kept?: KeptFacts | undefined }): string {
  const begins = `The last run begins once more and may reach ${code(name, { max: 253 })}, this run only.`;
  const pull = kept !== undefined && 'pull' in kept ? link(`pull request ${kept.pull.number}`, kept.pull.url) : '';
  switch (kept?.kind) {
    case 'opened':
    case 'open':
      return `${begins} To keep it for every run of this repository, merge ${pull}.`;
    case 'widened':
      return `${begins} To keep it for every run of this repository, merge ${pull}, to which I added it.`;
    case 'closed':
      return `${begins} ${pull}, which would keep it for every run, was closed; open it again to keep it.`;
    case 'there':
      return `${begins} \`.github/cofferdam.yml\` has it already.`;
    default: {
      const why = kept === undefined ? '' : ` No pull request was opened for that: ${code(kept.why, { max: 300 })}`;
      return [
        `${begins} To keep it, add under \`egress.allow\` of \`.github/cofferdam.yml\`:`,
        '',
        block(line, { maxChars: 600, maxLines: 1, language: 'yaml' }),
        ...(why === '' ? [] : ['', why.trim()]),
      ].join('\n');
    }
  }
}
