import type { LlmCall } from './judge.ts';
import { isJsonObject } from './json.ts';
import type { Json, JsonObject } from './json.ts';

/*
 * The host's own words in a request: at the very end, in the last turn of the user or behind the last result of a tool.
 * Everything before stays as it is, so that what providers have cached of a conversation fits before and after, and
 * results of tools stay next to their calls. A message of its own would be a second turn of the user, or one between
 * a tool and the assistant, which some servers refuse.
 */

interface Place {
  /** Where the conversation is, and where a turn has its content. */
  turns: string;
  content: string;
  roles: readonly (string | undefined)[];
  /** What a list of content takes as text. */
  part: (said: string) => Json;
}

const PLACES: Record<Exclude<LlmCall['wire'], 'openai-responses'>, Place> = {
  anthropic: { turns: 'messages', content: 'content', roles: ['user'], part: (text) => ({ type: 'text', text }) },
  'openai-chat': {
    turns: 'messages',
    content: 'content',
    roles: ['user', 'tool'],
    part: (text) => ({ type: 'text', text }),
  },
  // A turn without a role is the user's.
  gemini: { turns: 'contents', content: 'parts', roles: ['user', undefined], part: (text) => ({ text }) },
};

/** Items after which the model is to speak. */
const ANSWERED = /^(?:message|(?:function|custom_tool|local_shell|apply_patch)_call_output)$/;

/** Whether a request ends where the model is to read: not with words that are laid into its mouth. */
export function takesNotices(call: LlmCall): boolean {
  if (call.wire === 'openai-responses') {
    const input = call.body['input'];
    if (typeof input === 'string') return true;
    const last = Array.isArray(input) ? input.at(-1) : undefined;
    if (!isJsonObject(last)) return false;
    const type = last['type'] ?? 'message';
    return typeof type === 'string' && ANSWERED.test(type) && last['role'] !== 'assistant';
  }
  const place = PLACES[call.wire];
  const last = lastTurn(call, place);
  return last !== undefined && place.roles.includes(last['role'] as string | undefined);
}

/** Adds words to a request that takes them. */
export function addNotices(call: LlmCall, notices: readonly string[]): void {
  if (notices.length === 0) return;
  const said = notices.join('\n');
  if (call.wire === 'openai-responses') {
    const input = call.body['input'];
    // Items stand side by side in this wire: a further one of the user is no turn of its own.
    if (Array.isArray(input))
      input.push({ type: 'message', role: 'user', content: [{ type: 'input_text', text: said }] });
    else call.body['input'] = joined(input, said);
    return;
  }
  const place = PLACES[call.wire];
  const turn = lastTurn(call, place);
  if (turn === undefined) return;
  const content = turn[place.content];
  if (Array.isArray(content)) content.push(place.part(said));
  // Anthropic caches block by block: the words get one of their own.
  else if (call.wire === 'anthropic' && typeof content === 'string') {
    turn[place.content] = [place.part(content), place.part(said)];
  } else turn[place.content] = joined(content, said);
}

function joined(content: Json | undefined, said: string): string {
  return typeof content === 'string' ? `${content}\n\n${said}` : said;
}

function lastTurn({ body }: LlmCall, { turns }: Place): JsonObject | undefined {
  const given = body[turns];
  const last = Array.isArray(given) ? given.at(-1) : given;
  return isJsonObject(last) ? last : undefined;
}
