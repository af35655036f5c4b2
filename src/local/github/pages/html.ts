/** Every value put into a page is escaped, unless it is markup made here. Titles, bodies and names come from hostile hands. */
import { templates } from '../../../web/html.ts';

export { Markup, type Part } from '../../../web/html.ts';

const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** Only what markup needs: as on GitHub, invisible characters stay what they are. */
export function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (sign) => ESCAPES[sign] ?? sign);
}

/** A template whose values are escaped. */
export const html = templates(escaped);
