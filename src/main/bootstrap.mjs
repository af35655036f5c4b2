/*
 * Starts a TypeScript file of this project from nothing but Node 20 and npm: installs the dependencies when they are
 * missing or not those of package-lock.json, then hands over to the Node 24 among them, which runs TypeScript directly.
 * Plain JavaScript on built-in modules, because nothing else is there yet. All it says goes to standard error.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const STAMP = join(ROOT, 'node_modules/.cofferdam-stamp');
const LOCK = join(ROOT, '.cofferdam/install.lock');
/** From this major version on, Node runs the project's TypeScript itself. */
const NODE_MAJOR = 24;
/** How long a lock may be without its owner's process id before it counts as left behind. */
const OWNERLESS_MS = 10_000;

class BootstrapError extends Error {}

/** @param {string} line */
function say(line) {
  process.stderr.write(`${line}\n`);
}

async function lockfileHash() {
  return createHash('sha256')
    .update(await readFile(join(ROOT, 'package-lock.json')))
    .digest('hex');
}

/** @param {string} hash */
async function isInstalled(hash) {
  const stamp = await readFile(STAMP, 'utf8').catch(() => '');
  return stamp.trim() === hash;
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** Whether the one who made the lock is gone. */
async function isLeftBehind() {
  const owner = Number(await readFile(join(LOCK, 'pid'), 'utf8').catch(() => ''));
  if (owner > 0) return !isAlive(owner);
  const made = await stat(LOCK).catch(() => undefined);
  return made !== undefined && Date.now() - made.mtimeMs > OWNERLESS_MS;
}

/** A directory is the lock: making one is atomic on every file system, and npm empties node_modules while it works. */
async function takeLock() {
  await mkdir(join(ROOT, '.cofferdam'), { recursive: true });
  for (let told = false; ;) {
    try {
      await mkdir(LOCK);
      await writeFile(join(LOCK, 'pid'), String(process.pid));
      return;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    if (await isLeftBehind()) {
      await rm(LOCK, { recursive: true, force: true });
      continue;
    }
    if (!told) say('waiting for another installation of the dependencies');
    told = true;
    await sleep(500);
  }
}

/**
 * Runs a program, passing signals on to it.
 * @param {string} file
 * @param {string[]} args
 * @param {import('node:child_process').SpawnOptions} options
 * @returns {Promise<number>} its exit code; 128 and the signal's number when a signal ended it
 */
function run(file, args, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, options);
    const forward = (/** @type {NodeJS.Signals} */ name) => {
      // A terminal sends Ctrl-C to the child as well, and a second one would mean "at once".
      if (name !== 'SIGINT' || process.stdin.isTTY !== true) child.kill(name);
    };
    process.on('SIGINT', forward).on('SIGTERM', forward);
    const done = () => process.off('SIGINT', forward).off('SIGTERM', forward);
    child.once('error', (error) => {
      done();
      reject(error);
    });
    child.once('close', (code, signal) => {
      done();
      resolve(code ?? 128 + constants.signals[signal]);
    });
  });
}

async function install() {
  say('installing the dependencies');
  // Development dependencies belong to it: the tests and the demo's local GitHub need them.
  // Not `npm ci`: it refuses a lock file that lacks the optional packages of other platforms, and a registry need not
  // have all of them. This installs the locked versions, too, and leaves the lock file as it is.
  const args = [
    'install',
    '--no-save',
    '--ignore-scripts',
    '--include=dev',
    '--include=optional',
    // `npm run -s` would silence this npm, too, and with it what went wrong.
    '--loglevel=error',
    '--no-audit',
    '--no-fund',
  ];
  const code = await run('npm', args, { cwd: ROOT, stdio: ['ignore', 2, 2] }).catch((error) => {
    throw new BootstrapError(`npm does not start (${error.message}): install npm, which comes with Node`);
  });
  if (code !== 0) {
    throw new BootstrapError(
      `npm install ended with ${code}, see above: check that npm reaches its registry (npm ping) and run this again`,
    );
  }
}

async function ensureInstalled() {
  const hash = await lockfileHash();
  if (await isInstalled(hash)) return;
  await takeLock();
  try {
    // Another process may have done it while this one waited.
    if (await isInstalled(hash)) return;
    await install();
    await writeFile(STAMP, hash);
  } finally {
    await rm(LOCK, { recursive: true, force: true });
  }
}

function findNode() {
  const bundled = join(ROOT, `node_modules/node-linux-${process.arch}/bin/node`);
  if (existsSync(bundled)) return bundled;
  if (Number(process.versions.node.split('.')[0]) >= NODE_MAJOR) return process.execPath;
  throw new BootstrapError(
    `Node ${NODE_MAJOR} or later is needed and did not come with the dependencies for ${process.platform} ${process.arch}: ` +
      `install it (this is ${process.version}) and run this again`,
  );
}

async function main() {
  const [file, ...args] = process.argv.slice(2);
  if (file === undefined) throw new BootstrapError('usage: node src/main/bootstrap.mjs <file.ts> [arguments]');
  await ensureInstalled();
  const node = findNode();
  // Where this Node can, become the new process: nobody is in between then who has to pass on signals, and a signal to the
  // whole process group arrives once.
  if (typeof process.execve === 'function') process.execve(node, [node, file, ...args], process.env);
  return run(node, [file, ...args], { stdio: 'inherit' });
}

try {
  process.exitCode = await main();
} catch (error) {
  say(error instanceof BootstrapError ? error.message : String(error.stack));
  process.exitCode = 1;
}
