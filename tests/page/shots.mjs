// Pictures of the page for people: `node shots.mjs URL FOLDER`.

import { launch, openPage } from './browser.mjs';

const [url, folder] = process.argv.slice(2);
const browser = await launch();
for (const colorScheme of ['light', 'dark']) {
  for (const viewport of [{ width: 1280, height: 800 }, { width: 390, height: 844 }]) {
    const page = await openPage(browser, url, { viewport, colorScheme });
    const shot = (name) => page.screenshot({ path: `${folder}/${name}-${viewport.width}-${colorScheme}.png` });
    await shot('run');
    await page.keyboard.press('n');
    await page.keyboard.press('f');
    await page.waitForTimeout(300);
    await shot('follow');
    await page.keyboard.press('e');
    await page.waitForTimeout(300);
    await shot('panic');
    if (page.errors.length) process.stderr.write(`${page.errors.join('\n')}\n`);
    await page.context().close();
  }
}
await browser.close();
