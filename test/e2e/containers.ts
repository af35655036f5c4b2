import Docker from 'dockerode';

/** Ids of the containers of a run on the Docker of the tests. */
export async function containersOf(runId: string): Promise<string[]> {
  const socketPath = (process.env['DOCKER_HOST'] ?? '').replace('unix://', '');
  const found = await new Docker({ socketPath }).listContainers({
    all: true,
    filters: { label: [`cofferdam.run=${runId}`] },
  });
  return found.map(({ Id }) => Id);
}
