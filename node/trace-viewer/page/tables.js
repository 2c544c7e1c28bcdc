// The tables under the ladder: latency, the followed key, marks, two runs, and the source.

import { el, swatch } from './dom.js';
import { latencyByType, slowestRows, METRICS } from './latency.js';
import { PARTS } from './path.js';
import { typeColour } from './colours.js';
import { formatCount, formatMoment, formatShare, formatSpan, shortHash, tame } from './text.js';

export const TABS = { latency: 'Latency', follow: 'Followed', marks: 'Marks', compare: 'Compare', source: 'Source' };
const LIST_LIMIT = 500;
const COLUMNS = ['p50', 'p95', 'p99', 'max'];

/** Fills the panel with the table of the chosen tab. */
export function drawTable(app, panel) {
  const make = { latency: latencyTable, follow: followTable, marks: marksTable, compare: compareTable, source: sourceTable };
  panel.replaceChildren(...[make[app.view.tab](app)].flat());
}

function sortButton(app, key, text, name) {
  const on = app.view.sort === key;
  const arrow = on ? (app.view.up ? ' \u25b4' : ' \u25be') : '';
  return el('button', { type: 'button', 'data-at': `sort ${key}`, 'aria-label': `Sort by ${name ?? text}`, onclick: () => app.change({ sort: key, up: on ? !app.view.up : false }) }, text + arrow);
}

function sortState(app, key) {
  return app.view.sort === key ? (app.view.up ? 'ascending' : 'descending') : undefined;
}

function sortValue(app, entry) {
  const { sort } = app.view;
  if (sort === 'type') return app.model.types[entry.type];
  const [metric, column] = sort.split('.');
  return column ? entry[metric][column] : entry[metric];
}

function latencyTable(app) {
  const { model, view, shown } = app;
  shown.latency ??= latencyByType(model, shown);
  const sign = view.up ? 1 : -1;
  const entries = [...shown.latency].sort((a, b) => {
    const [x, y] = [sortValue(app, a), sortValue(app, b)];
    if (typeof x === 'string') return -sign * (x < y ? 1 : x > y ? -1 : 0);
    return sign * ((Number.isNaN(x) ? -1 : x) - (Number.isNaN(y) ? -1 : y)) || a.type - b.type;
  });
  const slowest = (type, metric) => {
    const [row] = slowestRows(model, shown, metric, type, 1);
    if (row !== undefined) app.goTo(row);
  };
  const head = el('thead', {},
    el('tr', {}, el('th'), el('th'), el('th'), ...Object.values(METRICS).map((name) => el('th', { className: 'group', colspan: 4, scope: 'colgroup' }, name))),
    el('tr', {},
      el('th', { scope: 'col', 'aria-sort': sortState(app, 'type') }, sortButton(app, 'type', 'Message')),
      el('th', { scope: 'col', className: 'num', 'aria-sort': sortState(app, 'count') }, sortButton(app, 'count', 'Count')),
      el('th', { scope: 'col', className: 'num', 'aria-sort': sortState(app, 'bad') }, sortButton(app, 'bad', 'Failed')),
      ...Object.keys(METRICS).flatMap((metric) => COLUMNS.map((column, at) => el('th', { scope: 'col', className: at ? 'num' : 'num group', 'aria-sort': sortState(app, `${metric}.${column}`) },
        sortButton(app, `${metric}.${column}`, column, `${METRICS[metric]} ${column}`))))));
  const body = el('tbody', {}, ...entries.map((entry) => {
    const type = model.types[entry.type];
    return el('tr', { className: app.selected >= 0 && model.type[app.selected] === entry.type ? 'on' : '' },
      el('td', { title: type }, swatch(typeColour(model, entry.type)), el('button', { type: 'button', 'data-at': `slowest ${type}`, title: `Slowest ${type}`, onclick: () => slowest(entry.type, app.sortMetric()) }, type.slice(0, 80))),
      el('td', { className: 'num' }, formatCount(entry.count)),
      el('td', { className: entry.bad ? 'num bad' : 'num' }, entry.bad ? formatCount(entry.bad) : ''),
      ...Object.keys(METRICS).flatMap((metric) => COLUMNS.map((column, at) => {
        const text = formatSpan(entry[metric][column]);
        const shownText = column === 'max' && Number.isFinite(entry[metric].max)
          ? el('button', { type: 'button', 'data-at': `${metric} ${type}`, 'aria-label': `Slowest ${METRICS[metric]} of ${type}: ${text}`, onclick: () => slowest(entry.type, metric) }, text) : text;
        return el('td', { className: at ? 'num' : 'num group' }, shownText);
      })));
  }));
  return [el('table', { id: 'latency-table' }, head, body), entries.length ? null : el('p', {}, 'Nothing passes the filters.')].filter(Boolean);
}

function partColour(app, part) {
  const { wait, depth, muted, select, path } = app.colours;
  return { queue: wait, handling: select, asynchronous: path, network: depth, others: muted }[part];
}

function splitBar(app, step) {
  const bar = el('div', { className: 'split', 'aria-hidden': 'true' });
  for (const part of PARTS) {
    const piece = el('span');
    piece.style.width = `${step.total > 0 ? (step[part] / step.total) * 100 : 0}%`;
    piece.style.background = partColour(app, part);
    bar.append(piece);
  }
  return bar;
}

function followTable(app) {
  const { model, followed, path } = app;
  if (!followed) return el('p', {}, 'Nothing is followed. Type a block hash, a number, a peer or a session (s12) above (key /), or follow the selected message (key f).');
  const { totals, steps, complete } = path;
  const parts = PARTS.filter((part) => totals[part] > 0).map((part) => el('span', { className: 'part' }, swatch(partColour(app, part)), `${part} `, el('span', { className: 'num' }, `${formatSpan(totals[part])} ${formatShare(totals[part] / totals.total)}`)));
  const summary = el('p', { id: 'path-summary' }, el('strong', {}, followed.key.label), `: ${formatCount(followed.hops.length)} hops, ${formatCount(followed.names)} name it; critical path of ${steps.length} hops, `, el('strong', { className: 'num' }, formatSpan(totals.total)), complete ? '' : ' (its beginning is not in the trace)');
  const head = el('thead', {}, el('tr', {}, ...['Hop', 'At', 'Total', '%', 'Split', ...PARTS].map((name, at) => el('th', { scope: 'col', className: at === 0 || at === 4 ? '' : 'num' }, name))));
  const rows = steps.slice(0, LIST_LIMIT).map((step) => el('tr', { className: step.row === app.selected ? 'on' : '' },
    el('td', {}, el('button', { type: 'button', 'data-at': `hop ${step.row}`, onclick: () => app.goTo(step.row) }, model.types[model.type[step.row]].slice(0, 60)), step.via ? el('span', { className: 'muted' }, ` via ${step.via} others`) : null),
    el('td', { className: 'num' }, `+${formatSpan(model.t[step.row] - model.t[steps[0].row])}`),
    el('td', { className: 'num' }, formatSpan(step.total)),
    el('td', { className: 'num' }, formatShare(step.total / totals.total)),
    el('td', {}, splitBar(app, step)),
    ...PARTS.map((part) => el('td', { className: 'num' }, step[part] ? formatSpan(step[part]) : ''))));
  return [summary, el('p', {}, ...parts), el('table', { id: 'path-table' }, head, el('tbody', {}, ...rows))];
}

function marksTable(app) {
  const { model } = app;
  if (!model.marks.length) return el('p', {}, 'No panic, restart, gap or refusal in this trace.');
  const weight = (mark) => (mark.kind === 'panic' || mark.kind === 'gap' ? 0 : 1);
  const order = model.marks.map((_, at) => at);
  const listed = order.length > LIST_LIMIT ? order.sort((a, b) => weight(model.marks[a]) - weight(model.marks[b]) || a - b).slice(0, LIST_LIMIT) : order;
  const rows = listed.map((at) => {
    const mark = model.marks[at];
    const what = mark.kind === 'gap' ? `${formatCount(mark.n)} records lost` : `${mark.kind}${mark.gen > 0 ? `, generation ${mark.gen}` : ''}`;
    return el('tr', { className: at === app.view.mark ? 'on' : '' },
      el('td', {}, el('button', { type: 'button', 'data-at': `mark ${at}`, className: weight(mark) ? '' : 'bad', onclick: () => app.goToMark(at) }, what)),
      el('td', { className: 'num' }, formatMoment(mark.t, 1e3)),
      el('td', {}, mark.lane === null || mark.lane === undefined ? '' : model.lanes[mark.lane] ?? ''),
      el('td', { className: 'wide' }, mark.note));
  });
  const head = el('thead', {}, el('tr', {}, ...['What', 'At', 'Lane', 'Note'].map((name) => el('th', { scope: 'col' }, name))));
  return [listed.length < model.marks.length ? el('p', {}, `${LIST_LIMIT} of ${formatCount(model.marks.length)}, panics and gaps first.`) : null,
    el('table', { id: 'marks-table' }, head, el('tbody', {}, ...rows))].filter(Boolean);
}

function change([a, b]) {
  return a > 0 && b !== null ? `${b >= a ? '+' : '\u2212'}${formatShare(Math.abs(b / a - 1))}` : '';
}

function compareTable(app) {
  const { diff } = app;
  if (!diff) return el('p', {}, 'There is no second run to compare with. Open two: moorline trace view A B.');
  const names = [tame(diff.a), tame(diff.b)];
  const header = (columns) => el('thead', {}, el('tr', {}, ...columns.map((name, at) => el('th', { scope: 'col', className: at ? 'num' : '' }, name))));
  const pair = (values, write) => [el('td', { className: 'num group' }, write(values[0] ?? NaN)), el('td', { className: 'num' }, write(values[1] ?? NaN)), el('td', { className: 'num' }, change(values))];
  const messages = diff.messages.map((entry) => el('tr', {}, el('td', {}, tame(entry.type).slice(0, 60)), ...pair(entry.count, formatCount), ...pair(entry.busy_p50_ns, formatSpan), ...pair(entry.busy_p99_ns, formatSpan), ...pair(entry.wait_p99_ns, formatSpan)));
  const blocks = diff.blocks.slice(0, LIST_LIMIT).map((block) => el('tr', {},
    el('td', {}, el('button', { type: 'button', 'data-at': `block ${tame(block.hash)}`, onclick: () => app.follow(tame(block.hash)) }, `${formatCount(block.number)} ${shortHash(tame(block.hash))}`)),
    ...pair(block.elapsed_ns, formatSpan), ...pair(block.hops, formatCount),
    el('td', { className: 'wide' }, block.missing.map(tame).join(', ')), el('td', { className: 'wide' }, block.extra.map(tame).join(', '))));
  return [el('p', {}, `a: ${names[0]} \u00b7 b: ${names[1]}`),
    el('table', { id: 'compare-messages' }, header(['Message', 'count a', 'b', '', 'handling p50 a', 'b', '', 'handling p99 a', 'b', '', 'wait p99 a', 'b', '']), el('tbody', {}, ...messages)),
    el('p', {}, `Blocks that differ most: ${blocks.length} of ${formatCount(diff.blocks_total)}`),
    el('table', { id: 'compare-blocks' }, header(['Block', 'elapsed a', 'b', '', 'hops a', 'b', '', 'only in a', 'only in b']), el('tbody', {}, ...blocks))];
}

function sourceTable(app) {
  const { model } = app;
  const facts = [['Source', model.source], ['Run', model.run], ['Written by', model.by], ['Clock', model.clock === 'sim' ? 'simulated' : 'real'],
    ['Messages', formatCount(model.rows)], ['Span', `${formatMoment(model.first, 1e6)} to ${formatMoment(model.last, 1e6)}`], ['Out of order by at most', formatSpan(model.disorder)]];
  if (model.trimmed) facts.push(['Trimmed', `${formatCount(model.trimmed)} older messages are not shown`]);
  const lost = model.marks.reduce((sum, mark) => sum + (mark.kind === 'gap' ? mark.n : 0), 0);
  facts.push(['Lost in gaps', `${formatCount(lost)} records`]);
  const skipped = model.skipped.map((skip) => el('li', {}, `${skip.what}: ${formatCount(skip.count)}, first in ${skip.file}, line ${formatCount(skip.line)}`));
  return [el('dl', {}, ...facts.flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)])),
    el('h2', {}, skipped.length ? 'Skipped lines' : 'No line was skipped'), el('ul', { id: 'skipped' }, ...skipped)];
}
