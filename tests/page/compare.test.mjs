// Two recorded demos compared.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { launch, openPage } from './browser.mjs';
import { TRACE, TRACE_OTHER, followed, rowsOf, scratch, view, withoutBinary } from './recording.mjs';

test('two recorded demos', { skip: withoutBinary }, async (t) => {
  const browser = await launch();
  const served = await view(TRACE, TRACE_OTHER);
  t.after(async () => { await browser.close(); await served.close(); });
  const out = join(scratch(), 'two.html');
  writeFileSync(out, await (await fetch(`${served.url}page.html`)).text());
  const pages = { served: await openPage(browser, served.url), saved: await openPage(browser, `file://${out}`, { offline: true }) };
  const counts = [TRACE, TRACE_OTHER].map((trace) => {
    const found = new Map();
    for (const row of rowsOf(trace)) found.set(row.m, (found.get(row.m) ?? 0) + 1);
    return found;
  });

  for (const [name, page] of Object.entries(pages)) {
    await t.test(`${name}: messages are counted in both`, async () => {
      await page.click('[data-tab=compare]');
      const lines = await page.locator('#compare-messages tbody tr').evaluateAll((all) => all.map((line) => [...line.cells].slice(0, 3).map((cell) => cell.textContent)));
      assert.ok(lines.length > 20);
      for (const [message, a, b] of lines) {
        const number = (text) => Number(text.replaceAll(',', ''));
        assert.deepEqual([number(a), number(b)], counts.map((found) => found.get(message) ?? 0), message);
      }
    });
    await t.test(`${name}: a block leads to its path in the first run`, async () => {
      const block = page.locator('#compare-blocks tbody tr').first();
      const carriers = Number(await block.locator('td').nth(4).textContent());
      await block.getByRole('button').click();
      await page.waitForSelector('#path-summary');
      const hash = await page.inputValue('#follow');
      const { hops } = followed(hash, TRACE);
      // A comparison counts rows that carry the hash; following also finds those whose run holds the block, and triggers.
      assert.ok(carriers > 0 && carriers <= hops, `${carriers} of ${hops}`);
      assert.match(await page.textContent('#path-summary'), new RegExp(`: ${hops} hops,`));
      assert.deepEqual(page.errors, []);
    });
  }

  await t.test('without a second run there is nothing to compare, and no tab for it', async (st) => {
    const one = await view(TRACE);
    st.after(() => one.close());
    const page = await openPage(browser, one.url);
    assert.ok(await page.locator('[data-tab=compare]').isHidden());
    assert.deepEqual(page.errors, []);
  });
});
