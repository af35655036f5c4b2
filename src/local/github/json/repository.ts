import { without } from './without.ts';
import type { Schemas } from '../openapi/types.ts';
import type { Label, Repository } from '../state.ts';
import { atLeast, nodeId, repositoryById, roleOf, type World } from '../world.ts';
import { apiUrl, userJson } from './people.ts';

export function repositoryUrl(world: World, repository: Repository): string {
  return apiUrl(world, `/repos/${repository.owner}/${repository.name}`);
}

export function repositoryPage(world: World, repository: Repository): string {
  return `${world.origin}/${repository.owner}/${repository.name}`;
}

function links(api: string) {
  return {
    archive_url: `${api}/{archive_format}{/ref}`,
    assignees_url: `${api}/assignees{/user}`,
    blobs_url: `${api}/git/blobs{/sha}`,
    branches_url: `${api}/branches{/branch}`,
    collaborators_url: `${api}/collaborators{/collaborator}`,
    comments_url: `${api}/comments{/number}`,
    commits_url: `${api}/commits{/sha}`,
    compare_url: `${api}/compare/{base}...{head}`,
    contents_url: `${api}/contents/{+path}`,
    contributors_url: `${api}/contributors`,
    deployments_url: `${api}/deployments`,
    downloads_url: `${api}/downloads`,
    events_url: `${api}/events`,
    forks_url: `${api}/forks`,
    git_commits_url: `${api}/git/commits{/sha}`,
    git_refs_url: `${api}/git/refs{/sha}`,
    git_tags_url: `${api}/git/tags{/sha}`,
    hooks_url: `${api}/hooks`,
    issue_comment_url: `${api}/issues/comments{/number}`,
    issue_events_url: `${api}/issues/events{/number}`,
    issues_url: `${api}/issues{/number}`,
    keys_url: `${api}/keys{/key_id}`,
    labels_url: `${api}/labels{/name}`,
    languages_url: `${api}/languages`,
    merges_url: `${api}/merges`,
    milestones_url: `${api}/milestones{/number}`,
    notifications_url: `${api}/notifications{?since,all,participating}`,
    pulls_url: `${api}/pulls{/number}`,
    releases_url: `${api}/releases{/id}`,
    stargazers_url: `${api}/stargazers`,
    statuses_url: `${api}/statuses/{sha}`,
    subscribers_url: `${api}/subscribers`,
    subscription_url: `${api}/subscription`,
    tags_url: `${api}/tags`,
    teams_url: `${api}/teams`,
    trees_url: `${api}/git/trees{/sha}`,
  };
}

/** The short form that lists, hooks and nested objects share. */
export function repositoryJson(world: World, repository: Repository): Schemas['repository'] {
  const api = repositoryUrl(world, repository);
  const page = repositoryPage(world, repository);
  const open = world.state.threads.filter((one) => one.repoId === repository.id && one.state === 'open').length;
  return {
    id: repository.id,
    node_id: nodeId('R', repository.id),
    name: repository.name,
    full_name: `${repository.owner}/${repository.name}`,
    private: repository.private,
    visibility: repository.private ? 'private' : 'public',
    owner: userJson(world, repository.owner),
    html_url: page,
    description: repository.description,
    fork: repository.forkOf !== null,
    url: api,
    ...links(api),
    git_url: page.replace(/^https?:/, 'git:') + '.git',
    ssh_url: `git@${new URL(world.origin).hostname}:${repository.owner}/${repository.name}.git`,
    clone_url: `${page}.git`,
    svn_url: page,
    mirror_url: null,
    homepage: null,
    license: null,
    language: null,
    forks: 0,
    forks_count: 0,
    stargazers_count: 0,
    watchers: 0,
    watchers_count: 0,
    size: 1,
    default_branch: repository.defaultBranch,
    open_issues: open,
    open_issues_count: open,
    is_template: false,
    topics: [],
    has_issues: true,
    has_projects: false,
    has_wiki: false,
    has_pages: false,
    // eslint-disable-next-line @typescript-eslint/no-deprecated -- deprecated, yet required by the description
    has_downloads: false,
    has_discussions: false,
    archived: repository.archived === true,
    disabled: false,
    web_commit_signoff_required: false,
    pushed_at: repository.pushedAt,
    created_at: repository.createdAt,
    updated_at: repository.pushedAt,
  };
}

export function minimalRepositoryJson(world: World, repository: Repository): Schemas['minimal-repository'] {
  return without(repositoryJson(world, repository), 'license');
}

export function fullRepositoryJson(world: World, repository: Repository): Schemas['full-repository'] {
  const base = repositoryJson(world, repository);
  const parent = repository.forkOf === null ? undefined : repositoryById(world, repository.forkOf);
  return {
    ...base,
    has_discussions: false,
    forks: 0,
    watchers: 0,
    network_count: 0,
    subscribers_count: 0,
    allow_rebase_merge: true,
    allow_squash_merge: true,
    allow_merge_commit: true,
    ...(parent === undefined ? {} : { parent: repositoryJson(world, parent), source: repositoryJson(world, parent) }),
  } as Schemas['full-repository'];
}

/** What somebody may do, in the shape of `permissions`. */
export function permissionFlags(world: World, repository: Repository, login: string) {
  const role = roleOf(world, repository, login);
  return {
    pull: atLeast(role, 'read'),
    triage: atLeast(role, 'triage'),
    push: atLeast(role, 'write'),
    maintain: atLeast(role, 'maintain'),
    admin: atLeast(role, 'admin'),
  };
}

export function labelJson(world: World, repository: Repository, label: Label): Schemas['label'] {
  return {
    id: label.id,
    node_id: nodeId('LA', label.id),
    url: `${repositoryUrl(world, repository)}/labels/${encodeURIComponent(label.name)}`,
    name: label.name,
    description: label.description,
    color: label.color,
    default: false,
  };
}

export function labelsJson(world: World, repository: Repository, names: readonly string[]): Schemas['label'][] {
  return names.flatMap((name) => {
    const label = repository.labels.find((one) => one.name === name);
    return label === undefined ? [] : [labelJson(world, repository, label)];
  });
}
