import { ensureParts, TOOLBOX_AGENTS } from './toolbox.ts';

/* Run while the product's image is built: `node toolbox-parts.ts DIRECTORY AGENT…` leaves there what toolboxes are made of. */

const [root, ...names] = process.argv.slice(2);
const agents = TOOLBOX_AGENTS.filter((agent) => names.includes(agent));
const unknown = names.filter((name) => !TOOLBOX_AGENTS.some((agent) => agent === name));
if (root === undefined || unknown.length > 0) {
  process.stderr.write(`usage: toolbox-parts.ts DIRECTORY AGENT…, with agents of: ${TOOLBOX_AGENTS.join(', ')}\n`);
  process.exit(2);
}
await ensureParts({ root, agents, note: (text) => void process.stderr.write(`${text}\n`) });
