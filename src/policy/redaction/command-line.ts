/**
 * Secrets in what was started: by the name of the setting or flag that they are given with. Preconditions: known secrets and
 * shapes are looked for elsewhere, and every expression is linear.
 */
import { MARK } from './mask.ts';
import { isSecretName } from './names.ts';

const VALUE = String.raw`"[^"\\]*"|'[^']*'|\\"[^"\\]*\\"|[^\s"'\\;&|)]+`;
/** `NAME=value`, `--name=value` and `"name": "value"`, `name: value` (a header, a JSON of a tool's input). */
const ASSIGNED = new RegExp(
  String.raw`(?<![\w.-])(-{0,2}[A-Za-z_][\w.-]{0,63}(?:\\?["'])?)(=|:\s{0,4})((?:(?:bearer|basic|token)\s{1,4})?(?:${VALUE}))`,
  'gi',
);
/** `--name value`. */
const FLAG = new RegExp(String.raw`(?<=^|\s)(--?[A-Za-z][\w-]{0,63})(\s{1,4})(?!-)(${VALUE})`, 'g');
/** `curl -u name:password`; other programs have `-u 1000:1000`. */
const CURL_USER = /(\bcurl\b[^\n;|&]{0,200}?\s(?:-u|--user|--proxy-user)[\s=]{0,4}["']?[^\s:"']{1,128}:)([^\s"']+)/g;
/** Names a variable instead of a value. */
const REFERENCE = /^\\?["']?\$(?:\w+|\{\w+\}|\()/;

/** A command line, or any text that holds one. */
export function redactCommand(text: string): string {
  if (text.length < 8) return text;
  let out = text;
  // Most arguments are one word, and each line of the record waits for this.
  if (/[=:]/.test(out)) out = out.replace(ASSIGNED, hideValue);
  if (/\s/.test(out)) out = out.replace(FLAG, hideValue);
  return out.includes('curl') ? out.replace(CURL_USER, `$1${MARK}`) : out;
}

function hideValue(all: string, name: string, between: string, value: string): string {
  return isSecretName(name) && !REFERENCE.test(value) ? `${name}${between}${hidden(value)}` : all;
}

/** The mark in the quotes of the value, so that what is around it can still be read. */
function hidden(value: string): string {
  const quote = /^(\\?["'])/.exec(value)?.[1] ?? '';
  return `${quote}${MARK}${quote}`;
}

/** Arguments as a program gets them: nothing in them stands for anything else, except in a script that a shell is given. */
export function redactArguments(argv: readonly string[]): string[] {
  const curl = /(?:^|\/)curl$/.test(argv[0] ?? '');
  return argv.map((argument, at) => {
    const before = argv[at - 1] ?? '';
    const flagged = at > 1 && /^--?[A-Za-z]/.test(before) && !before.includes('=') && isSecretName(before);
    if (flagged && !argument.startsWith('-')) return MARK;
    if (curl && /^(?:-u|--user|--proxy-user)$/.test(before)) return argument.replace(/:.*/s, `:${MARK}`);
    const [, name, value] = /^(-{0,2}[A-Za-z_][\w.-]{0,63}=)(.+)$/s.exec(argument) ?? [];
    if (name !== undefined && value !== undefined && isSecretName(name.slice(0, -1))) return `${name}${MARK}`;
    return redactCommand(argument);
  });
}
