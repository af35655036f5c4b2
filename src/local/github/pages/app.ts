/** The App, its deliveries, and what the stand-in has seen. */
import { GitHubError, notFound } from '../errors.ts';
import type { Delivery } from '../state.ts';
import { ago, type Context, type PageReply } from './context.ts';
import { html, type Markup } from './html.ts';
import { card, pill } from './parts.ts';

export function appPage(context: Context, slug: string): PageReply {
  const { app, installations } = context.world.state;
  if (slug !== app.slug) throw notFound();
  const granted = Object.entries(app.permissions).map(
    ([name, level]) => html`<li><span class="grow">${name}</span>${level}</li>`,
  );
  return {
    kind: 'page',
    title: app.name,
    body: html`<div class="head">
        <h1>${app.name}</h1>
        <span class="note">App ${app.id} of ${app.owner}, installed on ${installations.length} accounts</span>
      </div>
      <div class="columns">
        <div>
          ${card({
            head: html`<b>Permissions</b>`,
            body: html`<ul class="list">
              ${granted}
            </ul>`,
          })}
        </div>
        <aside>
          <section>
            <h2>Events</h2>
            ${app.events.map((name) => html`<div>${name}</div>`)}
          </section>
        </aside>
      </div>`,
  };
}

function deliveryKind(delivery: Delivery): string {
  if (delivery.status === 'pending' || delivery.status === 'no webhook URL') return 'neutral';
  return delivery.statusCode >= 200 && delivery.statusCode < 300 ? 'success' : 'failure';
}

export function deliveriesPage(context: Context): PageReply {
  const newest = [...context.world.state.deliveries].reverse().slice(0, 200);
  const rows = newest.map(
    (one) =>
      html`<li>
        <div class="grow">
          <details>
            <summary>
              <b>${one.event}</b>${one.action !== null && `.${one.action}`} ${pill(deliveryKind(one), one.status)}
              ${one.redelivery && html`<span class="tag">redelivery</span>`}
              <span class="note">${ago(context.world, one.deliveredAt)} · <code>${one.guid}</code></span>
            </summary>
            <pre class="source">${JSON.stringify(JSON.parse(one.request), null, 2)}</pre>
          </details>
        </div>
        <form method="post" action="/_/deliveries">
          <input type="hidden" name="id" value="${one.id}" /><button class="small">Redeliver</button>
        </form>
      </li>`,
  );
  const body =
    rows.length === 0
      ? html`<p class="center">Nothing was sent yet.</p>`
      : html`<ul class="list">
          ${rows}
        </ul>`;
  return { kind: 'page', title: 'Webhook deliveries', body: card({ head: html`<b>Webhook deliveries</b>`, body }) };
}

export function requestsPage(context: Context): PageReply {
  const newest = [...context.api.requests].reverse().slice(0, 300);
  const rows = newest.map(
    (one) =>
      html`<li>
        ${pill(one.status < 400 ? 'success' : 'failure', String(one.status))}
        <div class="grow">
          <code>${one.method} ${one.path}</code>
          <div class="note">${one.operationId ?? 'unknown'} · ${one.caller} · ${ago(context.world, one.at)}</div>
        </div>
      </li>`,
  );
  const body =
    rows.length === 0
      ? html`<p class="center">No requests yet.</p>`
      : html`<ul class="list">
          ${rows}
        </ul>`;
  return { kind: 'page', title: 'API requests', body: card({ head: html`<b>API requests</b>`, body }) };
}

export function violationsPage(context: Context): PageReply {
  const rows = context.world.violations.map(
    (one) =>
      html`<li>
        <div class="grow">
          <b>${one.kind}</b> <code>${one.where}</code>
          <pre>${JSON.stringify(one.details, null, 2)}</pre>
        </div>
      </li>`,
  );
  const body =
    rows.length === 0
      ? html`<p class="center">None: every request, answer and webhook was as GitHub's description says.</p>`
      : html`<ul class="list">
          ${rows}
        </ul>`;
  return { kind: 'page', title: 'Violations', body: card({ head: html`<b>Violations</b>`, body }) };
}

function parsed(manifest: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(manifest);
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // said below, as for any other manifest that is none
  }
  throw new GitHubError(422, 'The field "manifest" is not a JSON object.');
}

/** The page a manifest is posted to: it shows what the App would get, and asks. */
export function manifestPage(context: Context, form: URLSearchParams): PageReply {
  const manifest = parsed(form.get('manifest') ?? '');
  const text = (value: unknown): string => (typeof value === 'string' ? value : '');
  const redirect = text(manifest['redirect_url']);
  const rows = (value: unknown): Markup[] =>
    Object.entries((value ?? {}) as Record<string, unknown>).map(
      ([name, level]) => html`<li><span class="grow">${name}</span>${String(level)}</li>`,
    );
  return {
    kind: 'page',
    title: 'Create a GitHub App',
    ...(URL.canParse(redirect) ? { leadsTo: new URL(redirect).origin } : {}),
    body: html`<div class="head">
        <h1>Create the App ${text(manifest['name'])}?</h1>
        <span class="note">You come back to <code>${redirect}</code></span>
      </div>
      ${card({
        head: html`<b>Permissions</b>`,
        body: html`<ul class="list">
          ${rows(manifest['default_permissions'])}
        </ul>`,
      })}
      <form class="row start" method="post" action="/_/manifest">
        <input type="hidden" name="redirect" value="${redirect}" /><input
          type="hidden"
          name="state"
          value="${form.get('state') ?? context.url.searchParams.get('state') ?? ''}"
        />
        <button class="main">Create GitHub App</button>
      </form>`,
  };
}
