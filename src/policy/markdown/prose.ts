import { block, clean, code, cut, inlineWords, lineStart, words } from './outside.ts';

export interface ProseOptions {
  maxChars: number;
  maxLines: number;
}

/**
 * What an agent wrote, as Markdown that is ours: paragraphs, lists, bold, code and headings (as bold lines) stay, everything else is
 * shown as text.
 */
export function prose(text: string, options: ProseOptions): string {
  const lines = cut(clean(text).trim(), options.maxChars).split('\n');
  const shown = lines.slice(0, options.maxLines);
  const out: string[] = [];
  let fence: { mark: string; language: string; body: string[] } | undefined;
  for (const line of shown) {
    if (fence !== undefined) {
      if (new RegExp(`^\\s{0,12}${fence.mark[0] === '~' ? '~' : '`'}{${fence.mark.length},}\\s*$`).test(line)) {
        out.push(closed(fence));
        fence = undefined;
      } else fence.body.push(line);
      continue;
    }
    const open = /^\s{0,12}(`{3,40}|~{3,40})\s*([A-Za-z+-]{0,20})/.exec(line);
    if (open === null) out.push(paragraph(line));
    else fence = { mark: open[1] ?? '```', language: (open[2] ?? '').toLowerCase(), body: [] };
  }
  if (fence !== undefined) out.push(closed(fence));
  if (lines.length > shown.length) out.push('', `*${lines.length - shown.length} more lines are on the run page.*`);
  return out
    .join('\n')
    .replace(/\n{3,}/g, '\n\n')
    .trim();
}

function closed(fence: { language: string; body: string[] }): string {
  return `\n${block(fence.body.join('\n'), { maxChars: 20_000, maxLines: 400, language: fence.language })}\n`;
}

function paragraph(line: string): string {
  const heading = /^\s{0,3}#{1,6}\s+(.*?)\s*#*$/.exec(line);
  // Taken out before the words are made safe: what is safe must not be rewritten, a code span would come apart.
  if (heading !== null) return `\n**${words((heading[1] ?? '').replaceAll('**', ''))}**\n`;
  const item = /^(\s{0,12})([-*+]|\d{1,4}[.)])\s+(.*)$/.exec(line);
  if (item === null) return inline(line.replace(/^[\s>]+/, ''));
  const depth = Math.min(3, Math.floor((item[1] ?? '').length / 2));
  const mark = /\d/.test(item[2] ?? '') ? '1.' : '-';
  return `${'   '.repeat(depth)}${mark} ${inline(item[3] ?? '')}`;
}

/** Code spans and bold are kept; what is between them is words. */
export function inline(line: string): string {
  const parts = line.split(/(`+)/);
  let out = '';
  for (let index = 0; index < parts.length; index += 1) {
    const part = parts[index] ?? '';
    if (!part.startsWith('`')) {
      out = beside(out, bold(part));
      continue;
    }
    const end = parts.indexOf(part, index + 1);
    if (end < 0) {
      out = beside(out, inlineWords(part));
      continue;
    }
    out = beside(out, code(parts.slice(index + 1, end).join(''), { max: 500 }));
    index = end;
  }
  return lineStart(out.trim());
}

/** Two runs of backticks that touch would be read as one, and what they enclose as text. */
function beside(before: string, after: string): string {
  return before.endsWith('`') && after.startsWith('`') ? `${before} ${after}` : before + after;
}

function bold(text: string): string {
  return text
    .split(/(\*\*[^*\n]{1,300}\*\*)/)
    .map((part) => {
      const inner = /^\*\*(\S(?:[^*\n]*\S)?)\*\*$/.exec(part)?.[1];
      return inner === undefined ? spaced(part, inlineWords(part)) : `**${inlineWords(inner)}**`;
    })
    .reduce((out, part) => beside(out, part), '');
}

/** `inlineWords` trims; between two spans the space is part of the text. */
function spaced(before: string, after: string): string {
  if (after === '') return before === '' ? '' : ' ';
  return `${/^\s/.test(before) ? ' ' : ''}${after}${/\s$/.test(before) ? ' ' : ''}`;
}
