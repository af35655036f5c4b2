/**
 * Markup is made here only, by templates whose values are escaped: nothing that a run said can become an element or an attribute.
 * Attribute values are always quoted in templates; addresses from outside go through `safeHref`.
 */
import { showHidden } from '../domain/hidden.ts';

export class Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export type Part = Markup | string | number | null | undefined | false | readonly Part[];

const ESCAPES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
  '`': '&#96;',
};
/** Everything that is neither plain printable ASCII nor a line end: looked at more closely. */
const UNUSUAL = /[^\n\t\x20-\x7e]/;

/** Text for an element or a quoted attribute. Characters that cannot be seen, or that turn text around, are shown by their escape. */
export function escaped(text: string): string {
  const visible = UNUSUAL.test(text) ? showHidden(text).text : text;
  return visible.replace(/[&<>"'`]/g, (sign) => ESCAPES[sign] ?? sign);
}

/** A template tag whose values go through this escape, unless they are markup made here. */
export function templates(
  escape: (text: string) => string,
): (strings: TemplateStringsArray, ...parts: readonly Part[]) => Markup {
  function render(part: Part): string {
    if (part === null || part === undefined || part === false) return '';
    if (part instanceof Markup) return part.text;
    if (typeof part === 'object') return part.map(render).join('');
    return escape(String(part));
  }
  return (strings, ...parts) =>
    new Markup(strings.map((text, index) => text + (index < parts.length ? render(parts[index]) : '')).join(''));
}

/** A template whose values are escaped. */
export const html = templates(escaped);

/** The address when it is http(s) on exactly this origin; undefined otherwise, and then nothing becomes a link. */
export function safeHref(address: string | undefined, origin: string): string | undefined {
  if (address === undefined || !URL.canParse(address)) return undefined;
  const url = new URL(address);
  const web = url.protocol === 'https:' || url.protocol === 'http:';
  return web && url.origin === origin && url.username === '' ? url.href : undefined;
}
