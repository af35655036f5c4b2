import { html, safeHref, type Markup, type Part } from '../html.ts';
import type { RunView } from './run-view.ts';

/** A link where the address is GitHub's own, else the text. */
export function toGitHub(view: RunView, address: string | undefined, text: Part): Markup {
  const href = safeHref(address, view.githubOrigin);
  return href === undefined ? html`${text}` : html`<a href="${href}" rel="noreferrer">${text}</a>`;
}
