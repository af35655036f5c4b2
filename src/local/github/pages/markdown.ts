/**
 * Markdown of strangers as HTML. The library runs with HTML disabled, so what looks like a tag is text; comments vanish and a few
 * tags without attributes pass, as on GitHub. Pictures become links: this page loads nothing from elsewhere.
 */
import MarkdownIt, { type StateInline } from 'markdown-it';
import { escaped, Markup } from './html.ts';

/** Attribute-free and harmless when left open: the box around a body closes them. */
const ALLOWED_TAG = /^<(\/?)(details|summary|br|code|sub|sup|kbd)[ \t]*\/?>/i;
const COMMENT = /^<!--[\s\S]*?-->/;

type InlineRule = (state: StateInline, silent: boolean) => boolean;

const commentRule: InlineRule = (state, silent) => {
  const found = COMMENT.exec(state.src.slice(state.pos));
  if (found === null) return false;
  if (!silent) state.push('text', '', 0).content = '';
  state.pos += found[0].length;
  return true;
};

const tagRule: InlineRule = (state, silent) => {
  const found = ALLOWED_TAG.exec(state.src.slice(state.pos));
  if (found === null) return false;
  if (!silent) state.push('html_inline', '', 0).content = `<${found[1] ?? ''}${(found[2] ?? '').toLowerCase()}>`;
  state.pos += found[0].length;
  return true;
};

/** `#12` of the same repository, where it stands as a word of its own. */
const referenceRule: (base: string) => InlineRule = (base) => (state, silent) => {
  if (state.src.charCodeAt(state.pos) !== 0x23 || state.linkLevel > 0) return false;
  if (state.pos > 0 && /[\w/&#]/.test(state.src.charAt(state.pos - 1))) return false;
  const number = /^#(\d{1,9})\b/.exec(state.src.slice(state.pos))?.[1];
  if (number === undefined) return false;
  if (!silent) {
    state.push('link_open', 'a', 1).attrs = [['href', `${base}/issues/${number}`]];
    state.push('text', '', 0).content = `#${number}`;
    state.push('link_close', 'a', -1);
  }
  state.pos += number.length + 1;
  return true;
};

/** A renderer for the bodies of one repository; `base` is its page. */
export function markdownFor(base: string): (source: string | null) => Markup {
  const parser = new MarkdownIt({ html: false, linkify: true, breaks: false });
  parser.inline.ruler.before('html_inline', 'comment', commentRule);
  parser.inline.ruler.before('html_inline', 'allowed_tag', tagRule);
  parser.inline.ruler.before('link', 'reference', referenceRule(base));
  parser.renderer.rules['image'] = (tokens, index) => {
    const source = tokens[index]?.attrGet('src') ?? '';
    return `<span class="picture">picture: ${escaped(tokens[index]?.content ?? '')} <code>${escaped(String(source))}</code></span>`;
  };
  parser.renderer.rules['link_open'] = (tokens, index, options, _env, self) => {
    tokens[index]?.attrSet('rel', 'nofollow noopener noreferrer');
    return self.renderToken(tokens, index, options);
  };
  return (source) => {
    if (source === null || source.trim() === '') return new Markup('<p class="empty">No description provided.</p>');
    const boxes = source.replace(
      /^(\s*[-*] )\[([ xX])\] /gm,
      (_all, bullet: string, mark: string) => bullet + (mark === ' ' ? '☐ ' : '☑ '),
    );
    return new Markup(parser.render(boxes));
  };
}
