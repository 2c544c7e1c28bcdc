// Following a key: which rows name a block, a number, a peer or a session, and what led to them.

const REFUTED = 1;
const CONFIRMED = 2;
const UNKNOWN = 3;

/** What was typed into the field, as a key of this trace, or `{error}` with what to do. */
export function parseKey(model, text) {
  const typed = text.trim().toLowerCase();
  const enode = /^enode:\/\/([0-9a-f]{16})[0-9a-f]*/.exec(typed);
  if (enode) return peerKey(model, enode[1]);
  if (/^s\d+$/.test(typed)) return { kind: 'session', session: Number(typed.slice(1)), label: `session ${typed.slice(1)}` };
  if (/^0x[0-9a-f]{6,64}$/.test(typed)) return hashKey(model, typed.slice(2));
  if (/^#?[\d,]{1,20}$/.test(typed)) {
    const plain = typed.replace(/[#,]/g, '');
    if (plain.length === 16 && model.peers.includes(plain)) return peerKey(model, plain);
    return { kind: 'number', number: Number(plain), label: `block ${plain}` };
  }
  if (/^[0-9a-f]{16}$/.test(typed) || /^[0-9a-f]{128}$/.test(typed)) return peerKey(model, typed.slice(0, 16));
  if (/^[0-9a-f]{64}$/.test(typed)) return hashKey(model, typed);
  return { error: 'Not a key. Give a block hash (0x\u2026), a block number, a peer (16 hex digits or enode) or a session (s12).' };
}

function peerKey(model, id) {
  const at = model.peers.indexOf(id);
  if (at < 0) return { error: `No record names the peer ${id}.` };
  return { kind: 'peer', peer: at + 1, label: `peer ${id}` };
}

// A prefix is enough when only one hash begins with it.
function hashKey(model, hex) {
  const wanted = [];
  for (let at = 0; at + 1 < hex.length; at += 2) wanted.push(parseInt(hex.slice(at, at + 2), 16));
  const odd = hex.length % 2 ? parseInt(hex.at(-1), 16) : -1;
  const { hashes, hashCount } = model;
  const found = [];
  for (let index = 0; index < hashCount && found.length < 2; index += 1) {
    const base = index * 32;
    if (hashes[base] !== wanted[0] || hashes[base + 1] !== wanted[1]) continue;
    const equal = wanted.every((byte, at) => hashes[base + at] === byte)
      && (odd < 0 || hashes[base + wanted.length] >> 4 === odd);
    if (equal) found.push(index + 1);
  }
  if (found.length === 0) return { error: `No record names a block 0x${hex.slice(0, 12)}${hex.length > 12 ? '\u2026' : ''}.` };
  if (found.length > 1) return { error: `Several hashes begin with 0x${hex}. Give more digits.` };
  return { kind: 'hash', hash: found[0], label: `block 0x${hex.slice(0, 12)}${hex.length > 12 ? '\u2026' : ''}` };
}

/** A mask of the rows that name the key themselves or through their cause. */
export function rowsNaming(model, key) {
  const names = new Uint8Array(model.rows);
  if (key.kind === 'peer') markEqual(names, model.peer, key.peer);
  else if (key.kind === 'session') markEqual(names, model.session, key.session);
  else if (key.kind === 'number') markNumber(model, names, key.number);
  else markHash(model, names, key.hash);
  inherit(model, names);
  return names;
}

function markEqual(names, column, value) {
  for (let row = 0; row < names.length; row += 1) if (column[row] === value) names[row] = 1;
}

function markNumber(model, names, number) {
  const { low, high } = model;
  for (let row = 0; row < names.length; row += 1) {
    if (isWithin(model, row, number)) names[row] = 1;
    else if (low[row] <= number && high[row] >= number && isRun(model, row)) names[row] = 1;
    else if (entryWith(model, row, number, 1) >= 0) names[row] = 1;
  }
}

// The entry of a row's list whose run holds the number, among those of at least so many blocks; -1 for none.
function entryWith(model, row, number, shortest) {
  const { list_at, list_len, list_number, list_run } = model;
  for (let at = list_at[row]; at < list_at[row] + list_len[row]; at += 1) {
    if (list_run[at] >= shortest && number <= list_number[at] && number > list_number[at] - list_run[at]) return at;
  }
  return -1;
}

// Pairs that are not a run name only themselves, whatever lies between them. A list of a run counts down by one.
function isRun(model, row) {
  const length = model.list_len[row];
  if (length < 2) return true;
  const at = model.list_at[row];
  const numbers = model.list_number;
  return numbers[at] - numbers[at + length - 1] === length - 1 && numbers[at] - numbers[at + 1] === 1;
}

function markHash(model, names, hash) {
  const { low, high, list_at, list_len, list_hash, entries } = model;
  const places = [];
  for (let at = 0; at < entries; at += 1) if (list_hash[at] === hash) places.push(at);
  for (let row = 0; row < names.length; row += 1) {
    if (model.hash[row] === hash) names[row] = 1;
    else if (places.length && list_len[row] && holdsPlace(places, list_at[row], list_len[row])) names[row] = 1;
  }
  const number = numbersOf(model)[hash];
  if (Number.isNaN(number)) return;
  let branch = null;
  for (let row = 0; row < names.length; row += 1) {
    if (names[row]) continue;
    let top = topOf(model, row);
    let height = high[row];
    if (isWithin(model, row, number)) height = numbersOf(model)[top];
    else if (!(low[row] <= number && high[row] >= number) || !isRun(model, row)) {
      // an entry for one block names that one alone
      const entry = entryWith(model, row, number, 2);
      if (entry < 0) continue;
      top = list_hash[entry];
      height = model.list_number[entry];
    }
    branch ??= branchOf(model, hash, number);
    if (branch(top, height) !== REFUTED) names[row] = 1;
  }
}

// So many blocks from a hash down, whose number another row tells.
function isWithin(model, row, number) {
  const length = model.len[row];
  if (!length) return false;
  const top = numbersOf(model)[model.hash[row]];
  return number <= top && number > top - length;
}

function holdsPlace(places, at, length) {
  let below = 0;
  let above = places.length;
  while (below < above) {
    const middle = (below + above) >> 1;
    if (places[middle] < at) below = middle + 1;
    else above = middle;
  }
  return below < places.length && places[below] < at + length;
}

// The number of each hash, where a row tells it. Built when first needed, and again when rows came.
function numbersOf(model) {
  if (model.numbers?.rows === model.rows && model.numbers.entries === model.entries) return model.numbers.of;
  const of = new Float64Array(model.hashCount + 1).fill(NaN);
  for (let row = 0; row < model.rows; row += 1) if (model.hash[row] && !Number.isNaN(model.high[row])) of[model.hash[row]] = model.high[row];
  for (let at = 0; at < model.entries; at += 1) if (model.list_hash[at] && !Number.isNaN(model.list_number[at])) of[model.list_hash[at]] = model.list_number[at];
  model.numbers = { of, rows: model.rows, entries: model.entries };
  return of;
}

function topOf(model, row) {
  if (model.hash[row]) return model.hash[row];
  return model.list_len[row] ? model.list_hash[model.list_at[row]] : 0;
}

// Tells whether a run that begins at some hash holds another block at the number. Every hash is walked at most once
// for one key: a run of a million blocks named by a thousand rows would be walked a thousand times otherwise.
function branchOf(model, hash, number) {
  const parent = parentsOf(model);
  const verdict = new Uint8Array(model.hashCount + 1);
  return (top, topNumber) => {
    const walked = [];
    let at = top;
    let height = topNumber;
    let result = UNKNOWN;
    while (at > 0 && at < verdict.length && height >= number) {
      if (verdict[at]) { result = verdict[at]; break; }
      walked.push(at);
      if (height === number) { result = at === hash ? CONFIRMED : REFUTED; break; }
      at = parent[at];
      height -= 1;
    }
    for (const seen of walked) verdict[seen] = result;
    return result;
  };
}

// Built at the first hash that needs it, and again when rows came.
function parentsOf(model) {
  if (model.parents?.entries === model.entries && model.parents.hashCount === model.hashCount) return model.parents.of;
  const of = new Uint32Array(model.hashCount + 1);
  const { list_hash, list_number, list_run, entries } = model;
  for (let at = 0; at + 1 < entries; at += 1) {
    if (list_run[at] === 1 && list_number[at] - list_number[at + 1] === 1 && list_hash[at] < of.length) of[list_hash[at]] = list_hash[at + 1];
  }
  model.parents = { of, entries: model.entries, hashCount: model.hashCount };
  return of;
}

// A cause nearly always stands before its effect; the few that do not are gone over again until nothing changes.
function inherit(model, names) {
  const { inherits, cause } = model;
  const postponed = [];
  for (let row = 0; row < names.length; row += 1) {
    if (!inherits[row] || names[row]) continue;
    const by = cause[row];
    if (by >= 0 && names[by]) names[row] = 1;
    else if (by > row) postponed.push(row);
  }
  for (let changed = postponed.length > 0; changed;) {
    changed = false;
    for (const row of postponed) {
      if (!names[row] && names[cause[row]]) { names[row] = 1; changed = true; }
    }
    if (changed) {
      for (let row = postponed[0]; row < names.length; row += 1) {
        if (inherits[row] && !names[row] && cause[row] >= 0 && names[cause[row]]) names[row] = 1;
      }
    }
  }
}

/**
 * The hops of a key: rows that name it and the trigger of each. `mask` per row, `names` how many name it, `hops` in
 * order of rows, and the span of time they fill.
 */
export function followKey(model, key) {
  const named = rowsNaming(model, key);
  const mask = named.slice();
  let names = 0;
  for (let row = 0; row < named.length; row += 1) {
    if (!named[row]) continue;
    names += 1;
    if (model.root[row] >= 0) mask[model.root[row]] = 1;
  }
  const hops = [];
  let until = -Infinity;
  let from = Infinity;
  for (let row = 0; row < mask.length; row += 1) {
    if (!mask[row]) continue;
    hops.push(row);
    from = Math.min(from, model.t[row]);
    until = Math.max(until, model.end[row]);
  }
  return { key, mask, names, hops, from, until };
}
