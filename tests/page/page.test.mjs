// The page in Chromium. Everything is discovered from the page, so that a real recording serves as well.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, test } from 'node:test';
import { launch, openPage } from './browser.mjs';
import { serve } from './serve.mjs';

const { MOORLINE, TRACE } = process.env;
let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser.close(); });

async function recorded() {
  const child = spawn(MOORLINE, ['trace', 'view', TRACE, '--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  const url = await new Promise((found, failed) => {
    child.on('exit', () => failed(new Error(`no URL in: ${said}`)));
    child.stdout.on('data', (text) => {
      said += text;
      const match = /http:\/\/[^\s]+/.exec(said);
      if (match) found(match[0]);
    });
  });
  return { url, close: () => child.kill() };
}

const shownCount = async (page) => Number((await page.textContent('#shown')).split(' of ')[0].replaceAll(',', ''));

function suite(name, source) {
  test(name, async (t) => {
    const served = await source();
    t.after(() => served.close());
    const page = await openPage(browser, served.url);
    const total = await shownCount(page);

    await t.test('opens with lanes, a table and no error', async () => {
      assert.ok(total > 0);
      assert.ok(await page.locator('#latency-table tbody tr').count() > 0);
      assert.equal(await page.title(), 'moorline trace');
    });
    await t.test('a filter removes, and clearing brings all back', async () => {
      await page.fill('#took', '100us');
      await page.press('#took', 'Enter');
      assert.ok(await shownCount(page) < total);
      await page.click('#clear');
      assert.equal(await shownCount(page), total);
    });
    await t.test('the slowest is selected, and the address brings it back', async () => {
      await page.locator('#latency-table td button').first().click();
      const name = await page.textContent('#selected-name');
      assert.notEqual(await page.textContent('#said'), '');
      await page.waitForTimeout(200);
      const again = await openPage(browser, page.url());
      assert.equal(await again.textContent('#selected-name'), name);
      await again.context().close();
    });
    await t.test('a block is followed to its critical path, and back leads out of it', async () => {
      let button = page.locator('#details button', { hasText: 'Follow block' }).first();
      for (let tries = 0; tries < 60 && await button.count() === 0; tries += 1) await page.keyboard.press('n');
      button = page.locator('#details button', { hasText: 'Follow block' }).first();
      await button.click();
      assert.ok(await page.locator('#path-table tbody tr').count() > 0);
      assert.ok(await shownCount(page) < total);
      await page.click('#unfollow');
      assert.equal(await shownCount(page), total);
      await page.goBack();
      assert.ok(await shownCount(page) < total);
      await page.click('#unfollow');
    });
    await t.test('keys zoom, pan, open help and close it', async () => {
      await page.locator('#ladder').focus();
      await page.keyboard.press('0');
      await page.waitForTimeout(200);
      const whole = page.url();
      for (const key of ['+', '+', 'ArrowRight']) await page.keyboard.press(key);
      await page.waitForTimeout(200);
      assert.notEqual(page.url(), whole);
      await page.keyboard.press('?');
      assert.ok(await page.locator('#help').isVisible());
      await page.keyboard.press('Escape');
      assert.ok(!await page.locator('#help').isVisible());
    });
    await t.test('controls have names, and nothing went wrong', async () => {
      const nameless = await page.evaluate(() => [...document.querySelectorAll('button, input, select, canvas')]
        .filter((each) => !(each.textContent.trim() || each.ariaLabel || each.labels?.length)).map((each) => each.outerHTML));
      assert.deepEqual(nameless, []);
      assert.deepEqual(page.errors, []);
    });
  });
}

suite('made-up columns', () => serve());
if (MOORLINE && TRACE) suite('a recording', recorded);

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
  await page.waitForFunction((count) => Number(document.querySelector('#shown').textContent.split(' of ')[0].replaceAll(',', '')) > count + 1, begin);
  await page.click('#pause');
  await page.waitForTimeout(800);
  const paused = await shownCount(page);
  await page.waitForTimeout(900);
  assert.equal(await shownCount(page), paused);
});
