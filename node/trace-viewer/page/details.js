// Everything about what is selected: one message, or one mark with the mailbox as it was.

import { el } from './dom.js';
import { hashText, portOfRow, NO_LANE, STATE } from './decode.js';
import { causesOf, effectsOf, mailboxAt } from './rows.js';
import { formatBytes, formatCount, formatMoment, formatSpan, shortHash } from './text.js';

const STATES = ['in flight or lost', 'done', 'dropped, never handled', 'its handling panicked'];
const KINDS = ['message', 'timer', 'start', 'restart'];
const LIST_LIMIT_DETAILS = 60;

/** Fills the pane with the selected message or mark. */
export function drawDetails(app, pane) {
  if (app.selected >= 0) pane.replaceChildren(...rowDetails(app, app.selected));
  else if (app.model.marks[app.view.mark]) pane.replaceChildren(...markDetails(app, app.model.marks[app.view.mark]));
  else pane.replaceChildren(el('p', { className: 'muted' }, 'Select a message: click it, click a figure in the table, or press n for the slowest.'));
}

/** One sentence about a row, for the reader of the screen. */
export function describeRow(app, row) {
  const { model } = app;
  const origin = model.from[row] === NO_LANE ? '' : ` from ${model.lanes[model.from[row]]}`;
  return `${model.types[model.type[row]]}${origin} to ${model.lanes[model.to[row]]}, ${STATES[model.state[row]]}, waited ${formatSpan(model.wait[row])}, handled ${formatSpan(model.busy[row])}`;
}

function rowLink(app, row) {
  const { model } = app;
  return el('button', { type: 'button', 'data-at': `row ${row}`, className: 'link', onclick: () => app.goTo(row) },
    `${model.types[model.type[row]].slice(0, 60)} (${formatSpan(model.end[row] - model.t[row])})`);
}

function rowList(app, rows) {
  return el('ul', {}, ...rows.slice(0, LIST_LIMIT_DETAILS).map((row) => el('li', {}, rowLink(app, row))),
    rows.length > LIST_LIMIT_DETAILS ? el('li', {}, `and ${formatCount(rows.length - LIST_LIMIT_DETAILS)} more`) : null);
}

/** The keys that a row names, best first, as one could type them into the field: `[what, key]`. */
export function keysOf(model, row) {
  const keys = [];
  if (model.hash[row]) keys.push(['block', hashText(model, model.hash[row])]);
  else if (model.list_len[row] && model.list_hash[model.list_at[row]]) keys.push(['block', hashText(model, model.list_hash[model.list_at[row]])]);
  if (!Number.isNaN(model.high[row])) keys.push(['number', String(model.high[row])]);
  if (!Number.isNaN(model.session[row])) keys.push(['session', `s${model.session[row]}`]);
  if (model.peer[row]) keys.push(['peer', model.peers[model.peer[row] - 1]]);
  if (!keys.length && model.inherits[row] && model.cause[row] >= 0) return keysOf(model, model.cause[row]);
  return keys;
}

function rowDetails(app, row) {
  const { model } = app;
  const port = portOfRow(model, row);
  const facts = [
    ['', KINDS[model.kind[row]] + (model.bad[row] ? ', tells of a failure' : '')],
    ['Outcome', STATES[model.state[row]]],
    ['From', model.from[row] === NO_LANE ? 'nobody' : model.lanes[model.from[row]]],
    ['To', model.lanes[model.to[row]]],
    ['Sent', formatMoment(model.t[row])],
    ['Waited', formatSpan(model.wait[row])],
    ['Handling', formatSpan(model.busy[row])],
    ['Asynchronous', formatSpan(model.late[row])],
  ];
  if (port) facts.push(['Port', port.name], ['Depth', `${formatCount(model.depth[row])} after sending, ${model.state[row] === STATE.inFlight ? 'not handled' : `${formatCount(model.depth_after[row])} after handling`}, limit ${formatCount(port.items)}`]);
  facts.push(['Size', formatBytes(model.bytes[row])], ['Id', String(model.id[row])]);
  if (!Number.isNaN(model.low[row])) facts.push(['Numbers', model.low[row] === model.high[row] ? formatCount(model.low[row]) : `${formatCount(model.low[row])} to ${formatCount(model.high[row])}`]);
  if (model.list_len[row]) facts.push(['Names', `${formatCount(model.list_len[row])} blocks`]);
  if (model.note[row]) facts.push(['Note', model.notes[model.note[row] - 1] ?? '']);
  if (model.inherits[row]) facts.push(['About', 'what its cause is about']);
  const { chain, complete } = causesOf(model, row);
  const effects = effectsOf(model, row, LIST_LIMIT_DETAILS + 1);
  const actions = keysOf(model, row).flatMap(([what, key]) => [
    el('button', { type: 'button', 'data-at': `follow ${key}`, title: key, onclick: () => app.follow(key) }, `Follow ${what} ${shortHash(key)}`),
    el('button', { type: 'button', 'data-at': `copy ${what}`, 'aria-label': `Copy ${what}`, onclick: (event) => copyKey(event.target, key) }, 'Copy')]);
  return [
    el('h2', { id: 'selected-name' }, model.types[model.type[row]]),
    actions.length ? el('div', { className: 'row' }, ...actions) : null,
    list(facts),
    el('h2', {}, chain.length > 1 ? 'Caused by' : 'It is a trigger'), rowList(app, chain.slice(1)),
    complete ? null : el('p', { className: 'muted' }, 'What came before is not in this trace.'),
    el('h2', {}, effects.length ? 'It caused' : 'It caused nothing'), rowList(app, effects),
  ].filter(Boolean);
}

// Files opened from disk may not write to the clipboard; the text is then selected for the person to copy.
async function copyKey(button, key) {
  try {
    await navigator.clipboard.writeText(key);
    button.textContent = 'Copied';
  } catch {
    const code = el('code', {}, key);
    button.after(code);
    getSelection().selectAllChildren(code);
  }
}

function list(facts) {
  return el('dl', {}, ...facts.filter(([name]) => name).flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)]),
    el('dt', {}, 'Kind'), el('dd', {}, facts[0][1]));
}

function markDetails(app, mark) {
  const { model } = app;
  const facts = [['', mark.kind], ['At', formatMoment(mark.t)]];
  const hasLane = mark.lane !== null && mark.lane !== undefined;
  if (hasLane) facts.push(['Lane', model.lanes[mark.lane] ?? '']);
  if (mark.gen !== undefined && mark.gen !== null) facts.push(['Generation', String(mark.gen)]);
  if (mark.kind === 'gap') facts.push(['Lost', `${formatCount(mark.n)} records`], ['Between', `${formatMoment(mark.from)} and ${formatMoment(mark.until)}`]);
  if (mark.note) facts.push(['Note', mark.note]);
  const parts = [el('h2', { id: 'selected-name' }, mark.kind === 'gap' ? 'Gap in the trace' : `${mark.kind} of ${model.lanes[mark.lane] ?? 'an actor'}`), list(facts)];
  if (mark.row >= 0) parts.push(el('h2', {}, 'It was handling'), rowList(app, [mark.row]));
  if (mark.kind === 'panic' && hasLane) {
    const waiting = mailboxAt(model, mark.lane, mark.t);
    parts.push(el('h2', { id: 'mailbox' }, `In its mailbox then: ${formatCount(waiting.length)}`), rowList(app, waiting));
  }
  return parts;
}
