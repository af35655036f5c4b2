import type { Entry, EntryKind } from '../../audit/story/activity.ts';

/** What a person chose to see of the activity. */
export interface ActivityFilter {
  show: FilterName;
  query: string;
  /** Counts from 1; undefined: the first page of a run that is over, the last of one that goes on. */
  page: number | undefined;
}

const GROUPS = {
  all: undefined,
  agent: ['message', 'thought', 'plan', 'tool'],
  commands: ['command', 'check'],
  network: ['network', 'denied', 'git'],
  denied: ['denied'],
  model: ['model'],
} as const satisfies Record<string, readonly EntryKind[] | undefined>;

export type FilterName = keyof typeof GROUPS;
export const FILTERS: readonly [FilterName, string][] = [
  ['all', 'Everything'],
  ['agent', 'Agent'],
  ['commands', 'Commands'],
  ['network', 'Network'],
  ['denied', 'Denied'],
  ['model', 'Model calls'],
];

const MAX_QUERY = 100;
export const PER_PAGE = 100;

export function readFilter(parameters: URLSearchParams): ActivityFilter {
  const show = FILTERS.find(([name]) => name === parameters.get('show'))?.[0] ?? 'all';
  const page = /^[1-9]\d{0,5}$/.exec(parameters.get('page') ?? '')?.[0];
  return {
    show,
    query: (parameters.get('q') ?? '').slice(0, MAX_QUERY),
    page: page === undefined ? undefined : Number(page),
  };
}

/** The filter as the query of an address; what is the default is left out. */
export function filterQuery(filter: ActivityFilter): string {
  const parameters = new URLSearchParams();
  if (filter.show !== 'all') parameters.set('show', filter.show);
  if (filter.query !== '') parameters.set('q', filter.query);
  if (filter.page !== undefined) parameters.set('page', String(filter.page));
  const text = parameters.toString();
  return text === '' ? '' : `?${text}`;
}

export function inGroup(entry: Entry, show: FilterName): boolean {
  const kinds: readonly EntryKind[] | undefined = GROUPS[show];
  return kinds === undefined || kinds.includes(entry.kind);
}

export function matches(entry: Entry, filter: ActivityFilter): boolean {
  if (!inGroup(entry, filter.show)) return false;
  if (filter.query === '') return true;
  const query = filter.query.toLowerCase();
  const texts = [entry.title, entry.input ?? '', entry.text ?? '', ...entry.details.map(([, value]) => value)];
  return texts.some((text) => text.toLowerCase().includes(query));
}
