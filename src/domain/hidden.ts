/**
 * Which characters a reader cannot see, or which make text look like something that it is not.
 * One list for everybody: what is shown to the agent, to people on GitHub and in a terminal.
 *
 * Emoji keep what they are made of: a variation selector or a joiner between pictographs, skin tones, flags of countries.
 */
export type HiddenKind = 'control' | 'zero_width' | 'bidi' | 'tag' | 'lone_surrogate';

type Range = readonly [number, number];

const BIDI: readonly Range[] = [
  [0x61c, 0x61c],
  [0x200e, 0x200f],
  [0x202a, 0x202e],
  [0x2066, 0x2069],
];
const TAG: readonly Range[] = [[0xe0000, 0xe007f]];
const ZERO_WIDTH: readonly Range[] = [
  [0xad, 0xad],
  [0x34f, 0x34f],
  [0x115f, 0x1160],
  [0x17b4, 0x17b5],
  [0x180b, 0x180f],
  [0x200b, 0x200d],
  [0x2028, 0x2029],
  [0x2060, 0x2065],
  [0x206a, 0x206f],
  [0x2800, 0x2800],
  [0x3164, 0x3164],
  [0xfe00, 0xfe0f],
  [0xfeff, 0xfeff],
  [0xffa0, 0xffa0],
  [0xfff0, 0xfffb],
  [0x1bca0, 0x1bca3],
  [0x1d173, 0x1d17a],
  [0xe0080, 0xe0fff],
];
const PICTOGRAPH = /\p{Extended_Pictographic}|\p{Emoji_Modifier}/u;

function within(ranges: readonly Range[], code: number): boolean {
  return ranges.some(([from, to]) => code >= from && code <= to);
}

/** May a selector or joiner follow this one? Pictographs, skin tones, the selector and the key cap. */
function partOfEmoji(char: string): boolean {
  return PICTOGRAPH.test(char) || char === '\u{fe0f}' || char === '\u{20e3}';
}

function kindOf(char: string, before: string, after: string): HiddenKind | undefined {
  const code = char.codePointAt(0) ?? 0;
  if (code === 0x09 || code === 0x0a) return undefined;
  if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return 'control';
  if (code < 0xad) return undefined;
  if (code >= 0xd800 && code <= 0xdfff) return 'lone_surrogate';
  if (within(BIDI, code)) return 'bidi';
  if (within(TAG, code)) return 'tag';
  if (!within(ZERO_WIDTH, code)) return undefined;
  if ((code === 0xfe0f || code === 0xfe0e) && (PICTOGRAPH.test(before) || /[0-9#*]/.test(before))) return undefined;
  if (code === 0x200d && partOfEmoji(before) && partOfEmoji(after)) return undefined;
  return 'zero_width';
}

/** `\u{200b}`: how a character that cannot be seen is shown. */
function escapeChar(char: string): string {
  return `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`;
}

/**
 * The text with every hidden character replaced (default: by its escape), line ends as `\n`, and how many of each kind there were.
 * Tabs and line feeds stay.
 */
export function showHidden(
  text: string,
  replace: (char: string, kind: HiddenKind) => string = escapeChar,
): { text: string; found: Partial<Record<HiddenKind, number>> } {
  const found: Partial<Record<HiddenKind, number>> = {};
  const chars = Array.from(text.replace(/\r\n?/g, '\n'));
  const shown = chars.map((char, index) => {
    const kind = kindOf(char, chars[index - 1] ?? '', chars[index + 1] ?? '');
    if (kind === undefined) return char;
    found[kind] = (found[kind] ?? 0) + 1;
    return replace(char, kind);
  });
  return { text: shown.join(''), found };
}
