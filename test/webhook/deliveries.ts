import { createHmac, randomUUID } from 'node:crypto';
import examples from '@octokit/webhooks-examples/api.github.com/index.json' with { type: 'json' };

export const SECRET = 'a secret of the test';

export function sign(body: string, secret = SECRET): string {
  return `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`;
}

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Payload = Record<string, Json>;

export interface Example {
  name: string;
  payload: Payload;
}

/** Every official example of a payload. */
export const allExamples: Example[] = (examples as unknown as { name: string; examples: Payload[] }[]).flatMap(
  ({ name, examples: payloads }) => payloads.map((payload) => ({ name, payload })),
);

/** An official example of an event, as a copy. */
function example(name: string, action: string): Payload {
  const found = allExamples.find((entry) => entry.name === name && entry.payload['action'] === action);
  if (found === undefined) throw new Error(`no example of ${name}.${action}`);
  return structuredClone(found.payload);
}

const installation = { id: 77, node_id: 'x' };

/** `issues.labeled` of the official examples, as an App receives it. */
export function labeled(patch: { label?: string; sender?: Json; issue?: Payload } = {}): Payload {
  const payload = { ...example('issues', 'labeled'), installation };
  return {
    ...payload,
    label: { ...(payload['label' as never] as Payload), name: patch.label ?? 'agent' },
    sender: patch.sender ?? { login: 'ann', id: 1, type: 'User' },
    issue: { ...(payload['issue' as never] as Payload), ...patch.issue },
  };
}

/** `issue_comment.created` of the official examples, as an App receives it. */
export function commented(
  body: string,
  patch: { user?: Json; sender?: Json; comment?: Payload; issue?: Payload } = {},
): Payload {
  const payload = { ...example('issue_comment', 'created'), installation };
  const user = patch.user ?? { login: 'ann', id: 1, type: 'User' };
  return {
    ...payload,
    sender: patch.sender ?? user,
    issue: { ...(payload['issue' as never] as Payload), ...patch.issue },
    comment: {
      ...(payload['comment' as never] as Payload),
      performed_via_github_app: null,
      body,
      user,
      ...patch.comment,
    },
  };
}

/** `pull_request_review.submitted` of the official examples, wanting changes of a pull request that may be ours. */
export function reviewed(patch: { review?: Payload; pull?: Payload; sender?: Json } = {}): Payload {
  const payload = { ...example('pull_request_review', 'submitted'), installation };
  const user = { login: 'ann', id: 1, type: 'User' };
  const pull = payload['pull_request' as never] as Payload;
  return {
    ...payload,
    sender: patch.sender ?? user,
    review: { ...(payload['review' as never] as Payload), user, state: 'changes_requested', ...patch.review },
    pull_request: {
      ...pull,
      user: { login: 'cofferdam[bot]', id: 2, type: 'Bot' },
      head: { ...(pull['head'] as Payload), ref: 'cofferdam/1-x' },
      ...patch.pull,
    },
  };
}

/** `pull_request_review_comment.created` of the official examples. */
export function lineCommented(body: string): Payload {
  const payload = { ...example('pull_request_review_comment', 'created'), installation };
  const user = { login: 'ann', id: 1, type: 'User' };
  return { ...payload, sender: user, comment: { ...(payload['comment' as never] as Payload), body, user } };
}

/** `check_suite.completed` of the official examples: failed, on a branch that may be ours. */
export function suiteFailed(patch: Payload = {}): Payload {
  const payload = { ...example('check_suite', 'completed'), installation };
  const suite = payload['check_suite' as never] as Payload;
  const pull = { number: 2 };
  return {
    ...payload,
    check_suite: { ...suite, conclusion: 'failure', head_branch: 'cofferdam/1-x', pull_requests: [pull], ...patch },
  };
}

/** `workflow_run.completed` of the official examples: failed, on a branch that may be ours. */
export function workflowFailed(): Payload {
  const payload = { ...example('workflow_run', 'completed'), installation };
  const run = payload['workflow_run' as never] as Payload;
  return {
    ...payload,
    workflow_run: { ...run, conclusion: 'failure', head_branch: 'cofferdam/1-x', pull_requests: [{ number: 2 }] },
  };
}

/** `check_run.requested_action` of the official examples: a button of a run's check run, clicked by a person. */
export function clicked(): Payload {
  const payload = { ...example('check_run', 'requested_action'), installation };
  const run = payload['check_run' as never] as Payload;
  return {
    ...payload,
    sender: { login: 'ann', id: 1, type: 'User' },
    check_run: { ...run, external_id: 'r0123456789ab' },
    requested_action: { identifier: 'retry' },
  };
}

/** `pull_request.opened` of the official examples. */
export function proposed(): Payload {
  return { ...example('pull_request', 'opened'), installation };
}

/** Sends a delivery as GitHub does. */
export async function deliver(
  url: string,
  options: { event: string; body: string; id?: string; headers?: Record<string, string | undefined> },
): Promise<{ status: number; text: string }> {
  const headers: Record<string, string | undefined> = {
    'content-type': 'application/json',
    'x-github-event': options.event,
    'x-github-delivery': options.id ?? randomUUID(),
    'x-hub-signature-256': sign(options.body),
    ...options.headers,
  };
  const given = Object.entries(headers).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const response = await fetch(url, { method: 'POST', body: options.body, headers: Object.fromEntries(given) });
  return { status: response.status, text: await response.text() };
}
