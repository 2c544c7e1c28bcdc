// Columns as the server hands them out, of a made-up run: blocks that are asked for, fetched and stored.

import { ROW_COLUMNS } from '../../node/trace-viewer/page/decode.js';

export const HOSTILE = '<script>document.title="owned"</script><img src=x onerror=document.title="owned">\u202e';
const ARRAYS = { u8: Uint8Array, u16: Uint16Array, u32: Uint32Array, i32: Int32Array, f32: Float32Array, f64: Float64Array };
const LANES = ['tree', 'downloader', 'peer-manager', 'store', 'engine-api', 'rlpx', 'rpc', 'node'];
const TYPES = ['TreeRequest::ForkchoiceUpdated', 'TreeEvent::Download::BlockSet', 'FetchRequest::Bodies', 'SessionCommand::Request',
  'SessionEvent::Response', 'FetchOutcome::Items', 'DownloadOutcome::Blocks', 'StoreRequest::Persist', 'StoreOutcome::Persisted', HOSTILE];
// from, to, port, busy, late and the pause before the next, in ns
const HOPS = [[4, 0, 0, 40e3, 0], [0, 1, 1, 90e3, 0], [1, 2, 2, 30e3, 0], [2, 5, 3, 20e3, 3e6], [5, 2, 2, 60e3, 0], [2, 1, 1, 900e3, 0],
  [1, 0, 0, 120e3, 0], [0, 3, 4, 80e3, 2e6], [3, 0, 0, 30e3, 0]];

function random(seed) {
  let state = seed;
  return () => { state = (state * 1664525 + 1013904223) >>> 0; return state / 4294967296; };
}

export function makeRun({ blocks = 200, live = false, hostile = true, seed = 7, gapEvery = 12e6 } = {}) {
  const next = random(seed);
  const rows = [];
  const hashes = new Uint8Array(blocks * 32);
  for (let at = 0; at < hashes.length; at += 1) hashes[at] = Math.floor(next() * 256);
  for (let block = 0; block < blocks; block += 1) {
    let t = block * gapEvery;
    let cause = -1;
    let root = -1;
    HOPS.forEach(([from, to, port, busy, late], at) => {
      const wait = 2e3 + next() ** 6 * 3e6;
      const handled = busy * (0.6 + next() * (next() > 0.99 ? 30 : 1));
      const row = rows.length;
      rows.push({ t: t + (at % 2) * 900, wait, busy: handled, late, kind: 0, state: 1, bad: 0, from, to,
        type: hostile && at === 4 && block % 20 === 3 ? 9 : at, port, depth: 1 + Math.floor(next() ** 4 * 60), depth_after: Math.floor(next() * 3),
        bytes: 800, id: row + 1, cause, root, note: at === 4 && block % 20 === 3 ? 1 : 0, low: 1000 + block, high: 1000 + block,
        hash: block + 1, list_at: 0, list_len: 0, inherits: 0, peer: at === 3 || at === 4 ? 1 + (block % 3) : 0, session: at === 3 ? block % 5 : NaN, order: next() });
      if (root < 0) root = row;
      cause = row;
      t += wait + handled * 0.8 + late;
    });
  }
  const bodies = HOPS.length;
  // one that failed, one dropped, one in flight, one whose handling panicked
  if (blocks > 40) {
    Object.assign(rows[10 * bodies + 5], { bad: 1 });
    Object.assign(rows[11 * bodies + 2], { state: 2, busy: NaN, late: NaN });
    Object.assign(rows[12 * bodies + 8], { state: 0, wait: NaN, busy: NaN, late: NaN });
    Object.assign(rows[30 * bodies + 5], { state: 3, bad: 1 });
  }
  return { rows, hashes, live, blocks, bodies };
}

/** The run in the binary layout; `extra` fields go into the header. */
export function encodeRun(run, extra = {}) {
  const sorted = run.rows.map((row, at) => [row, at]).sort((a, b) => a[0].t - b[0].t);
  const place = new Int32Array(run.rows.length);
  sorted.forEach(([, was], at) => { place[was] = at; });
  const parts = [];
  const described = [];
  let offset = 0;
  const add = (name, type, array) => {
    described.push({ name, type, offset, length: array.length });
    const padded = new Uint8Array(Math.ceil(array.byteLength / 8) * 8);
    padded.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
    parts.push(padded);
    offset += padded.length;
  };
  for (const [name, type] of Object.entries(ROW_COLUMNS)) {
    const array = new ARRAYS[type](sorted.length);
    sorted.forEach(([row], at) => {
      const value = row[name];
      array[at] = (name === 'cause' || name === 'root') && value >= 0 ? place[value] : value;
    });
    add(name, type, array);
  }
  add('list_hash', 'u32', new Uint32Array(0));
  add('list_number', 'f64', new Float64Array(0));
  add('list_run', 'u32', new Uint32Array(0));
  add('hashes', 'u8', run.hashes);
  const panicked = run.rows.findIndex((row) => row.state === 3);
  const died = panicked >= 0 ? run.rows[panicked].t + run.rows[panicked].wait + run.rows[panicked].busy : 0;
  const marks = panicked < 0 ? [] : [
    { kind: 'start', t: 0, lane: 1, gen: 0, row: -1, note: '' },
    { kind: 'panic', t: died, lane: 1, gen: 0, row: place[panicked], note: `index out of range ${HOSTILE}` },
    { kind: 'restart', t: died + 4e7, lane: 1, gen: 1, row: -1, note: '' },
    { kind: 'gap', t: died + 2e8, lane: null, row: -1, note: 'queue full', n: 1234, from: died + 2e8, until: died + 2.6e8 },
  ];
  const header = { generation: 1, version: 1, run: 'made-up', by: 'moorline/test', t0_unix_ns: String(BigInt(Date.now() - 3000) * 1000000n), clock: 'real',
    source: `a made-up run ${HOSTILE}`, live: run.live, first_row: 0, rows: sorted.length, lanes: LANES, actors: 4, types: TYPES,
    ports: [[0, 'tree requests', 0], [1, 'downloads', 1], [2, 'fetches', 2], [3, 'sessions', 5], [4, 'writes', 3]].map(([p, name, to]) => ({ p, name, to, items: 64, bytes: 1048576 })),
    peers: ['00112233445566aa', '1122334455667788', 'aabbccddeeff0011'], notes: [HOSTILE], marks,
    skipped: [{ what: `a torn line ${HOSTILE}`, count: 3, file: 'run-1.jsonl', line: 12 }], trimmed_rows: 77, columns: described, ...extra };
  const text = JSON.stringify(header);
  const json = new TextEncoder().encode(text);
  const head = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(32);
  new DataView(head.buffer).setUint32(0, json.length, true);
  head.fill(0, 4, 8);
  head.set(json, 8);
  return Buffer.concat([head, ...parts]);
}

export function makeDiff(run) {
  const hash = `0x${Buffer.from(run.hashes.subarray(0, 32)).toString('hex')}`;
  return { a: 'a', b: HOSTILE, messages: [{ type: TYPES[1], count: [200, 190], busy_p50_ns: [9e4, 1e5], busy_p99_ns: [2e5, 3e5], wait_p99_ns: [1e6, 1e6] }],
    blocks: [{ hash, number: 1000, elapsed_ns: [7e6, null], hops: [9, 0], missing: [HOSTILE], extra: [] }], blocks_total: 200 };
}
