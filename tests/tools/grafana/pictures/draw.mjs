// node draw.mjs PROMETHEUS SECONDS FOLDER DASHBOARD...: a picture of each dashboard file, as PNG.
// CHROMIUM names the browser.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import esbuild from 'esbuild';
import { chromium } from 'playwright-core';
import sharp from 'sharp';

const [prometheus, span, folder, ...files] = process.argv.slice(2);
const { outputFiles } = await esbuild.build({
  entryPoints: [path.join(path.dirname(fileURLToPath(import.meta.url)), 'page.jsx')],
  bundle: true,
  write: false,
  outdir: '/',
  format: 'esm',
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
  loader: { '.svg': 'dataurl', '.ttf': 'dataurl' },
  logLevel: 'error',
});
const html = '<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="page.css"><body style="margin:0"><div id="root"></div><script type="module" src="page.js"></script>';
const CHOSEN = { workflow: { provider: 'github', account: 'demo-github', repo: 'acme/shop' } };
let dashboard;
const server = http.createServer((request, response) => {
  const name = new URL(request.url, 'http://here').pathname;
  const built = outputFiles.find((file) => file.path === name);
  const [type, body] = name.endsWith('.json')
    ? ['application/json', dashboard]
    : built
      ? [name.endsWith('.js') ? 'text/javascript' : 'text/css', built.contents]
      : ['text/html', html];
  response.writeHead(200, { 'content-type': type }).end(body);
});
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
const to = Math.floor(Date.now() / 1000);
let faults = 0;
for (const file of files) {
  dashboard = fs.readFileSync(file);
  const name = path.basename(file, '.json');
  const page = await browser.newPage({ viewport: { width: 1440, height: 1000 } });
  page.on('pageerror', (error) => console.error(`${file}: ${error}`));
  await page.goto(`http://127.0.0.1:${server.address().port}/?prometheus=${prometheus}&to=${to}&span=${span}&chosen=${encodeURIComponent(JSON.stringify(CHOSEN[name] ?? {}))}`);
  await page.waitForFunction('window.drawn');
  await page.evaluate('document.fonts.ready');
  await page.waitForTimeout(500); // the graphs are canvases and say nothing when they are done
  for (const error of await page.evaluate('window.errors')) {
    faults += 1;
    console.error(`${file}: ${error}`);
  }
  const picture = await page.locator('#dashboard').screenshot();
  const target = path.join(folder, `${name}.png`);
  await sharp(picture).png({ palette: true, colours: 96, effort: 10, compressionLevel: 9 }).toFile(target);
  console.log(`${target}: ${fs.statSync(target).size} bytes`);
  await page.close();
}
await browser.close();
server.close();
process.exit(faults ? 1 : 0);
