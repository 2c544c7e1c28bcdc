// Panics, gaps and keys on a recorded demo, and a recording with a gap, broken lines and hostile text in it.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { addressWith, detailsOf, drawnOn, launch, openPage, spanShown } from './browser.mjs';
import { HOSTILE, TRACE, linesOf, moorline, plant, rowsOf, scratch, view, withoutBinary } from './recording.mjs';

const RED = '#bf2a1c';
const momentNs = (text) => Math.round(Number(text.replace('s', '')) * 1e9);

test('keys and marks on a recorded demo', { skip: withoutBinary }, async (t) => {
  const browser = await launch();
  const served = await view(TRACE);
  t.after(async () => { await browser.close(); await served.close(); });
  const page = await openPage(browser, served.url, { colorScheme: 'light' });
  const rows = rowsOf(TRACE);
  const records = linesOf(TRACE).map((line) => JSON.parse(line));
  const press = (key) => page.keyboard.press(key);
  const selected = async () => rows.find((row) => String(row.id) === String(page.id));
  const read = async () => { page.id = (await detailsOf(page)).Id; return selected(); };
  await page.locator('#ladder').focus();

  await t.test('n goes from the slowest handling down, p back up', async () => {
    const busy = new Map(records.filter(({ k }) => k === 'done').map((record) => [record.id, record.b ?? 0]));
    const ranked = rows.map((row) => busy.get(row.id) ?? 0).toSorted((a, b) => b - a);
    const seen = [];
    for (const rank of [0, 1, 2, 3]) {
      await press('n');
      seen.push((await read()).id);
      assert.equal(busy.get(seen.at(-1)), ranked[rank]);
    }
    assert.equal(new Set(seen).size, 4);
    for (const id of seen.slice(0, 3).toReversed()) { await press('p'); assert.equal((await read()).id, id); }
    assert.equal((await drawnOn(page)).frames.length, 1, 'what is selected is in view');
  });

  await t.test('j and k go forth and back in time, c to the cause', async () => {
    const before = await read();
    await press('j');
    const after = await read();
    assert.ok(after.t >= before.t && after.id !== before.id);
    assert.ok(!rows.some((row) => row.t > before.t && row.t < after.t), 'nothing lies between');
    await press('k');
    assert.equal((await read()).id, before.id);
    while (!(await read()).c) await press('n');
    const { c } = await read();
    await press('c');
    assert.equal((await read()).id, c);
  });

  await t.test('1 to 5 choose tables, ? tells the keys, Escape leads back', async () => {
    for (const [key, tab] of [['2', 'Followed'], ['3', 'Marks'], ['5', 'Source'], ['1', 'Latency']]) {
      await press(key);
      assert.equal(await page.locator('[role=tab][aria-selected=true]').textContent(), tab);
    }
    await press('?');
    assert.ok(await page.locator('#help').isVisible());
    assert.ok(await page.locator('#help dt').count() > 12);
    await press('Escape');
    assert.ok(!await page.locator('#help').isVisible());
    await press('Escape');
    assert.equal(await page.locator('#selected-name').count(), 0);
    await press('/');
    assert.ok(await page.locator('#follow').evaluate((field) => field === document.activeElement));
    await press('Escape');
  });

  await t.test('e goes from panic to panic and shows what was in the mailbox then', async () => {
    for (const panic of records.filter(({ k }) => k === 'panic')) {
      await press('e');
      const details = await detailsOf(page);
      assert.equal(details.Lane, panic.to);
      assert.ok(Math.abs(momentNs(details.At) - panic.t) <= 1);
      assert.equal(details.Note, panic.note);
      const done = new Map(records.filter(({ k }) => k === 'done' || k === 'drop').map((record) => [record.id, record]));
      const waiting = records.filter(({ k, to, t: sent, id }) => k === 'send' && to === panic.to && sent <= panic.t
        && (!done.has(id) || sent + (done.get(id).w ?? 0) > panic.t));
      // Waits are held in 32 bits by the page: one that ends at the panic itself may fall on either side.
      const said = Number(/then: ([\d,]+)/.exec(await page.textContent('#mailbox'))[1].replaceAll(',', ''));
      assert.ok(Math.abs(said - waiting.length) <= 1, `${said} and ${waiting.length} in the mailbox of ${panic.to}`);
      const { from, until } = await spanShown(page);
      assert.ok(from < panic.t && until > panic.t, 'it is in view');
      assert.ok((await drawnOn(page)).boxes.some(({ colour, width }) => colour === RED && width === 3), 'it stands out');
    }
    await addressWith(page, 'mark=\\d+');
  });

  await t.test('a panic that is clicked among the marks shows its mailbox', async () => {
    await press('3');
    await page.locator('#marks-table button', { hasText: 'panic' }).first().click();
    assert.match(await page.textContent('#details'), /In its mailbox then: \d+/);
    assert.equal(await page.locator('#marks-table button', { hasText: 'panic' }).count(), records.filter(({ k }) => k === 'panic').length);
    assert.equal(await page.locator('#marks-table button', { hasText: 'restart' }).count(), records.filter(({ k }) => k === 'restart').length);
  });

  await t.test('g says that there is no gap where there is none', async () => {
    await press('g');
    assert.match(await page.textContent('#alert'), /There is no gap/);
    assert.deepEqual(page.errors, []);
  });
});

test('a recording with a gap, broken lines and hostile text', { skip: withoutBinary }, async (t) => {
  const browser = await launch();
  const directory = join(scratch(), 'planted');
  const { lost } = plant(TRACE, directory);
  const served = await view(directory);
  t.after(async () => { await browser.close(); await served.close(); });
  const page = await openPage(browser, served.url);

  await t.test('g leads to the gap, which is drawn with its count', async () => {
    await page.locator('#ladder').focus();
    await page.keyboard.press('g');
    assert.match(await page.textContent('#details'), new RegExp(`Gap in the trace.*${lost} records`));
    assert.ok((await drawnOn(page)).texts.some(({ text }) => text === `${lost} records lost`));
  });
  await t.test('what was skipped is said, with its place', async () => {
    await page.click('[data-tab=source]');
    assert.match(await page.locator('[data-tab=source]').textContent(), /\(3 skipped\)/);
    // The torn last line may still be being written, and is no fault.
    assert.ok(await page.locator('#skipped li', { hasText: /first in .*line \d+/ }).count() >= 2);
  });
  await t.test('text from outside is only ever text', async () => {
    const inside = join(directory, '..', 'hostile.html');
    moorline('trace', 'view', directory, '--out', inside);
    for (const each of [page, await openPage(browser, `file://${inside}`, { offline: true })]) {
      await each.click('[data-tab=latency]');
      await each.locator('#latency-table td:first-child button', { hasText: HOSTILE.slice(0, 60) }).click();
      assert.equal(await each.textContent('#selected-name'), HOSTILE);
      await each.locator('#ladder').focus();
      await each.keyboard.press('e');
      assert.equal((await detailsOf(each)).Note, HOSTILE);
      assert.equal(await each.locator('img, main script').count(), 0);
      assert.equal(await each.title(), 'moorline trace');
      assert.deepEqual(each.errors, []);
    }
  });
});
