import type { Schemas } from '../openapi/types.ts';
import type { CommitStatus, Repository } from '../state.ts';
import { nodeId, type World } from '../world.ts';
import { userJson } from './people.ts';
import { repositoryUrl } from './repository.ts';

export function statusJson(world: World, repository: Repository, status: CommitStatus): Schemas['status'] {
  const creator = userJson(world, status.creator);
  return {
    url: `${repositoryUrl(world, repository)}/statuses/${status.sha}`,
    avatar_url: creator.avatar_url,
    id: status.id,
    node_id: nodeId('SC', status.id),
    state: status.state,
    description: status.description,
    target_url: status.targetUrl,
    context: status.context,
    created_at: status.createdAt,
    updated_at: status.createdAt,
    creator,
  };
}
