// The page in real Chromium: `node page.mjs URL SECRET DIR [CHROMIUM [pictures]]`. URL is the page's, behind no
// proxy: the browser sends what the proxy would. With `pictures` DIR gets one of each part, light and dark, to be
// looked at. Prints one line a flow; ends with 1 at the first that fails. The shop has at least three parcels that wait, one of a customer called <script>.
import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import puppeteer from 'puppeteer-core';

const [url, secret, dir, chromium = 'chromium', pictures] = process.argv.slice(2);
const WIDTHS = [360, 800, 1400];
// A name in PATH, or a path.
const program = chromium.includes('/') ? chromium : execFileSync('which', [chromium]).toString().trim();
const root = url.replace(/\/$/, '');
const browser = await puppeteer.launch({
  executablePath: program,
  headless: true,
  args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--disable-background-networking'],
});
const wrong = [];

const open = async (user, width = 1400, scheme = 'light') => {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  await page.setViewport({ width, height: 900 });
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
  await page.setExtraHTTPHeaders({ 'X-Fulfilld-User': user, 'X-Fulfilld-Page-Secret': secret });
  page.on('dialog', async (dialog) => { wrong.push(`a script ran: ${dialog.message()}`); await dialog.dismiss(); });
  page.on('console', (said) => {
    // The one thing that the policy keeps out and that no page asks for.
    if (said.type() === 'error' && !said.text().includes('favicon') && !said.text().includes('status of 4'))
      wrong.push(said.text());
  });
  // data: is a picture of the browser's own, such as the calendar of a month.
  page.on('request', (request) => {
    if (!request.url().startsWith('data:') && !request.url().startsWith(root.slice(0, root.indexOf('/desk')))) wrong.push(`asked ${request.url()}`);
  });
  page.setDefaultTimeout(60_000);
  return page;
};

const picture = async (page, name) => {
  if (pictures) await page.screenshot({ path: join(dir, `${name}.png`) });
};
const text = (page) => page.evaluate(() => document.querySelector('main').innerText);
const go = (page, path) => page.goto(`${root}/${path}`, { waitUntil: 'load' });
const press = async (page, key) => Promise.all([page.waitForNavigation(), page.keyboard.press(key)]);
const click = async (page, selector) => Promise.all([page.waitForNavigation(), page.click(selector)]);
const button = (words) => `::-p-xpath(//button[normalize-space()="${words}"])`;
const flow = async (name, run) => { await run(); assert.deepEqual(wrong, [], name); console.log(`ok ${name}`); };

// What a finger misses: less than 44 pixels high, apart from links within a text.
const tooSmall = () => [...document.querySelectorAll('nav a, .button, button, select, summary, input:not([type=hidden])')]
  .map((seen) => (seen.type === 'checkbox' ? seen.closest('label') : seen))
  .filter((seen) => { const { width, height } = seen.getBoundingClientRect(); return width > 0 && height < 44; })
  .map((seen) => seen.outerHTML);

// Tabs until what has the focus is what is looked for: the keyboard alone gets there.
const tabTo = async (page, is) => {
  for (let n = 0; n < 60; n++) {
    await page.keyboard.press('Tab');
    if (await page.evaluate(is)) return;
  }
  assert.fail('the keyboard does not get there');
};

await flow('every part fits 360, 800 and 1400 pixels, and a finger', async () => {
  for (const width of WIDTHS) {
    for (const scheme of pictures ? ['light', 'dark'] : ['light']) {
      const page = await open('anna', width, scheme);
      for (const part of ['pack', 'tracking', 'orders', 'order/1', 'attention', 'books', 'health']) {
        await go(page, part);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        assert.ok(wide <= 0, `${part} is ${wide} pixels wider than ${width}`);
        assert.deepEqual(width < 500 ? await page.evaluate(tooSmall) : [], [], `${part} for a finger`);
        await picture(page, `${part.replace('/', '-')}-${width}-${scheme}`);
      }
      await page.close();
    }
  }
});

await flow('a customer called <script> is text', async () => {
  const page = await open('anna');
  await go(page, 'pack');
  assert.match(await text(page), /<script>/);
  assert.equal(await page.evaluate(() => document.scripts.length), 0);
});

await flow('one parcel after the other, with the keyboard and a scanner alone', async () => {
  const page = await open('bert', 800);
  await go(page, 'pack');
  await tabTo(page, () => document.activeElement.href?.includes('/parcel/') ?? false);
  await press(page, 'Enter');
  const first = page.url();
  await picture(page, 'parcel-800-light');
  await page.evaluate(() => document.activeElement.id).then((id) => assert.ok(['company', 'number'].includes(id), id));
  if (await page.evaluate(() => document.activeElement.id === 'company')) {
    await page.keyboard.type('DHL');
    await page.keyboard.press('Tab');
  }
  await page.keyboard.type('JD0146000001');
  await press(page, 'Enter');
  assert.match(page.url(), /\/parcel\/\d+-\d+\?done=/);
  assert.match(await text(page), /is shipped: DHL JD0146000001/);
  // The carrier stays, and the cursor is where the scanner types.
  assert.equal(await page.evaluate(() => document.activeElement.id), 'number');
  assert.equal(await page.$eval('#company', (field) => field.value), 'DHL');
  await click(page, button('Undo'));
  assert.match(page.url(), /\/order\/\d+$/);
  await page.goto(first);
  assert.match(await text(page), /Ship it/);
});

await flow('the queue can be printed as it stands', async () => {
  const page = await open('bert');
  await go(page, 'pack');
  await page.emulateMediaType('print');
  const printed = await text(page);
  assert.match(printed, /<script>/);
  assert.doesNotMatch(printed, /Label file|Search/);
});

await flow('slips of two ticked parcels', async () => {
  const page = await open('bert');
  await go(page, 'pack');
  const ticks = await page.$$('input[name=parcel]');
  assert.ok(ticks.length >= 3);
  await ticks[0].click();
  await ticks[1].click();
  await click(page, button('Slips'));
  assert.equal(await page.$$eval('section', (sheets) => sheets.length), 3);
});

await flow('a tracking file is shown before it ships', async () => {
  const page = await open('bert');
  await go(page, 'pack');
  const parcel = await page.$eval('input[name=parcel]', (tick) => tick.value);
  const file = join(dir, 'tracking.csv');
  writeFileSync(file, `Order ID,Tracking Number,Carrier\n${parcel},JD0146000042,DHL\n`);
  await go(page, 'tracking');
  await (await page.$('#file')).uploadFile(file);
  await click(page, button('Show what it ships'));
  assert.match(await text(page), /Nothing is changed yet/);
  await picture(page, 'tracking-shown-1400-light');
  await click(page, button('Ship them'));
  assert.match(await text(page), /Parcels shipped: 1/);
});

await flow('hold, release and undo, and the history names anna', async () => {
  const page = await open('anna', 800);
  await go(page, 'order/1');
  await page.click('::-p-xpath(//summary[normalize-space()="Hold it"])');
  await page.type('#hold-reason', 'asks for another color');
  await press(page, 'Enter');
  assert.match(await text(page), /On hold: asks for another color/);
  await picture(page, 'order-held-800-light');
  await click(page, button('Release it'));
  await click(page, button('Undo the last change'));
  assert.match(await text(page), /On hold/);
  assert.match(await text(page), /fulfilld:undo page:anna/);
  await click(page, button('Release it'));
});

await flow('two windows at one parcel: the second is told', async () => {
  const [one, two] = [await open('bert'), await open('berta')];
  await go(one, 'pack');
  const parcel = await one.$eval('input[name=parcel]', (tick) => tick.value);
  await go(one, `parcel/${parcel}`);
  await go(two, `parcel/${parcel}`);
  for (const [page, number] of [[one, 'JD0146000051'], [two, 'JD0146000052']]) {
    await page.$eval('#company', (field) => { field.value = 'DHL'; });
    await page.type('#number', number);
    await press(page, 'Enter');
  }
  assert.match(await text(two), /shipped by page:bert/);
});

await browser.close();
