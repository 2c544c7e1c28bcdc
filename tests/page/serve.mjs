// A stand-in for the server: joins the page as the server does, and hands out made-up columns.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';
import { encodeRun, makeDiff, makeRun } from './fixture.mjs';

const PAGE = new URL('../../node/trace-viewer/page/', import.meta.url);
const read = (name) => readFileSync(new URL(name, PAGE), 'utf8');
const hashOf = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

export function assemble(columns = '') {
  const style = read('style.css');
  const script = read('modules.txt').trim().split('\n').map((name) => `// ${name}\n${read(name).split('\n')
    .filter((line) => !(line.startsWith('import ') && line.includes("from './"))).map((line) => line.replace(/^export /, '')).join('\n')}`).join('');
  const policy = `default-src 'none'; script-src ${hashOf(script)}; style-src ${hashOf(style)}; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'`;
  const html = read('index.html').replace('<head>', () => `<head><meta http-equiv="Content-Security-Policy" content="${policy}">`)
    .replace('/*STYLE*/', () => style).replace('/*SCRIPT*/', () => script).replace('id="columns"></script>', () => `id="columns">${columns}</script>`);
  return { html, policy };
}

/** Serves a run until closed: `{url, close, hash}`; a live one grows by a block with each `/changes`. */
export async function serve({ blocks = 200, live = false, gapEvery } = {}) {
  const run = makeRun({ blocks, live, gapEvery });
  const columns = encodeRun(run);
  const { html, policy } = assemble();
  const server = createServer((request, response) => {
    const path = request.url.split('?')[0];
    if (path === '/') response.writeHead(200, { 'content-type': 'text/html', 'content-security-policy': policy }).end(html);
    else if (path === '/columns') response.end(columns);
    else if (path === '/diff') response.end(JSON.stringify(makeDiff(run)));
    else if (path === '/page.html') response.end(assemble(columns.toString('base64')).html);
    else if (path === '/changes') setTimeout(() => response.end(grown(run, Number(/version=(\d+)/.exec(request.url)?.[1] ?? 1) + 1)), 100);
    else response.writeHead(404).end();
  });
  await new Promise((ready) => { server.listen(0, '127.0.0.1', ready); });
  return { url: `http://127.0.0.1:${server.address().port}/`, run, close: () => { server.closeAllConnections(); server.close(); } };
}

function grown(run, version) {
  const latest = run.rows.reduce((most, row) => Math.max(most, row.t), 0);
  const first = run.rows.length + (version - 2);
  const row = { ...run.rows[0], t: latest + version * 1e8, id: first + 1, cause: -1, root: -1 };
  return encodeRun({ ...run, rows: [row] , hashes: new Uint8Array(0) }, { version, first_row: first, rows: 1, live: true });
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { url } = await serve({ blocks: Number(process.argv[2] ?? 200), gapEvery: Number(process.argv[3] ?? 12e6) });
  process.stdout.write(`${url}\n`);
}
