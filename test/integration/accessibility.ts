import type { Page } from 'playwright-core';

/**
 * Runs in the page. Text on its background by WCAG's ratio (4.5, large text 3), names of what can be operated, headings
 * without a gap, ids that are there once, tables whose headings say what they head.
 */
const LOOK = `(() => {
  const problems = [];
  const parse = (color) => {
    const [r, g, b, a = 1] = color.match(/[\\d.]+/g).map(Number);
    return { r, g, b, a };
  };
  const over = (top, below) => ({
    r: top.r * top.a + below.r * (1 - top.a),
    g: top.g * top.a + below.g * (1 - top.a),
    b: top.b * top.a + below.b * (1 - top.a),
    a: 1,
  });
  const light = ({ r, g, b }) => {
    const [x, y, z] = [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ratio = (a, b) => {
    const [high, low] = [light(a), light(b)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
  };
  const background = (element) => {
    const layers = [];
    for (let at = element; at !== null; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), { r: 255, g: 255, b: 255, a: 1 });
  };
  const told = (element) => element.tagName.toLowerCase() + '.' + (element.getAttribute('class') ?? '') + ' ' + JSON.stringify(element.textContent.trim().slice(0, 40));
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
    const element = node.parentElement;
    if (node.data.trim() === '' || element === null || !element.checkVisibility() || element.closest('.for-readers, .skip, title, svg')) continue;
    const style = getComputedStyle(element);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const behind = background(element);
    const found = ratio(over(parse(style.color), behind), behind);
    if (found < (large ? 3 : 4.5)) problems.push('contrast ' + found.toFixed(2) + ' ' + told(element));
  }
  let level = 0;
  for (const heading of document.querySelectorAll('h1, h2, h3, h4')) {
    const now = Number(heading.tagName[1]);
    if (now > level + 1) problems.push('heading ' + told(heading));
    level = now;
  }
  const ids = [...document.querySelectorAll('[id]')].map((element) => element.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) problems.push('id ' + id);
  for (const element of document.querySelectorAll('a[href], button, input:not([type=hidden]), summary, [role=region], [role=group], [role=img], nav')) {
    const by = element.getAttribute('aria-labelledby');
    const labels = element.labels ? [...element.labels].map((one) => one.textContent).join('') : '';
    const name = element.getAttribute('aria-label') ?? (by && document.getElementById(by)?.textContent) ?? (labels || element.textContent);
    if ((name ?? '').trim() === '') problems.push('no name ' + element.outerHTML.slice(0, 80));
  }
  for (const th of document.querySelectorAll('th:not([scope])')) problems.push('no scope ' + told(th));
  for (const element of document.querySelectorAll('pre, .scroll'))
    if (element.checkVisibility() && element.scrollWidth > element.clientWidth + 1 && element.tabIndex < 0) problems.push('scrolls, not reachable ' + told(element));
  for (const element of document.querySelectorAll('[aria-hidden=true] a, [aria-hidden=true] button')) problems.push('hidden, but reachable ' + told(element));
  if (document.documentElement.lang !== 'en') problems.push('no language');
  if (document.querySelectorAll('main').length !== 1) problems.push('not one main');
  return [...new Set(problems)];
})()`;

/** What is wrong for people who see little, use a keyboard or a screen reader; with everything unfolded. */
export async function accessibilityProblems(page: Page): Promise<string[]> {
  await page.evaluate(`document.querySelectorAll('details').forEach((one) => one.setAttribute('open', ''))`);
  return page.evaluate<string[]>(LOOK);
}
