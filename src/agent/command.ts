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
