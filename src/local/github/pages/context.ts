import type { Api } from '../api.ts';
import { instant } from '../git-format.ts';
import type { Repository, User } from '../state.ts';
import { nowMs, type World } from '../world.ts';
import type { Markup } from './html.ts';

/** What a page knows when it is asked for. */
export interface Context {
  api: Api;
  world: World;
  url: URL;
  /** The person whom the visitor chose to be. */
  viewer: User;
}

export type PageReply =
  | { kind: 'page'; status?: number; title: string; body: Markup; repository?: Repository; tab?: Tab; leadsTo?: string }
  | { kind: 'redirect'; to: string }
  | { kind: 'text'; content: string | Buffer };

export type Tab = 'code' | 'issues' | 'pulls' | 'commits';

export function repositoryPath(repository: Repository): string {
  return `/${repository.owner}/${repository.name}`;
}

/** `2 minutes ago`, by the stand-in's clock. */
export function ago(world: World, at: string): string {
  const seconds = Math.max(0, Math.round((nowMs(world) - Date.parse(at)) / 1000));
  const steps: [number, string][] = [
    [86_400, 'day'],
    [3_600, 'hour'],
    [60, 'minute'],
  ];
  for (const [size, name] of steps) {
    const count = Math.floor(seconds / size);
    if (count > 0) return `${count} ${name}${count === 1 ? '' : 's'} ago`;
  }
  return seconds < 5 ? 'just now' : `${seconds} seconds ago`;
}

export function written(at: string): string {
  return `${instant(at).replace('T', ' ').replace(/Z$/, '')} UTC`;
}
