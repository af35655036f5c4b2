import type { Schemas } from '../openapi/types.ts';
import type { App, Installation, User } from '../state.ts';
import { nodeId, userOf, type World } from '../world.ts';

export function apiUrl(world: World, path: string): string {
  return `${world.origin}/api/v3${path}`;
}

/** A path or ref inside an address: its slashes stay. */
export function urlPath(text: string): string {
  return text.split('/').map(encodeURIComponent).join('/');
}

const ACCOUNT_KIND: Record<User['type'], string> = { User: 'U', Organization: 'O', Bot: 'BOT' };

/** GitHub's `simple-user`; a bot's page is its App's. */
export function userJson(world: World, login: string): Schemas['simple-user'] {
  const user = userOf(world, login);
  const api = apiUrl(world, `/users/${encodeURIComponent(user.login)}`);
  const page = user.type === 'Bot' ? `apps/${user.login.replace(/\[bot\]$/, '')}` : user.login;
  return {
    login: user.login,
    id: user.id,
    node_id: nodeId(ACCOUNT_KIND[user.type], user.id),
    avatar_url: `${world.origin}/_/avatar/${user.id}`,
    gravatar_id: '',
    url: api,
    html_url: `${world.origin}/${page}`,
    followers_url: `${api}/followers`,
    following_url: `${api}/following{/other_user}`,
    gists_url: `${api}/gists{/gist_id}`,
    starred_url: `${api}/starred{/owner}{/repo}`,
    subscriptions_url: `${api}/subscriptions`,
    organizations_url: `${api}/orgs`,
    repos_url: `${api}/repos`,
    events_url: `${api}/events{/privacy}`,
    received_events_url: `${api}/received_events`,
    type: user.type,
    site_admin: false,
    user_view_type: 'public',
  };
}

export function publicUserJson(world: World, login: string): Schemas['public-user'] {
  const user = userOf(world, login);
  const since = '2024-01-01T00:00:00Z';
  return {
    ...userJson(world, login),
    name: user.name,
    email: null,
    company: null,
    blog: null,
    location: null,
    hireable: null,
    bio: null,
    public_repos: world.state.repositories.filter((one) => one.owner === user.login && !one.private).length,
    public_gists: 0,
    followers: 0,
    following: 0,
    created_at: since,
    updated_at: since,
  };
}

export interface AppIdentity {
  id: number;
  slug: string;
  name: string;
  clientId: string;
  owner: string;
  permissions: App['permissions'];
  events: string[];
  createdAt: string;
}

/** Checks of other Apps (a CI) need an owner of their own. */
export function appIdentity(world: World, slug: string): AppIdentity {
  const { app } = world.state;
  if (slug === app.slug) return app;
  return {
    id: 15_368,
    slug,
    name: slug === 'github-actions' ? 'GitHub Actions' : slug,
    clientId: `Iv1.${slug}`,
    owner: app.owner,
    permissions: { checks: 'write', metadata: 'read' },
    events: [],
    createdAt: app.createdAt,
  };
}

export function appJson(world: World, slug = world.state.app.slug): NonNullable<Schemas['integration']> {
  const app = appIdentity(world, slug);
  return {
    id: app.id,
    slug: app.slug,
    client_id: app.clientId,
    node_id: nodeId('A', app.id),
    owner: userJson(world, app.owner),
    name: app.name,
    description: null,
    external_url: `${world.origin}/apps/${app.slug}`,
    html_url: `${world.origin}/apps/${app.slug}`,
    created_at: app.createdAt,
    updated_at: app.createdAt,
    permissions: app.permissions,
    events: app.events,
  };
}

export function installationJson(world: World, installation: Installation): Schemas['installation'] {
  const { app } = world.state;
  const account = userJson(world, installation.account);
  return {
    id: installation.id,
    account,
    repository_selection: installation.selection,
    access_tokens_url: apiUrl(world, `/app/installations/${installation.id}/access_tokens`),
    repositories_url: apiUrl(world, '/installation/repositories'),
    html_url: `${world.origin}/settings/installations/${installation.id}`,
    app_id: app.id,
    client_id: app.clientId,
    app_slug: app.slug,
    target_id: Number(account.id),
    target_type: account.type,
    permissions: app.permissions,
    events: app.events,
    created_at: installation.createdAt,
    updated_at: installation.createdAt,
    single_file_name: null,
    has_multiple_single_files: false,
    single_file_paths: [],
    suspended_by: installation.suspendedAt === null ? null : account,
    suspended_at: installation.suspendedAt,
  };
}

/** A team of an organisation, in the form with its parent. */
export function teamJson(world: World, org: string, slug: string): NonNullable<Schemas['team']> {
  const id = world.state.teams.find((team) => team.org === org && team.slug === slug)?.id ?? 0;
  const url = apiUrl(world, `/organizations/${userOf(world, org).id}/team/${id}`);
  return {
    id,
    node_id: nodeId('T', id),
    name: slug,
    slug,
    description: null,
    privacy: 'closed',
    permission: 'pull',
    url,
    html_url: `${world.origin}/orgs/${org}/teams/${slug}`,
    members_url: `${url}/members{/member}`,
    repositories_url: `${url}/repos`,
    type: 'organization',
    parent: null,
  };
}
