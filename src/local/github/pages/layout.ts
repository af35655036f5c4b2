import { isPull, roleOf } from '../world.ts';
import { repositoryPath, type Context, type PageReply, type Tab } from './context.ts';
import { html, type Markup } from './html.ts';
import type { Repository } from '../state.ts';

function people(context: Context, repository: Repository | undefined): Markup {
  const { world, viewer, url } = context;
  const known = world.state.users.filter((one) => one.type === 'User');
  return html`<form method="post" action="/_/as">
    <input type="hidden" name="back" value="${url.pathname}${url.search}" />
    <label for="as">You act as</label>
    <select id="as" name="login">
      ${known.map((one) => {
        const role = repository === undefined ? '' : ` (${roleOf(world, repository, one.login)})`;
        return html`<option value="${one.login}" ${one.login === viewer.login && html`selected`}>
          ${one.login}${role}
        </option>`;
      })}
    </select>
    <button class="small">Change</button>
  </form>`;
}

function tabs(context: Context, repository: Repository, current: Tab | undefined): Markup {
  const open = context.world.state.threads.filter((one) => one.repoId === repository.id && one.state === 'open');
  const base = repositoryPath(repository);
  const entries: [Tab, string, string][] = [
    ['code', base, 'Code'],
    ['issues', `${base}/issues`, `Issues ${open.filter((one) => !isPull(one)).length}`],
    ['pulls', `${base}/pulls`, `Pull requests ${open.filter(isPull).length}`],
    ['commits', `${base}/commits`, 'Commits'],
  ];
  return html`<nav aria-label="Repository">
    <ul class="tabs">
      ${entries.map(([tab, to, text]) => html`<li><a href="${to}" ${tab === current && html`aria-current="page"`}>${text}</a></li>`)}
    </ul>
  </nav>`;
}

function top(context: Context, reply: PageReply & { kind: 'page' }): Markup {
  const { repository } = reply;
  const where =
    repository !== undefined &&
    html`<span class="faint">/</span> <a href="/${repository.owner}">${repository.owner}</a>
      <span class="faint">/</span>
      <a href="${repositoryPath(repository)}"><b>${repository.name}</b></a>
      <span class="tag">${repository.private ? 'private' : 'public'}</span>`;
  return html`<div class="top">
    <div class="wrap">
      <div class="crumbs">
        <a href="/"><b>Repositories</b></a> ${where}
      </div>
      ${repository !== undefined && tabs(context, repository, reply.tab)}
    </div>
  </div>`;
}

/** A whole document. */
export function layout(context: Context, reply: PageReply & { kind: 'page' }): Markup {
  const violations = context.world.violations.length;
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${reply.title}</title>
        <link rel="stylesheet" href="/_/style.css" />
        <link rel="icon" href="/_/icon.svg" type="image/svg+xml" />
      </head>
      <body>
        <div class="banner">
          <div class="wrap">
            <span>This is a <b>local stand-in for GitHub</b>: nothing here leaves this machine.</span>
            ${people(context, reply.repository)}
          </div>
        </div>
        ${top(context, reply)}
        <main><div class="wrap">${reply.body}</div></main>
        <footer>
          <div class="wrap">
            <a href="/apps/${context.world.state.app.slug}">The App ${context.world.state.app.name}</a>
            <a href="/_/deliveries">Webhook deliveries</a>
            <a href="/_/requests">API requests</a>
            <a href="/_/violations">Violations: ${violations}</a>
          </div>
        </footer>
      </body>
    </html>`;
}
