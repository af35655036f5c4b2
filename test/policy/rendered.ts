import { micromark } from 'micromark';
import { gfm, gfmHtml } from 'micromark-extension-gfm';
import { expect } from 'vitest';

/** Markdown as GitHub's dialect renders it, with dangerous protocols left in, so that they are found. */
export function render(markdown: string): string {
  return micromark(markdown, {
    allowDangerousHtml: true,
    allowDangerousProtocol: true,
    extensions: [gfm()],
    htmlExtensions: [gfmHtml()],
  });
}

const OURS =
  /<\/?(?:p|ul|ol|li|code|pre|strong|blockquote|table|thead|tbody|tr|th|td|h2|h3|hr|br|em)(?: align="\w+"| class="language-\w+"| start="\d+")?\s*\/?>/g;

/** What is active in it: elements that are not plain text, and names that GitHub itself looks for outside code. */
export function active(html: string, own: readonly RegExp[] = []): string[] {
  let rest = html;
  for (const pattern of own) rest = rest.replace(pattern, '');
  const elements = rest.replace(OURS, '').match(/<[^>]*>/g) ?? [];
  const text = rest.replace(/<(pre|code)[^>]*>[\s\S]*?<\/\1>/g, ' ').replace(/<[^>]*>/g, ' ');
  const decoded = text
    .replace(/&amp;/g, '&')
    .replace(/&lt;/g, '<')
    .replace(/&gt;/g, '>')
    .replace(/&quot;/g, '"');
  const names = decoded.match(/(?<![\w/])@[a-z0-9][\w-]*|#\d+|\bGH-\d+|\w+:\/\/|\bwww\.|\$[^\s\d]/gi) ?? [];
  return [...elements, ...names];
}

const ALLOWED_CONTROL = /[\t\n]/;

/** Characters that must not be in anything that is sent. */
export function invisible(text: string): string[] {
  return Array.from(text).filter((char) => {
    const code = char.codePointAt(0) ?? 0;
    if (ALLOWED_CONTROL.test(char)) return false;
    return (
      code < 0x20 ||
      (code >= 0x7f && code < 0xa0) ||
      (code >= 0x200b && code <= 0x200f && code !== 0x200d) ||
      (code >= 0x2028 && code <= 0x202e) ||
      (code >= 0x2060 && code <= 0x206f) ||
      code === 0xfeff ||
      (code >= 0xd800 && code <= 0xdfff) ||
      (code >= 0xe0000 && code <= 0xe0fff)
    );
  });
}

/** What any text that is sent to GitHub must be, whatever came into it; `own`: elements that its writer makes. */
export function expectHarmless(markdown: string, own: readonly RegExp[]): void {
  expect(active(render(markdown), own)).toEqual([]);
  expect(invisible(markdown)).toEqual([]);
  expect(markdown).not.toMatch(/^\s*(?:>\s*)?::\w|##\[/m);
  expect(render(markdown)).not.toMatch(/language-(?:mermaid|geojson|math|topojson|stl)/);
  expect(markdown.length).toBeLessThan(65_000);
}
