import type { LlmCall } from './judge.ts';
import { isJsonObject } from './json.ts';
import type { Json } from './json.ts';

/** Adds the host's own words to a request, where the model reads what came last, in the wire's shape. */
export function addNotices(call: LlmCall, notices: readonly string[]): void {
  if (notices.length === 0) return;
  const said = notices.join('\n');
  switch (call.wire) {
    case 'anthropic':
      appendToLast(list(call, 'messages'), 'user', { key: 'content', part: { type: 'text', text: said }, said });
      return;
    case 'gemini':
      appendToLast(list(call, 'contents'), 'user', { key: 'parts', part: { text: said }, said });
      return;
    case 'openai-chat':
      list(call, 'messages').push({ role: 'user', content: said });
      return;
    case 'openai-responses': {
      const input = call.body['input'];
      if (typeof input === 'string') call.body['input'] = [{ type: 'message', role: 'user', content: input }];
      list(call, 'input').push({ type: 'message', role: 'user', content: [{ type: 'input_text', text: said }] });
    }
  }
}

function list(call: LlmCall, key: string): Json[] {
  const given = call.body[key];
  if (Array.isArray(given)) return given;
  const made: Json[] = isJsonObject(given) ? [given] : [];
  call.body[key] = made;
  return made;
}

/** These wires want turns to alternate, so that the words join the last turn of the user. */
function appendToLast(
  turns: Json[],
  role: string,
  { key, part, said }: { key: string; part: Json; said: string },
): void {
  const last = turns.at(-1);
  if (!isJsonObject(last) || last['role'] !== role) {
    turns.push({ role, [key]: [part] });
    return;
  }
  const content = last[key];
  if (Array.isArray(content)) content.push(part);
  else if (typeof content === 'string') last[key] = `${content}\n\n${said}`;
  else last[key] = [part];
}
