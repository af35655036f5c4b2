import { GitHubError, notFound } from '../errors.ts';
import { appJson, installationJson, publicUserJson } from '../json/people.ts';
import { repositoryJson } from '../json/repository.ts';
import type { Delivery, Installation } from '../state.ts';
import { issueToken } from '../tokens.ts';
import { installationFor, installedRepositories, repositoryById, type World } from '../world.ts';
import { created, NO_CONTENT, ok, paged, pagedIn, type Handlers, type Reply } from './call.ts';

function installationById(world: World, id: number): Installation {
  const found = world.state.installations.find((one) => one.id === id);
  if (found === undefined) throw notFound();
  return found;
}

function deliveryById(world: World, id: number): Delivery {
  const found = world.state.deliveries.find((one) => one.id === id);
  if (found === undefined) throw notFound();
  return found;
}

function deliveryJson(delivery: Delivery) {
  return {
    id: delivery.id,
    guid: delivery.guid,
    delivered_at: delivery.deliveredAt,
    redelivery: delivery.redelivery,
    duration: delivery.duration,
    status: delivery.status,
    status_code: delivery.statusCode,
    event: delivery.event,
    action: delivery.action,
    installation_id: delivery.installationId,
    repository_id: delivery.repositoryId,
    throttled_at: null,
  };
}

/** Newest first, with a cursor instead of page numbers. */
function listDeliveries(
  world: World,
  url: URL,
  query: { per_page?: number | undefined; cursor?: string | undefined },
): Reply {
  const size = Math.min(query.per_page ?? 30, 100);
  const newest = [...world.state.deliveries].reverse();
  const from = query.cursor === undefined ? 0 : newest.findIndex((one) => one.id <= Number(query.cursor));
  const slice = from < 0 ? [] : newest.slice(from, from + size);
  const next = from < 0 ? undefined : newest[from + size];
  if (next === undefined) return ok(slice.map(deliveryJson));
  const target = new URL(url);
  target.searchParams.set('cursor', String(next.id));
  return { ...ok(slice.map(deliveryJson)), headers: { link: `<${target.href}>; rel="next"` } };
}

export const appHandlers = {
  'meta/get': () => ok({ verifiable_password_authentication: false }),
  'rate-limit/get': () => {
    const rate = { limit: 5_000, remaining: 4_999, reset: 2_000_000_000, used: 1 };
    return ok({ resources: { core: rate, search: rate }, rate });
  },
  'apps/get-authenticated': ({ world }) =>
    ok({ ...appJson(world), installations_count: world.state.installations.length }),
  'apps/list-installations': (call) =>
    paged(call, call.world.state.installations, (one) => installationJson(call.world, one)),
  'apps/get-installation': ({ world, path }) =>
    ok(installationJson(world, installationById(world, path.installation_id))),
  'apps/get-repo-installation': ({ world, repository }) => {
    const installation = installationFor(world, repository);
    if (installation === undefined) throw notFound();
    return ok(installationJson(world, installation));
  },
  'apps/create-installation-access-token': ({ world, path, body }) => {
    const token = issueToken(world, installationById(world, path.installation_id), {
      repositories: body?.repositories,
      repositoryIds: body?.repository_ids,
      permissions: body?.permissions,
    });
    return created({
      token: token.token,
      expires_at: token.expiresAt,
      permissions: token.permissions,
      repository_selection: token.repositoryIds === null ? 'all' : 'selected',
      ...(token.repositoryIds === null
        ? {}
        : { repositories: token.repositoryIds.map((id) => repositoryJson(world, repositoryById(world, id))) }),
    });
  },
  'apps/revoke-installation-access-token': ({ world, caller }) => {
    world.state.tokens = world.state.tokens.filter((one) => caller.kind !== 'installation' || one !== caller.token);
    world.changed();
    return NO_CONTENT;
  },
  'apps/list-repos-accessible-to-installation': (call) => {
    const { world, caller } = call;
    if (caller.kind !== 'installation') throw new GitHubError(403, 'Resource not accessible by integration');
    const ids = caller.token.repositoryIds;
    const items = installedRepositories(world, caller.installation).filter((one) => ids?.includes(one.id) ?? true);
    const render = (one: (typeof items)[number]) => repositoryJson(world, one);
    const more = { repository_selection: ids === null ? 'all' : 'selected' };
    return pagedIn(call, { name: 'repositories', items, render, more });
  },
  'apps/list-webhook-deliveries': ({ world, url, query }) => listDeliveries(world, url, query),
  'apps/get-webhook-delivery': ({ world, path }) => {
    const delivery = deliveryById(world, path.delivery_id);
    return ok({
      ...deliveryJson(delivery),
      url: '',
      request: { headers: { 'X-GitHub-Delivery': delivery.guid }, payload: JSON.parse(delivery.request) as unknown },
      response: { headers: {}, payload: delivery.response },
    });
  },
  'apps/redeliver-webhook-delivery': ({ webhooks, path }) => {
    webhooks.redeliver(path.delivery_id);
    return { status: 202, body: {} };
  },
  'apps/create-from-manifest': ({ world, path }) => {
    if (!world.manifestCodes.delete(path.code)) throw notFound();
    return created({
      ...appJson(world),
      client_secret: world.oauth.clientSecret,
      webhook_secret: world.webhookSecret,
      pem: world.appPrivateKey,
    });
  },
  'users/get-authenticated': ({ world, caller }) => {
    if (caller.kind !== 'user') throw new GitHubError(403, 'Resource not accessible by integration');
    return ok(publicUserJson(world, caller.login));
  },
  'users/get-by-username': ({ world, path }) => ok(publicUserJson(world, path.username)),
} satisfies Partial<Handlers>;
