import assert from 'node:assert/strict';
import { test } from 'node:test';
import { applyChanges, createModel, decodeBase64, hashText } from '../../node/trace-viewer/page/decode.js';
import { indexRows, mailboxAt, rowsWithin } from '../../node/trace-viewer/page/rows.js';
import { applyFilter, openFilter } from '../../node/trace-viewer/page/filter.js';
import { followKey, parseKey, rowsNaming } from '../../node/trace-viewer/page/follow.js';
import { criticalPath, parentHop, PARTS } from '../../node/trace-viewer/page/path.js';
import { latencyByType, percentiles, slowestRows } from '../../node/trace-viewer/page/latency.js';
import { openView, readView, writeView } from '../../node/trace-viewer/page/state.js';
import { binRows } from '../../node/trace-viewer/page/density.js';
import { formatMoment, formatSpan, parseSpan, tame } from '../../node/trace-viewer/page/text.js';
import { encodeRun, makeRun } from './fixture.mjs';

const bytes = (buffer) => buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.length);
const modelOf = (run, extra) => indexRows(createModel(bytes(encodeRun(run, extra))));

/** A run of exactly these rows, the rest at defaults; `list` is `[[hash, number], ...]`. */
function handMade(rows, { hashes = 8 } = {}) {
  const entries = rows.flatMap((row) => row.list ?? []);
  let at = 0;
  const full = rows.map((row, index) => {
    const made = { t: index * 100, wait: 10, busy: 20, late: 0, kind: 0, state: 1, bad: 0, from: 0, to: 1, type: 0, port: 0, depth: 1, depth_after: 0, bytes: 0,
      id: index + 1, cause: -1, root: -1, note: 0, low: NaN, high: NaN, hash: 0, list_at: at, list_len: row.list?.length ?? 0, inherits: 0, peer: 0, session: NaN, ...row };
    at += made.list_len;
    return made;
  });
  const model = modelOf({ rows: full, hashes: Uint8Array.from({ length: hashes * 32 }, (_, place) => (place % 32 ? 0 : place / 32 + 1)), live: false });
  model.list_hash = Uint32Array.from(entries, ([hash]) => hash);
  model.list_number = Float64Array.from(entries, ([, number]) => number);
  model.list_run = Uint32Array.from(entries, ([, , run]) => run ?? 1);
  model.entries = entries.length;
  return model;
}

test('columns are read as they were written', () => {
  const run = makeRun({ blocks: 50 });
  const model = modelOf(run);
  assert.equal(model.rows, run.rows.length);
  const row = model.id.indexOf(5);
  assert.equal(model.t[row], run.rows[4].t);
  assert.equal(model.id[model.cause[row]], 4);
  assert.equal(hashText(model, 1).length, 66);
  assert.equal(model.trimmed, 77);
});

test('columns that are cut short or lack one are refused, and base64 gives the same bytes', () => {
  assert.throws(() => createModel(new ArrayBuffer(4)), /cut short/);
  const whole = encodeRun(makeRun({ blocks: 3 }));
  assert.throws(() => createModel(bytes(whole).slice(0, 2000)));
  assert.deepEqual(Buffer.from(decodeBase64(whole.toString('base64'))), whole);
});

test('changes extend, replace and complete rows', () => {
  const run = makeRun({ blocks: 4 });
  const model = modelOf(run);
  const last = { ...run.rows.at(-1), id: 999, t: 1e12 };
  assert.ok(applyChanges(model, bytes(encodeRun({ ...run, rows: [last], hashes: new Uint8Array(0) }, { version: 2, first_row: model.rows - 1 }))));
  assert.equal(model.rows, run.rows.length);
  assert.equal(model.id[model.rows - 1], 999);
  assert.ok(applyChanges(model, bytes(encodeRun({ ...run, rows: [last], hashes: new Uint8Array(0) }, { version: 3, first_row: model.rows }))));
  assert.equal(model.rows, run.rows.length + 1);
  assert.ok(!applyChanges(model, bytes(encodeRun(run, { generation: 2 }))));
});

test('rows out of order and long handlings are found in a narrow view', () => {
  const rows = Array.from({ length: 2000 }, (_, at) => ({ t: at * 1000 + (at % 7) * 3000, late: at === 3 ? 1.9e6 : 0 }));
  const model = handMade(rows);
  const shown = applyFilter(model, openFilter(), []);
  const [from, until] = [1.5e6, 1.501e6];
  const expected = [...Array(model.rows).keys()].filter((row) => model.t[row] <= until && model.end[row] >= from);
  assert.deepEqual(rowsWithin(model, shown, from, until, 5000), expected);
  assert.ok(expected.includes([...model.late].findIndex((late) => late > 1e6)));
  assert.equal(rowsWithin(model, shown, 0, 1e9, 5), null);
});

test('each filter removes what it says', () => {
  const model = modelOf(makeRun({ blocks: 60 }));
  const rowsOf = (changes) => {
    const { mask } = applyFilter(model, { ...openFilter(), ...changes }, []);
    return [...mask.keys()].filter((row) => mask[row]);
  };
  assert.equal(rowsOf({}).length, model.rows);
  assert.ok(rowsOf({ lanes: ['store'] }).every((row) => model.to[row] !== 3 && model.from[row] !== 3));
  assert.ok(rowsOf({ types: [model.types[0]] }).every((row) => model.type[row] !== 0));
  assert.deepEqual(rowsOf({ outcome: 'dropped' }).map((row) => model.state[row]), [2]);
  assert.deepEqual(rowsOf({ outcome: 'flight' }).map((row) => model.state[row]), [0]);
  assert.deepEqual(rowsOf({ outcome: 'panicked' }).map((row) => model.state[row]), [3]);
  assert.equal(rowsOf({ outcome: 'bad' }).length, 3);
  const slow = rowsOf({ took: 1e6 });
  assert.ok(slow.length > 0 && slow.every((row) => (model.busy[row] || 0) + (model.late[row] || 0) >= 1e6));
  assert.ok(rowsOf({ waited: 1e6 }).every((row) => model.wait[row] >= 1e6));
  assert.ok(rowsOf({ depth: 20 }).every((row) => model.depth[row] >= 20));
});

test('a key is told from another, and what is none is refused', () => {
  const model = modelOf(makeRun({ blocks: 9 }));
  assert.equal(parseKey(model, hashText(model, 3)).hash, 3);
  assert.equal(parseKey(model, hashText(model, 3).slice(0, 14)).hash, 3);
  assert.equal(parseKey(model, '1,002').number, 1002);
  assert.equal(parseKey(model, 's4').session, 4);
  assert.equal(parseKey(model, `enode://1122334455667788${'0'.repeat(112)}@127.0.0.1:1`).peer, 2);
  assert.equal(parseKey(model, '1122334455667788').peer, 2);
  assert.match(parseKey(model, 'drop table').error, /Not a key/);
  assert.match(parseKey(model, `0x${'0'.repeat(64)}`).error, /No record/);
});

test('100 % of the hops of a known block are found, and its path adds up', () => {
  const run = makeRun({ blocks: 50 });
  const model = modelOf(run);
  const followed = followKey(model, parseKey(model, hashText(model, 8)));
  const expected = run.rows.filter((row) => row.hash === 8).map((row) => row.id).sort((a, b) => a - b);
  assert.deepEqual(followed.hops.map((row) => model.id[row]).sort((a, b) => a - b), expected);
  const { steps, totals } = criticalPath(model, followed);
  assert.equal(steps.length, 9);
  for (const step of steps) assert.ok(Math.abs(PARTS.reduce((sum, part) => sum + step[part], 0) - step.total) < 1);
  assert.ok(Math.abs(totals.total - (model.end[steps[8].row] - model.t[steps[0].row])) < 2);
  assert.ok(totals.network > 0 && totals.asynchronous > 0);
});

test('a run names the blocks between its ends unless its hashes show another branch', () => {
  const model = handMade([
    { hash: 4, low: 7, high: 10, list: [[4, 10], [3, 9], [2, 8], [1, 7]] },
    { hash: 4, low: 5, high: 10 },
    { hash: 8, low: 7, high: 10, list: [[8, 10], [7, 9], [6, 8], [5, 7]] },
    { hash: 8, low: 5, high: 10 },
    { low: 5, high: 10 },
    { low: 1, high: 6 },
    { list: [[4, 10], [2, 8]] },
    { list: [[4, 10], [1, 7]] },
  ]);
  const named = (key) => [...rowsNaming(model, key)];
  assert.deepEqual(named({ kind: 'hash', hash: 2 }), [1, 1, 0, 0, 1, 0, 1, 0]);
  assert.deepEqual(named({ kind: 'number', number: 8 }), [1, 1, 1, 1, 1, 0, 1, 0]);
});

test('what is about its cause is followed with it, and rows between are passed over but told', () => {
  const model = handMade([
    { root: -1 },
    { hash: 1, cause: 0, root: 0 },
    { cause: 1, root: 0 },
    { cause: 2, root: 0 },
    { hash: 1, cause: 3, root: 0 },
    { inherits: 1, cause: 4, root: 0, to: 5 },
  ]);
  const followed = followKey(model, { kind: 'hash', hash: 1 });
  assert.deepEqual(followed.hops, [0, 1, 4, 5]);
  assert.equal(followed.names, 3);
  assert.deepEqual(parentHop(model, followed.mask, 4), { parent: 1, via: 2 });
  const { steps, complete } = criticalPath(model, followed);
  assert.deepEqual(steps.map(({ row, via }) => [row, via]), [[0, 0], [1, 0], [4, 2], [5, 0]]);
  assert.equal(steps[1].others, 270);
  assert.equal(steps[0].asynchronous, 70);
  assert.ok(complete);
});

test('the mailbox of a dead actor holds what was sent and not begun', () => {
  const model = handMade([{ t: 0, wait: 50 }, { t: 10, wait: 500 }, { t: 20, state: 0, wait: NaN, busy: NaN }, { t: 300 }, { t: 30, wait: 400, to: 2 }]);
  assert.deepEqual(mailboxAt(model, 1, 100).map((row) => model.id[row]), [2, 3]);
});

test('percentiles are those of the sorted values', () => {
  const values = Float32Array.from({ length: 5000 }, (_, at) => (at * 7919) % 5003);
  const sorted = values.slice().sort();
  const found = percentiles(values, 0, values.length);
  assert.deepEqual(found, { p50: sorted[2499], p95: sorted[4749], p99: sorted[4949], max: sorted[4999] });
  assert.ok(Number.isNaN(percentiles(values, 3, 3).p50));
  assert.equal(percentiles(Float32Array.of(4, 4, 4), 0, 3).p99, 4);
});

test('the latency table counts every message once, and the slowest come first', () => {
  const model = modelOf(makeRun({ blocks: 80 }));
  const shown = applyFilter(model, openFilter(), []);
  assert.equal(latencyByType(model, shown).reduce((sum, entry) => sum + entry.count, 0), model.rows);
  const slowest = slowestRows(model, shown, 'busy', -1, 10).map((row) => model.busy[row]);
  assert.deepEqual(slowest, [...model.busy].filter((busy) => !Number.isNaN(busy)).sort((a, b) => b - a).slice(0, 10));
});

test('density keeps all messages and all handling', () => {
  const model = modelOf(makeRun({ blocks: 80 }));
  const shown = applyFilter(model, openFilter(), []);
  const bins = binRows(model, shown, model.first, model.last + 1, 64);
  assert.equal(bins.count.reduce((a, b) => a + b, 0), model.rows);
  const busy = model.busy.reduce((sum, each) => sum + (each || 0), 0);
  assert.ok(Math.abs(bins.busy.reduce((a, b) => a + b, 0) / busy - 1) < 1e-4);
});

test('the address holds the whole view, and nonsense in it does no harm', () => {
  const view = { ...openView(), from: 12, until: 345, follow: '0xab&c', select: 17, tab: 'marks', sort: 'wait.p95', up: true, theme: 'dark', mark: 2,
    filter: { lanes: ['a b'], types: ['X::<script>'], outcome: 'bad', took: 5e6, waited: 10, depth: 3, key: '77' } };
  assert.deepEqual(readView(`#${writeView(view)}`), view);
  assert.deepEqual(readView('#t=9-1&outcome=__proto__&tab=x&sort=y&depth=-4&took=abc&%%%'), openView());
});

test('times are written and read', () => {
  assert.deepEqual([850, 12345, 4.56e6, 1.234e9, 1.23e11, NaN].map(formatSpan), ['850ns', '12.3µs', '4.56ms', '1.23s', '2m03s', '–']);
  assert.equal(formatMoment(61.5e9, 1e8), '1:01.5');
  assert.equal(formatMoment(1234567, 1), '0.001234567s');
  assert.deepEqual(['5ms', '2', '1.5 s', ''].map(parseSpan), [5e6, 2e6, 1.5e9, 0]);
  assert.ok(Number.isNaN(parseSpan('soon')));
  assert.equal(tame('a\u202eb\n'), 'a·b·');
});
