// The page on made-up columns, which hold what a recording seldom has. Needs no binary.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { addressWith, launch, nextFrame, openPage, shownCount } from './browser.mjs';
import { serve } from './serve.mjs';

let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser.close(); });

test('opens, filters, follows and comes back by the address', async (t) => {
  const served = await serve();
  t.after(() => served.close());
  const page = await openPage(browser, served.url);
  const total = await shownCount(page);
  assert.ok(total > 0);
  await page.fill('#took', '100us');
  await page.press('#took', 'Enter');
  assert.ok(await shownCount(page) < total);
  await page.click('#clear');
  assert.equal(await shownCount(page), total);
  await page.locator('#latency-table td button').first().click();
  const name = await page.textContent('#selected-name');
  await addressWith(page, '[#&]id=\\d');
  const again = await openPage(browser, page.url());
  assert.equal(await again.textContent('#selected-name'), name);
  await page.locator('#details button', { hasText: 'Follow block' }).first().click();
  assert.ok(await page.locator('#path-table tbody tr').count() > 0);
  assert.ok(await shownCount(page) < total);
  await page.click('#unfollow');
  assert.equal(await shownCount(page), total);
  await page.goBack();
  assert.ok(await shownCount(page) < total);
  assert.deepEqual([...page.errors, ...again.errors], []);
});

test('a panic shows its mailbox, a gap its count, two runs their difference; hostile text is text', async (t) => {
  const served = await serve();
  t.after(() => served.close());
  const page = await openPage(browser, served.url);
  await page.keyboard.press('e');
  assert.match(await page.textContent('#mailbox'), /In its mailbox then: \d+/);
  await page.keyboard.press('g');
  assert.match(await page.textContent('#details'), /1,234 records/);
  await page.click('[data-tab=compare]');
  assert.ok(await page.locator('#compare-blocks tbody tr').count() > 0);
  await page.click('[data-tab=source]');
  assert.match(await page.textContent('#panel'), /torn line <script>/);
  assert.equal(await page.locator('img, main script').count(), 0);
  assert.equal(await page.title(), 'moorline trace');
  const saved = await openPage(browser, `${served.url}page.html`);
  assert.equal(await shownCount(saved), await shownCount(page));
  assert.deepEqual([...page.errors, ...saved.errors], []);
});

test('a live source is followed until it is paused', async (t) => {
  const served = await serve({ live: true });
  t.after(() => served.close());
  const page = await openPage(browser, served.url);
  const begin = await shownCount(page);
  const grown = (least) => page.waitForFunction((count) => Number(document.querySelector('#shown').textContent.split(' of ')[0].replaceAll(',', '')) > count, least);
  await grown(begin + 1);
  await page.click('#pause');
  await page.waitForFunction(() => document.querySelector('#lag').textContent === 'paused');
  await nextFrame(page);
  const paused = await shownCount(page);
  // A question that was under way is answered after the pause, and must not be taken.
  for (let times = 0; times < 4; times += 1) await page.evaluate(async () => (await fetch('./changes')).arrayBuffer());
  assert.equal(await shownCount(page), paused);
  await page.click('#pause');
  await grown(paused);
  assert.deepEqual(page.errors, []);
});
