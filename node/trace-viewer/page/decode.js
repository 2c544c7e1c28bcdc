// The binary answer of the server (COLUMNS.md) made into a model: one typed array per column.

import { tame } from './text.js';

const ARRAYS = { u8: Uint8Array, u16: Uint16Array, u32: Uint32Array, i32: Int32Array, f32: Float32Array, f64: Float64Array };

export const ROW_COLUMNS = {
  t: 'f64', wait: 'f32', busy: 'f32', late: 'f32', kind: 'u8', state: 'u8', bad: 'u8', from: 'u8', to: 'u8',
  type: 'u16', port: 'u16', depth: 'u32', depth_after: 'u32', bytes: 'f64', id: 'f64', cause: 'i32', root: 'i32',
  note: 'u32', low: 'f64', high: 'f64', hash: 'u32', len: 'u32', list_at: 'u32', list_len: 'u32', inherits: 'u8', peer: 'u32',
  session: 'f64',
};
const ENTRY_COLUMNS = { list_hash: 'u32', list_number: 'f64', list_run: 'u32' };
const PATCHED = ['wait', 'busy', 'late', 'state', 'bad', 'depth_after'];

export const STATE = { inFlight: 0, done: 1, dropped: 2, panicked: 3 };
export const KIND = { message: 0, timer: 1, start: 2, restart: 3 };
export const NO_LANE = 255;
export const NO_PORT = 65535;

/** The header and the columns by name, as views into the buffer: nothing is copied. */
export function decode(buffer) {
  if (buffer.byteLength < 8) throw new Error('the columns are cut short');
  const length = new DataView(buffer).getUint32(0, true);
  const body = 8 + Math.ceil(length / 8) * 8;
  if (body > buffer.byteLength) throw new Error('the columns are cut short');
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const columns = {};
  for (const { name, type, offset, length: items } of header.columns) {
    const View = ARRAYS[type];
    if (View) columns[name] = new View(buffer, body + offset, items);
  }
  return { header, columns };
}

/** A model of everything in one answer of `/columns`. */
export function createModel(buffer) {
  const { header, columns } = decode(buffer);
  const model = { generation: header.generation, peers: [], rows: 0, entries: 0, hashCount: 0, diff: header.diff ?? null };
  for (const [name, type] of Object.entries({ ...ROW_COLUMNS, ...ENTRY_COLUMNS })) {
    model[name] = columns[name] ?? new ARRAYS[type](0);
  }
  model.hashes = columns.hashes ?? new Uint8Array(0);
  model.rows = model.t.length;
  for (const name of Object.keys(ROW_COLUMNS)) {
    if (model[name].length < model.rows) throw new Error(`column ${name} is missing or too short`);
  }
  model.entries = model.list_hash.length;
  model.hashCount = Math.floor(model.hashes.length / 32);
  takeHeader(model, header);
  return model;
}

function takeHeader(model, header) {
  model.version = header.version;
  model.run = tame(header.run);
  model.by = tame(header.by);
  model.t0_unix_ns = Number(header.t0_unix_ns);
  model.clock = header.clock;
  model.source = tame(header.source);
  model.live = Boolean(header.live);
  model.lanes = header.lanes.map(tame);
  model.actors = header.actors;
  model.types = header.types.map(tame);
  model.ports = header.ports.map((port) => ({ ...port, name: tame(port.name) }));
  model.portOf = new Map(model.ports.map((port) => [port.p, port]));
  model.peers = header.peers.map(tame);
  model.notes = header.notes.map(tame);
  model.marks = header.marks.map((mark) => ({ ...mark, note: tame(mark.note) }));
  model.skipped = header.skipped.map((skip) => ({ ...skip, what: tame(skip.what), file: tame(skip.file) }));
  model.trimmed = header.trimmed_rows ?? 0;
}

/** Joins an answer of `/changes` to the model; false when everything must be loaded again. */
export function applyChanges(model, buffer) {
  const { header, columns } = decode(buffer);
  if (header.generation !== model.generation) return false;
  const firstRow = header.first_row ?? 0;
  const firstEntry = header.first_entry ?? 0;
  const firstHash = header.first_hash ?? 0;
  if (firstRow > model.rows || firstEntry > model.entries || firstHash > model.hashCount) return false;
  const rows = columns.t?.length ?? 0;
  for (const name of Object.keys(ROW_COLUMNS)) {
    if (rows) model[name] = placed(model[name], columns[name], firstRow, model.rows);
  }
  if (rows) model.rows = Math.max(model.rows, firstRow + rows);
  const entries = columns.list_hash?.length ?? 0;
  if (entries) {
    for (const name of Object.keys(ENTRY_COLUMNS)) {
      model[name] = placed(model[name], columns[name], firstEntry, model.entries);
    }
    model.entries = Math.max(model.entries, firstEntry + entries);
  }
  if (columns.hashes?.length) {
    model.hashes = placed(model.hashes, columns.hashes, firstHash * 32, model.hashCount * 32);
    model.hashCount = Math.max(model.hashCount, firstHash + columns.hashes.length / 32);
  }
  const patched = columns.patched ?? [];
  for (const name of PATCHED) {
    const values = columns[`patched_${name}`];
    if (values) patched.forEach((row, at) => { if (row < model.rows) model[name][row] = values[at]; });
  }
  const changed = rows > 0 || patched.length > 0 || header.version !== model.version;
  takeHeader(model, header);
  model.changed = changed;
  return true;
}

// Grows by half, so that following a run for hours copies each row only a few times.
function placed(held, added, at, used) {
  let target = held;
  if (at + added.length > held.length) {
    target = new held.constructor(Math.ceil((at + added.length) * 1.5));
    target.set(held.subarray(0, Math.min(used, held.length)));
  }
  target.set(added, at);
  return target;
}

/** Hash number `index` (from 1, as rows hold it) as `0x...`. */
export function hashText(model, index) {
  let text = '0x';
  for (let at = (index - 1) * 32; at < index * 32; at += 1) text += model.hashes[at].toString(16).padStart(2, '0');
  return text;
}

/** What the row says of the mailbox it went to, or undefined. */
export function portOfRow(model, row) {
  return model.portOf.get(model.port[row]);
}

/** The text in a standalone page as bytes; in pieces, because one large `atob` doubles the memory. */
export function decodeBase64(text) {
  const clean = text.trim();
  const tail = clean.endsWith('==') ? 2 : clean.endsWith('=') ? 1 : 0;
  const bytes = new Uint8Array((clean.length / 4) * 3 - tail);
  const piece = 4 * 65536;
  let at = 0;
  for (let from = 0; from < clean.length; from += piece) {
    const raw = atob(clean.slice(from, from + piece));
    for (let i = 0; i < raw.length; i += 1) bytes[at + i] = raw.charCodeAt(i);
    at += raw.length;
  }
  return bytes.buffer;
}
