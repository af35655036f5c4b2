/** The page that asks a person whether the App may know who they are. */
import { GitHubError } from '../errors.ts';
import { grant, knownCallback } from '../oauth.ts';
import type { Context, PageReply } from './context.ts';
import { html } from './html.ts';

const FIELDS = ['client_id', 'redirect_uri', 'state', 'code_challenge', 'code_challenge_method'] as const;

function asked(
  context: Context,
  parameters: URLSearchParams,
): { redirectUri: string; state: string; challenge: string | undefined } {
  const { world } = context;
  if (parameters.get('client_id') !== world.state.app.clientId)
    throw new GitHubError(404, 'There is no App with this client_id.');
  const redirectUri = parameters.get('redirect_uri') ?? '';
  if (!knownCallback(world, redirectUri))
    throw new GitHubError(422, 'The redirect_uri is not associated with this application.');
  const challenge = parameters.get('code_challenge') ?? undefined;
  if (challenge !== undefined && parameters.get('code_challenge_method') !== 'S256')
    throw new GitHubError(422, 'The code_challenge_method must be S256.');
  return { redirectUri, state: parameters.get('state') ?? '', challenge };
}

export function authorizePage(context: Context): PageReply {
  const parameters = context.url.searchParams;
  const { redirectUri } = asked(context, parameters);
  const { app } = context.world.state;
  const hidden = FIELDS.map(
    (name) => html`<input type="hidden" name="${name}" value="${parameters.get(name) ?? ''}" />`,
  );
  return {
    kind: 'page',
    title: `Sign in to ${app.name}`,
    leadsTo: new URL(redirectUri).origin,
    body: html`<section class="card center">
      <h1>Sign in to ${app.name}</h1>
      <p>
        You are <b>${context.viewer.login}</b>. ${app.name} will know who you are and which repositories you may read.
      </p>
      <form method="post" action="/_/authorize">${hidden}<button>Authorize ${app.name}</button></form>
    </section>`,
  };
}

export function authorizeForm(context: Context, fields: URLSearchParams): PageReply {
  // An empty field of the form is one that was not asked for.
  const given = new URLSearchParams([...fields].filter(([, value]) => value !== ''));
  const { redirectUri, state, challenge } = asked(context, given);
  const to = new URL(redirectUri);
  to.searchParams.set('code', grant(context.world, { login: context.viewer.login, redirectUri, challenge }));
  if (state !== '') to.searchParams.set('state', state);
  return { kind: 'redirect', to: to.href };
}
