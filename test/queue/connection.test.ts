import { expect, test } from 'vitest';
import { problemOf } from '../../src/queue/connection.ts';

const server = (version: string) => `# Server\r\nredis_version:${version}\r\nredis_mode:standalone\r\n`;
const memory = (policy: string, limit: number) => `# Memory\r\nmaxmemory:${limit}\r\nmaxmemory_policy:${policy}\r\n`;

test.each([
  ['6.2.0', undefined],
  ['7.0.15', undefined],
  ['10.1.0', undefined],
  ['6.0.16', 'has version 6.0.16: 6.2 or newer is needed'],
  ['5.9.9', 'has version 5.9.9: 6.2 or newer is needed'],
])('Redis %s: %s', (version, problem) => {
  expect(problemOf(server(version) + memory('noeviction', 0))).toBe(problem);
});

test.each([
  ['noeviction', 1_000, true],
  ['allkeys-lru', 0, true],
  ['allkeys-lru', 1_000, false],
  ['volatile-ttl', 1_000, false],
])('a server with maxmemory-policy %s and maxmemory %i will do: %s', (policy, limit, fit) => {
  expect(problemOf(server('7.0.15') + memory(policy, limit)) === undefined).toBe(fit);
});

test('a hosted server that says nothing of itself is believed', () => {
  expect(problemOf('')).toBeUndefined();
});
