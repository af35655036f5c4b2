import { showHidden } from '../domain/hidden.ts';
import { quiet } from '../policy/markdown/quiet.ts';
import type { CommitMessage } from '../run/ports.ts';

/**
 * The commit's message. Its title and body may carry a stranger's words (the title), and a commit message makes
 * services act: it can close issues, notify people, skip CI, command bots. Only our own trailers mean anything.
 */

const MAX_TITLE = 200;
const MAX_BODY = 4000;

/** Trailers that may be written, and how their value must look. */
const TRAILERS = new Map<string, RegExp>([
  ['Co-authored-by', /^[^<>@\s][^<>@]{0,100} <[^<>@\s]{1,100}@[^<>@\s]{1,100}>$/],
  ['Cofferdam-Run', /^[A-Za-z0-9]{1,40}$/],
  ['Cofferdam-Audit', /^sha256:[0-9a-f]{64}$/],
]);

/** The whole message, ready for git. Errors: RangeError for a trailer that is not in the list above. */
export function composeMessage(message: CommitMessage): string {
  const title =
    neutralizeLine(oneLine(message.title)).replace(/^> /, '').replace(LINE_START, '').slice(0, MAX_TITLE).trim() ||
    'Work of an agent';
  const body = clean(message.body).slice(0, MAX_BODY).split('\n').map(neutralizeLine).join('\n').trim();
  const trailers = message.trailers.map(([key, value]) => {
    if (TRAILERS.get(key)?.test(value) !== true || clean(value) !== value)
      throw new RangeError(`not a trailer: ${key}`);
    return `${key}: ${value}`;
  });
  return [title, body, trailers.join('\n')].filter((part) => part !== '').join('\n\n') + '\n';
}

/** Where a program that reads along would look for its own command, and git for a comment. */
const LINE_START = /^[\s#/>]+/;

function clean(text: string): string {
  return showHidden(text, () => '').text;
}

function oneLine(text: string): string {
  return clean(text).replaceAll(/\s+/g, ' ').trim();
}

function neutralizeLine(line: string): string {
  const plain = neutralize(line);
  // A line that looks like a trailer, a command or a comment of git's is quoted.
  if (/^\s*(?:[A-Za-z][A-Za-z0-9-]*(?:-by|-[Cc]hecks|-[Ii]d|-[Rr]un|-[Aa]udit)\s*:|[#/]|bors\b|r\+)/.test(plain))
    return `> ${plain.trim()}`;
  return plain;
}

const MENTION = /(^|[^\w`/.@])@(?=[A-Za-z0-9])/g;

function neutralize(text: string): string {
  return quiet(text).replaceAll(MENTION, '$1@ ');
}
