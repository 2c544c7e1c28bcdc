// A recording read line by line, apart from the page and from the node: what the page says is held against it.

import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export const { MOORLINE, TRACE, TRACE_OTHER } = process.env;
export const withoutBinary = MOORLINE ? false : 'MOORLINE is not set to the binary';

/** Runs the binary and returns what it wrote. */
export function moorline(...given) {
  return execFileSync(MOORLINE, given, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 1 << 28 });
}

/** Starts the binary; `said(pattern)` waits for a match in what it writes. */
export function start(...given) {
  const child = spawn(MOORLINE, given, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const waiting = new Set();
  const look = () => { for (const wait of waiting) wait(); };
  for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on('line', (line) => { output += `${line}\n`; look(); });
  const ended = new Promise((done) => { child.on('exit', () => { done(); look(); }); });
  const said = (pattern) => new Promise((found, failed) => {
    const wait = () => {
      const match = pattern.exec(output);
      if (match) found(match);
      else if (child.exitCode === null && child.signalCode === null) return;
      else failed(new Error(`never said ${pattern}: ${output}`));
      waiting.delete(wait);
    };
    waiting.add(wait);
    wait();
  });
  return { said, close: async () => { child.kill(); await ended; } };
}

/** Serves traces by the binary: `{url, close}`. */
export async function view(...traces) {
  const served = start('trace', 'view', ...traces, '--listen', '127.0.0.1:0');
  const [url] = await served.said(/http:\/\/\S+/);
  return { url, close: served.close };
}

/** A directory that is gone when the test is over. */
export function scratch() {
  const path = mkdtempSync(join(tmpdir(), 'moorline-page-'));
  // after everything: hooks run in the order in which they were given, and processes that write there end in later ones
  process.on('exit', () => rmSync(path, { recursive: true, force: true }));
  return path;
}

export function linesOf(directory) {
  return readdirSync(directory).filter((name) => name.endsWith('.jsonl')).sort()
    .flatMap((name) => readFileSync(join(directory, name), 'utf8').split('\n')).filter(Boolean);
}

/** Rows with what `done` and `drop` say of them. */
export function rowsOf(directory) {
  const rows = new Map();
  for (const record of linesOf(directory).map((line) => JSON.parse(line))) {
    if (['send', 'timer', 'start', 'restart'].includes(record.k)) {
      rows.set(record.id, { ...record, m: record.m ?? record.k, d: record.d ?? 0, wait: NaN, took: 0, state: record.k === 'send' ? 'flight' : 'done' });
    }
    const row = rows.get(record.id);
    if (record.k === 'done' && row) Object.assign(row, { wait: record.w ?? 0, took: (record.b ?? 0) + (record.a ?? 0), state: record.bad ? 'panicked' : 'done', bad: row.bad || record.bad });
    if (record.k === 'drop' && row) Object.assign(row, { wait: record.w ?? 0, state: 'dropped' });
  }
  return [...rows.values()];
}

/** `trace follow --json`: the number of hops, those that name the key, and the sums of the critical path. */
export function followed(key, directory) {
  const { hops, path, sum } = JSON.parse(moorline('trace', 'follow', key, directory, '--json'));
  return { hops: hops.length, naming: hops.filter((hop) => hop.names_key).length, steps: path.length, sum };
}

const FROM_Q = 200;
const LOST = 12;
export const HOSTILE = '<script>document.title="owned"</script><img src=x onerror=document.title="owned">';

/** A copy of a recording with a gap in it, text that would like to be markup, and lines that are none. */
export function plant(directory, into) {
  mkdirSync(into);
  let markup = false;
  const lines = linesOf(directory).map((line) => [JSON.parse(line), line]).flatMap(([record, line]) => {
    if (record.q === FROM_Q) return [JSON.stringify({ q: FROM_Q, t: record.t, k: 'gap', why: 'queue full', n: LOST, from: record.t - 2e6, until: record.t })];
    if (record.q > FROM_Q && record.q <= FROM_Q + LOST) return [];
    if (record.k === 'panic') return [JSON.stringify({ ...record, note: HOSTILE })];
    if (record.k === 'send' && record.q > FROM_Q / 2 && !markup) {
      markup = true;
      return [JSON.stringify({ ...record, m: HOSTILE, note: HOSTILE })];
    }
    return [line];
  });
  lines.splice(50, 0, 'x'.repeat(2 << 20), '['.repeat(5000), `{"${HOSTILE}"`);
  writeFileSync(join(into, 'run-0000000000001-000000.jsonl'), `${lines.join('\n')}\n{"q":99999,"t":1,"k":"se`);
  return { lost: LOST };
}
