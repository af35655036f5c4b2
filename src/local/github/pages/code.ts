/** Repositories, files, commits and diffs. */
import { notFound } from '../errors.ts';
import { blob, changes, comparisonBase, diffText, fileAt, treeAt, type TreeEntry } from '../git-content.ts';
import type { CommitInfo } from '../git-format.ts';
import { commitInfo, EMPTY_TREE, listRefs, log, resolveCommit } from '../git.ts';
import { urlPath } from '../json/people.ts';
import type { Repository } from '../state.ts';
import { findPull, isPull, repositoryDir, roleOf, sameName } from '../world.ts';
import { repositoryPath, type Context, type PageReply } from './context.ts';
import { html, type Markup } from './html.ts';
import { markdownFor } from './markdown.ts';
import { card, checkMark, counts, diffOf, time } from './parts.ts';
import { pullTabs, titleBlock } from './threads.ts';

/** All repositories, or one account's. */
export function indexPage(context: Context, owner?: string): PageReply {
  const { world } = context;
  const shown = world.state.repositories.filter((one) => owner === undefined || sameName(one.owner, owner));
  const rows = shown.map((one) => {
    const open = world.state.threads.filter((thread) => thread.repoId === one.id && thread.state === 'open');
    return html`<li>
      <div class="grow">
        <a class="title" href="${repositoryPath(one)}">${one.owner}/${one.name}</a>
        <span class="tag">${one.private ? 'private' : 'public'}</span>
        <div class="note">
          ${one.description ?? 'No description'} · pushed ${time(world, one.pushedAt)} · you have:
          ${roleOf(world, one, context.viewer.login)}
        </div>
      </div>
      <span class="note"
        ><a href="${repositoryPath(one)}/issues">${open.filter((thread) => !isPull(thread)).length} issues</a> ·
        <a href="${repositoryPath(one)}/pulls">${open.filter(isPull).length} pull requests</a></span
      >
    </li>`;
  });
  const body =
    rows.length === 0
      ? html`<p class="center">No repositories yet.</p>`
      : html`<ul class="list">
          ${rows}
        </ul>`;
  return {
    kind: 'page',
    title: owner ?? 'Repositories',
    body: card({ head: html`<b>${owner ?? 'Repositories'}</b>`, body }),
  };
}

function branchSection(context: Context, names: readonly string[], repository: Repository): Markup {
  const base = repositoryPath(repository);
  return html`<section>
      <h2>Branches</h2>
      ${names.map((name) => html`<div><a href="${base}/tree/${urlPath(name)}">${name}</a></div>`)}
    </section>
    <section>
      <h2>Clone</h2>
      <code>git clone ${context.world.origin}${base}.git</code>
    </section>`;
}

function entryRow(base: string, ref: string, entry: TreeEntry): Markup {
  const name = entry.path.split('/').pop() ?? entry.path;
  const icon = entry.type === 'tree' ? '📁' : entry.mode === '120000' ? '🔗' : '📄';
  const kind = entry.type === 'tree' ? 'tree' : 'blob';
  return html`<li>
    <span>${icon}</span><a class="grow" href="${base}/${kind}/${urlPath(ref)}/${urlPath(entry.path)}">${name}</a>
    <span class="note">${entry.type === 'blob' && `${entry.size} bytes`}</span>
  </li>`;
}

function latest(context: Context, repository: Repository, commit: CommitInfo | undefined): Markup | undefined {
  if (commit === undefined) return undefined;
  return html`<b>${commit.author.name}</b>
    <a href="${repositoryPath(repository)}/commit/${commit.sha}">${commit.message.split('\n')[0]}</a>
    <span class="end note"><code>${commit.sha.slice(0, 7)}</code> ${time(context.world, commit.committer.date)}</span>`;
}

/** Splits `main/src/a.js` into a ref and a path: the longest branch that fits wins. */
async function refAndPath(
  context: Context,
  repository: Repository,
  rest: string,
): Promise<{ ref: string; path: string; sha: string }> {
  const dir = repositoryDir(context.world, repository);
  const parts = rest.split('/');
  for (let length = parts.length; length > 0; length -= 1) {
    const ref = parts.slice(0, length).join('/');
    const sha = await resolveCommit(dir, ref);
    if (sha !== undefined) return { ref, sha, path: parts.slice(length).join('/') };
  }
  throw notFound();
}

export async function treePage(context: Context, repository: Repository, rest?: string): Promise<PageReply> {
  const dir = repositoryDir(context.world, repository);
  const title = `${repository.owner}/${repository.name}`;
  const branches = [...(await listRefs(dir, 'refs/heads')).keys()].map((ref) => ref.replace(/^refs\/heads\//, ''));
  if (rest === undefined && !branches.includes(repository.defaultBranch))
    return {
      kind: 'page',
      title,
      repository,
      tab: 'code',
      body: html`<p class="card center">This repository is empty.</p>`,
    };
  const { ref, path, sha } = await refAndPath(context, repository, rest ?? repository.defaultBranch);
  const children = (await treeAt(dir, sha, path))?.children;
  if (children === undefined) throw notFound();
  const readme = children.find((one) => /^readme\.md$/i.test(one.path.split('/').pop() ?? ''));
  const source = readme === undefined ? undefined : (await blob(dir, readme.sha)).toString();
  const render = markdownFor(repositoryPath(repository));
  const sorted = [...children].sort((left, right) => Number(left.type !== 'tree') - Number(right.type !== 'tree'));
  return {
    kind: 'page',
    title,
    repository,
    tab: 'code',
    body: html`<p class="note">Branch <b>${ref}</b>${path !== '' && ` · ${path}`}</p>
      <div class="columns">
        <div>
          ${card({
            head: latest(context, repository, await commitInfo(dir, sha)),
            body: html`<ul class="list">
              ${sorted.map((entry) => entryRow(repositoryPath(repository), ref, entry))}
            </ul>`,
          })}
          ${source !== undefined && card({ head: html`<b>README</b>`, body: html`<div class="pad body">${render(source)}</div>` })}
        </div>
        <aside>${branchSection(context, branches, repository)}</aside>
      </div>`,
  };
}

export async function blobPage(context: Context, repository: Repository, rest: string): Promise<PageReply> {
  const { ref, path, sha } = await refAndPath(context, repository, rest);
  const content = await fileAt(repositoryDir(context.world, repository), sha, path);
  if (content === undefined) throw notFound();
  const binary = content.includes(0);
  const raw = html`<a class="end" href="${repositoryPath(repository)}/raw/${urlPath(ref)}/${urlPath(path)}">Raw</a>`;
  return {
    kind: 'page',
    title: path,
    repository,
    tab: 'code',
    body: card({
      head: html`<code>${path}</code> <span class="note">${content.length} bytes on ${ref}</span> ${raw}`,
      body: binary
        ? html`<p class="pad empty">Binary: nothing to show.</p>`
        : html`<pre class="source">${content.toString()}</pre>`,
    }),
  };
}

export async function rawPage(context: Context, repository: Repository, rest: string): Promise<PageReply> {
  const { path, sha } = await refAndPath(context, repository, rest);
  const content = await fileAt(repositoryDir(context.world, repository), sha, path);
  if (content === undefined) throw notFound();
  return { kind: 'text', content };
}

function commitRows(context: Context, repository: Repository, commits: readonly CommitInfo[]): Markup {
  const runs = context.world.state.checkRuns.filter((one) => one.repoId === repository.id);
  return html`<ul class="list">
    ${commits.map(
      (commit) =>
        html`<li>
          <div class="grow">
            <a class="title" href="${repositoryPath(repository)}/commit/${commit.sha}"
              >${commit.message.split('\n')[0]}</a
            >
            ${runs.filter((run) => run.headSha === commit.sha).map(checkMark)}
            <div class="note">${commit.author.name} · ${time(context.world, commit.committer.date)}</div>
          </div>
          <code>${commit.sha.slice(0, 7)}</code>
        </li>`,
    )}
  </ul>`;
}

export async function commitsPage(context: Context, repository: Repository, ref?: string): Promise<PageReply> {
  const dir = repositoryDir(context.world, repository);
  const name = ref ?? repository.defaultBranch;
  const sha = await resolveCommit(dir, name);
  const commits = sha === undefined ? [] : await log(dir, [sha], 100);
  const body =
    commits.length === 0 ? html`<p class="center">No commits.</p>` : commitRows(context, repository, commits);
  return {
    kind: 'page',
    title: `Commits · ${name}`,
    repository,
    tab: 'commits',
    body: card({ head: html`Commits on <b>${name}</b>`, body }),
  };
}

export async function commitPage(context: Context, repository: Repository, ref: string): Promise<PageReply> {
  const dir = repositoryDir(context.world, repository);
  const sha = await resolveCommit(dir, ref);
  const commit = sha === undefined ? undefined : await commitInfo(dir, sha);
  if (commit === undefined) throw notFound();
  const files = await changes(dir, commit.parents[0] ?? EMPTY_TREE, commit.sha);
  const [subject, ...rest] = commit.message.split('\n');
  return {
    kind: 'page',
    title: subject ?? commit.sha,
    repository,
    tab: 'commits',
    body: html`<div class="head">
        <h1>${subject}</h1>
        <span class="note"
          >${commit.author.name} &lt;${commit.author.email}&gt; · ${time(context.world, commit.committer.date)} ·
          <code>${commit.sha}</code></span
        >
      </div>
      ${rest.join('\n').trim() !== '' && html`<section class="card"><pre class="source">${rest.join('\n').trim()}</pre></section>`}
      <p class="note">${files.length} files ${counts(files)}</p>
      ${diffOf(files)}`,
  };
}

export async function comparePage(context: Context, repository: Repository, range: string): Promise<PageReply> {
  const dir = repositoryDir(context.world, repository);
  const [left, right] = range.split('...');
  const base = left === undefined ? undefined : await resolveCommit(dir, left);
  const head = right === undefined ? undefined : await resolveCommit(dir, right);
  if (base === undefined || head === undefined) throw notFound();
  const files = await changes(dir, await comparisonBase(dir, base, head), head);
  const commits = await log(dir, [`${base}..${head}`]);
  return {
    kind: 'page',
    title: `Comparing ${range}`,
    repository,
    tab: 'code',
    body: html`<h1>Comparing ${left} … ${right}</h1>
      ${card({ head: html`${commits.length} commits`, body: commitRows(context, repository, commits) })}
      ${diffOf(files)}`,
  };
}

export async function pullFilesPage(context: Context, repository: Repository, number: number): Promise<PageReply> {
  const thread = findPull(context.world, repository, number);
  const dir = repositoryDir(context.world, repository);
  const { baseSha, headSha } = thread.pull;
  const files = await changes(dir, await comparisonBase(dir, baseSha, headSha), headSha);
  return {
    kind: 'page',
    title: `Files of #${number}`,
    repository,
    tab: 'pulls',
    body: html`${titleBlock(repository, thread)} ${pullTabs(repository, thread, 'files')}
      <p class="note">${files.length} files ${counts(files)}</p>
      ${diffOf(files)}`,
  };
}

export async function pullCommitsPage(context: Context, repository: Repository, number: number): Promise<PageReply> {
  const thread = findPull(context.world, repository, number);
  const range = `${thread.pull.baseSha}..${thread.pull.headSha}`;
  const commits = await log(repositoryDir(context.world, repository), [range]);
  return {
    kind: 'page',
    title: `Commits of #${number}`,
    repository,
    tab: 'pulls',
    body: html`${titleBlock(repository, thread)} ${pullTabs(repository, thread, 'commits')}
    ${card({ body: commitRows(context, repository, commits.reverse()) })}`,
  };
}

export async function pullDiff(context: Context, repository: Repository, number: number): Promise<PageReply> {
  const { pull } = findPull(context.world, repository, number);
  const dir = repositoryDir(context.world, repository);
  const base = await comparisonBase(dir, pull.baseSha, pull.headSha);
  return { kind: 'text', content: await diffText(dir, base, pull.headSha) };
}
