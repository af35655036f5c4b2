import type { World } from '../world.ts';
import { escaped } from './html.ts';

const HUES = [12, 45, 90, 150, 185, 215, 250, 285, 320];

/** A round picture with the first letter; bots are square. */
export function avatar(world: World, id: number): string {
  const user = world.state.users.find((one) => one.id === id);
  const letter = escaped((user?.login ?? '?').charAt(0).toUpperCase());
  const hue = HUES[id % HUES.length] ?? 0;
  const round = user?.type === 'Bot' ? 22 : 50;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100"><rect width="100" height="100" rx="${round}" fill="hsl(${hue} 45% 42%)"/><text x="50" y="68" font-size="52" font-family="sans-serif" font-weight="600" text-anchor="middle" fill="#fff">${letter}</text></svg>`;
}

export function icon(): string {
  return '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect x="3" y="3" width="26" height="26" rx="6" fill="#0f766e"/><path d="M9 20c3-3 4-3 7 0s4 3 7 0" fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round"/></svg>';
}
