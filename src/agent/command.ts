import type { Launch } from './adapters/adapter.ts';

const PROMPT_FILE = '.cofferdam/prompt.md';

/**
 * The launch of an agent that is a plain command: the prompt comes on its standard input, from a file below its home,
 * because an argument ends at 128 KiB; what it prints last is its summary.
 */
export function fedThroughStdin(prompt: string, launch: Omit<Launch, 'protocol'>): Omit<Launch, 'protocol'> {
  return {
    argv: ['/bin/sh', '-c', `exec "$@" < "$HOME/${PROMPT_FILE}"`, 'agent', ...launch.argv],
    env: launch.env,
    files: [...launch.files, { path: PROMPT_FILE, content: prompt }],
  };
}

/**
 * The command line of a program that the operator's image brings: it ends with 127 and says what to install when the
 * image does not.
 */
export function fromImage(options: { program: string; package: string; why: string }): string[] {
  const missing =
    `The sandbox image has no ${options.program}, and Cofferdam does not bring it (${options.why}). ` +
    `Install it in the image: npm install -g ${options.package}`;
  const script = 'command -v "$1" >/dev/null || { printf "%s\\n" "$0" >&2; exit 127; }; exec "$@"';
  return ['/bin/sh', '-c', script, missing, options.program];
}
