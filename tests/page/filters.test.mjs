// Filters and the latency table of a recorded demo, held against its lines as they were written.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addressWith, detailsOf, drawnOn, follow, launch, openPage, shownCount, spanNs } from './browser.mjs';
import { TRACE, followed, rowsOf, view, withoutBinary } from './recording.mjs';

const touches = (lane) => (row) => row.f === lane || row.to === lane;
const failed = (row) => row.bad || row.state === 'dropped' || row.state === 'panicked';

test('filters of a recorded demo', { skip: withoutBinary }, async (t) => {
  const browser = await launch();
  const served = await view(TRACE);
  t.after(async () => { await browser.close(); await served.close(); });
  const page = await openPage(browser, served.url);
  const rows = rowsOf(TRACE);
  const count = (passes) => rows.filter(passes).length;
  const type = async (field, text) => { await page.fill(`#${field}`, text); await page.press(`#${field}`, 'Enter'); };
  const clear = async () => { await page.click('#clear'); assert.equal(await shownCount(page), rows.length); };
  const choose = async (menu, name) => {
    await page.click(`#${menu}-menu > summary`);
    await page.locator(`#${menu}-list label`, { hasText: new RegExp(`^${name}$`) }).locator('input').click();
    await page.click(`#${menu}-menu > summary`);
  };
  /** A time in whole microseconds that such a share of the rows stays below. */
  const microseconds = (field, share) => {
    const times = rows.map((row) => row[field]).filter((ns) => ns > 0).sort((a, b) => a - b);
    return Math.floor(times[Math.floor(times.length * share)] / 1e3);
  };
  const removes = async (passes, what) => {
    const left = count(passes);
    assert.ok(left > 0 && left < rows.length, `${what} would leave ${left}`);
    assert.equal(await shownCount(page), left, what);
    const listed = await page.locator('#latency-table tbody tr td:nth-child(2)').allTextContents();
    assert.equal(listed.reduce((sum, text) => sum + Number(text.replaceAll(',', '')), 0), left, `the table counts what ${what} leaves`);
  };

  await t.test('none: every row of the recording is there', async () => assert.equal(await shownCount(page), rows.length));

  await t.test('by lane, which leaves the ladder too', async () => {
    await choose('lanes', 'rlpx');
    await removes((row) => !touches('rlpx')(row), 'no rlpx');
    assert.ok(!(await drawnOn(page)).texts.some(({ text }) => text === 'rlpx'));
    await choose('lanes', 'store');
    await removes((row) => !touches('rlpx')(row) && !touches('store')(row), 'neither rlpx nor store');
    await addressWith(page, 'no-lane=rlpx&no-lane=store');
    await clear();
    assert.ok((await drawnOn(page)).texts.some(({ text }) => text === 'rlpx'));
  });
  await t.test('by message', async () => {
    await choose('types', 'PeerReport');
    await removes((row) => row.m !== 'PeerReport', 'no PeerReport');
    assert.equal(await page.locator('#latency-table tbody', { hasText: 'PeerReport' }).count(), 0);
    await clear();
  });
  await t.test('by outcome', async () => {
    const outcomes = { bad: failed, dropped: (row) => row.state === 'dropped', flight: (row) => row.state === 'flight', panicked: (row) => row.state === 'panicked' };
    for (const [outcome, passes] of Object.entries(outcomes)) {
      await page.selectOption('#outcome', outcome);
      assert.equal(await shownCount(page), count(passes), outcome);
    }
    await page.selectOption('#outcome', 'bad');
    await removes(failed, 'failed');
    await clear();
  });
  await t.test('by how long it took and waited, in any unit', async () => {
    // how long things take differs from recording to recording
    const took = (share) => microseconds('took', share);
    for (const [text, us] of [[`${took(0.5)}us`, took(0.5)], [`${took(0.7) / 1e3}ms`, took(0.7)], [`${took(0.9) / 1e6} s`, took(0.9)]]) {
      await type('took', text);
      await removes((row) => row.took >= us * 1e3, `took ${text}`);
    }
    await clear();
    const waited = (share) => microseconds('wait', share);
    for (const [text, us] of [[`${waited(0.5)}us`, waited(0.5)], [`${waited(0.9) / 1e3}`, waited(0.9)]]) {
      await type('waited', text);
      await removes((row) => row.wait >= us * 1e3, `waited ${text}`);
    }
    await type('waited', 'soon');
    assert.match(await page.textContent('#alert'), /soon is not a span of time/);
    await clear();
  });
  await t.test('by depth of the mailbox', async () => {
    const deepest = Math.max(...rows.map((row) => row.d ?? 0));
    await type('depth', `${deepest}`);
    await removes((row) => row.d >= deepest, `depth ${deepest}`);
    await clear();
  });
  await t.test('by the key that is named', async () => {
    for (const key of ['300', 's2', rows.find((row) => row.key?.h).key.h]) {
      await type('key', key);
      assert.equal(await shownCount(page), followed(key, TRACE).naming, key);
    }
    await clear();
  });
  await t.test('all together, and within what is followed', async () => {
    await choose('lanes', 'rpc');
    await choose('types', 'PeerReport');
    await type('took', '20us');
    await type('waited', '10us');
    await type('depth', '1');
    const passes = (row) => !touches('rpc')(row) && row.m !== 'PeerReport' && row.took >= 2e4 && row.wait >= 1e4 && row.d >= 1;
    assert.equal(await page.inputValue('#took'), '20.0\u00b5s');
    await removes(passes, 'all together');
    await follow(page, '300');
    const within = await shownCount(page);
    assert.ok(within > 0 && within < count(passes) && within < followed('300', TRACE).hops);
    await page.click('#unfollow');
    await page.click('[data-tab=latency]');
    await removes(passes, 'all together again');
    await clear();
  });

  await t.test('the latency table sorts by every column, both ways', async () => {
    await page.click('[data-tab=latency]');
    const column = async (at) => (await page.locator(`#latency-table tbody tr td:nth-child(${at})`).allTextContents());
    for (const [name, at] of [['wait p50', 4], ['wait max', 7], ['handling p99', 10], ['asynchronous p95', 13]]) {
      const button = page.getByRole('button', { name: `Sort by ${name}`, exact: true });
      const header = page.locator('#latency-table th', { has: button });
      for (let presses = 0; presses < 3 && await header.getAttribute('aria-sort') !== 'descending'; presses += 1) await button.click();
      const values = (await column(at)).map(spanNs).filter((value) => !Number.isNaN(value));
      assert.ok(values.length > 10, `${name}: ${values.length} figures`);
      assert.deepEqual(values, [...values].sort((a, b) => b - a), `${name} descends`);
      await button.click();
      assert.equal(await header.getAttribute('aria-sort'), 'ascending');
      const rising = (await column(at)).map(spanNs).filter((value) => !Number.isNaN(value));
      assert.deepEqual(rising, [...values].sort((a, b) => a - b), `${name} ascends`);
    }
    await page.getByRole('button', { name: 'Sort by Message', exact: true }).click();
    const names = await page.locator('#latency-table tbody td:first-child').getByRole('button').allTextContents();
    assert.deepEqual(names.toSorted(), names.at(0) < names.at(-1) ? names : names.toReversed());
    await addressWith(page, 'sort=type');
  });

  await t.test('its figures are those of the lines, and a click leads to the slowest', async () => {
    const byName = new Map();
    for (const row of rows.filter(({ k }) => k === 'send')) byName.set(row.m, [...byName.get(row.m) ?? [], row]);
    const [most] = [...byName].toSorted((a, b) => b[1].length - a[1].length);
    const longest = most[1].reduce((a, b) => (b.wait > a.wait ? b : a));
    const line = page.locator('#latency-table tbody tr', { has: page.locator(`td[title="${most[0]}"]`) });
    assert.equal(await line.locator('td').nth(1).textContent(), String(most[1].length));
    const button = line.getByRole('button', { name: /^Slowest wait of/ });
    assert.ok(Math.abs(spanNs(await button.textContent()) / longest.wait - 1) < 0.006);
    await button.click();
    assert.equal((await detailsOf(page)).Id, String(longest.id));
    assert.equal((await drawnOn(page)).frames.length, 1, 'it is in view and framed');
  });

  await t.test('names of messages can be read, cut by an ellipsis at worst', async () => {
    const widths = await page.locator('#latency-table tbody td:first-child button').evaluateAll((all) => all.map((each) => each.clientWidth / Math.min(each.scrollWidth, 200)));
    assert.ok(Math.min(...widths) > 0.9, `${widths}`);
    assert.deepEqual(page.errors, []);
  });
});
