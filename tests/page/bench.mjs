// `node bench.mjs URL`: how long the page takes to open, filter and follow, and its frames while it is panned; as JSON.

import { launch, openPage } from './browser.mjs';

const browser = await launch();
const page = await openPage(browser, process.argv[2]);
const last = (name) => page.evaluate((each) => performance.getEntriesByName(each, 'measure').at(-1)?.duration ?? null, name);
const rounded = (value) => (value === null ? null : Math.round(value * 10) / 10);
const pan = () => page.evaluate(() => new Promise((done) => {
  const begun = performance.now();
  let frames = 0;
  const step = () => {
    document.querySelector('#ladder').dispatchEvent(new WheelEvent('wheel', { deltaX: frames % 80 < 40 ? 30 : -30, bubbles: true, cancelable: true }));
    frames += 1;
    if (performance.now() - begun < 3000) requestAnimationFrame(step);
    else done(frames / ((performance.now() - begun) / 1000));
  };
  requestAnimationFrame(step);
}));
const result = { rows: await page.textContent('#shown'), open_ms: rounded(await last('open')) };
result.pan_whole_fps = rounded(await pan());
for (let times = 0; times < 4; times += 1) await page.keyboard.press('+');
result.pan_sixteenth_fps = rounded(await pan());
await page.fill('#took', '1ms');
await page.press('#took', 'Enter');
result.filter_ms = rounded(await last('filter'));
await page.click('#clear');
for (let tries = 0; tries < 60 && !result.follow_ms; tries += 1) {
  await page.keyboard.press('n');
  const follow = page.locator('#details button', { hasText: 'Follow block' }).first();
  if (await follow.count()) { await follow.click(); result.follow_ms = rounded(await last('follow')); }
}
process.stdout.write(`${JSON.stringify(result)}\n`);
await browser.close();
