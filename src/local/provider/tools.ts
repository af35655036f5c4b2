import { isObject } from './codec.ts';
import type { Json } from './codec.ts';
import type { OfferedTool, ToolCall } from './script.ts';

/** What a script wants done, whatever the agent calls its tools. */
export type Deed =
  | { kind: 'read'; path: string }
  | { kind: 'write'; path: string; content: string }
  | { kind: 'edit'; path: string; before: string; after: string }
  | { kind: 'run'; command: string };

const NAMES: Record<Deed['kind'], RegExp> = {
  read: /^(?:read|read_file|readfile|view|open_file)$/i,
  write: /^(?:write|write_file|writefile|create|create_file)$/i,
  edit: /^(?:edit|edit_file|replace|str_replace|search_replace)$/i,
  run: /^(?:bash|shell|shell_command|exec|exec_command|run_shell_command|run_command|execute_command|run_terminal_cmd)$/i,
};

/** Which property of a schema takes which part of a deed. The first that matches is used. */
const PARTS: [RegExp, (deed: Deed) => string | undefined][] = [
  [/^(?:file_?path|path|absolute_?path|file_?name|file)$/i, (deed) => ('path' in deed ? deed.path : undefined)],
  [/^(?:content|contents|text|file_?text)$/i, (deed) => (deed.kind === 'write' ? deed.content : undefined)],
  [/^(?:old_?(?:string|text|str)|search|before)$/i, (deed) => (deed.kind === 'edit' ? deed.before : undefined)],
  [/^(?:new_?(?:string|text|str)|replacement|after)$/i, (deed) => (deed.kind === 'edit' ? deed.after : undefined)],
  [/^(?:command|cmd|script)$/i, (deed) => (deed.kind === 'run' ? deed.command : undefined)],
];

/**
 * The call of a real tool of this agent that does the deed; a deed that has no tool of its own goes through the shell.
 * `undefined` when the agent offers neither.
 */
export function toolCall(deed: Deed, tools: OfferedTool[]): ToolCall | undefined {
  const offered = tools.find((tool) => !tool.freeform && NAMES[deed.kind].test(tool.name) && fits(tool, deed));
  if (offered !== undefined) return { name: offered.name, args: fill(offered.schema, deed) };
  return deed.kind === 'run' ? undefined : toolCall({ kind: 'run', command: asCommand(deed) }, tools);
}

/** A tool fits when its schema has a place for every part of the deed. */
function fits(tool: OfferedTool, deed: Deed): boolean {
  const places = JSON.stringify(fill(tool.schema, deed));
  return PARTS.every(([, part]) => {
    const value = part(deed);
    return value === undefined || places.includes(JSON.stringify(value).slice(1, -1));
  });
}

function fill(schema: Json, deed: Deed): Json {
  const properties = isObject(schema['properties']) ? schema['properties'] : {};
  const required = Array.isArray(schema['required']) ? schema['required'] : [];
  const args: Json = {};
  for (const [name, property] of Object.entries(properties)) {
    const shape = isObject(property) ? property : {};
    const value = PARTS.find(([pattern]) => pattern.test(name))?.[1](deed);
    const items = shape['items'];
    if (value !== undefined) args[name] = isArray(shape) ? ['bash', '-c', value] : value;
    // A list of edits: one entry of the list's own shape.
    else if (deed.kind === 'edit' && isArray(shape) && isObject(items) && isObject(items['properties'])) {
      args[name] = [fill(items, deed)];
    } else if (required.includes(name)) args[name] = filler(shape);
  }
  return args;
}

function isArray(shape: Json): boolean {
  return shape['type'] === 'array' || (Array.isArray(shape['type']) && shape['type'].includes('array'));
}

/** A value that satisfies a required property which the deed says nothing about. */
function filler(shape: Json): unknown {
  if (Array.isArray(shape['enum'])) return shape['enum'][0];
  switch (shape['type']) {
    case 'integer':
    case 'number':
      return typeof shape['minimum'] === 'number' ? Math.max(1, shape['minimum']) : 1;
    case 'boolean':
      return false;
    case 'array':
      return [];
    case 'object':
      return {};
    default:
      return 'as the task asks';
  }
}

function asCommand(deed: Exclude<Deed, { kind: 'run' }>): string {
  const path = quote(deed.path);
  if (deed.kind === 'read') return `cat ${path}`;
  if (deed.kind === 'write') return `mkdir -p "$(dirname ${path})" && printf %s ${quote(deed.content)} > ${path}`;
  const program =
    'const fs=require("fs");const[p,a,b]=process.argv.slice(1);const t=fs.readFileSync(p,"utf8");' +
    'if(!t.includes(a)){console.error("text not found in "+p);process.exit(1)}' +
    'fs.writeFileSync(p,t.split(a).join(b))';
  return `node -e ${quote(program)} -- ${path} ${quote(deed.before)} ${quote(deed.after)}`;
}

function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
