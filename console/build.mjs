// Builds the console: bundles src/, names the files by their content, writes compressed copies.
//
//   node build.mjs [FOLDER]        default: ../app/gemma_gateway/console/static
//
// The folder then holds the pages and assets/, each file also as .gz and .br, and licenses.txt with
// the licence of every package that is inside the bundles.

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build } from "esbuild";

const HERE = dirname(fileURLToPath(import.meta.url));
const TARGET = resolve(
  process.argv[2] ?? join(HERE, "..", "app", "gemma_gateway", "console", "static"),
);
const DRAFT = `${TARGET}.new`;
// Bytes of everything that a page loads, compressed.
const LIMITS = { "index.html": 300_000, "docs.html": 600_000 };

const licenses = /^(licen[cs]e(\.(md|txt))?|notice)$/i;

/** Files with their content's digest in the name, so that they may be cached for ever. */
function named(path, text) {
  const digest = createHash("sha256").update(text).digest("hex").slice(0, 12);
  const dot = path.lastIndexOf(".");
  return `assets/${path.slice(0, dot)}-${digest}${path.slice(dot)}`;
}

async function write(path, bytes) {
  const file = join(DRAFT, path);
  await mkdir(dirname(file), { recursive: true });
  const brotli = brotliCompressSync(bytes, {
    params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY },
  });
  const gzip = gzipSync(bytes, { level: 9 });
  await writeFile(file, bytes);
  await writeFile(`${file}.br`, brotli);
  await writeFile(`${file}.gz`, gzip);
  return gzip.length;
}

/** The licence texts of the packages whose files are in the bundle. */
async function licenceTexts(metafile) {
  const files = new Map();
  for (const path of Object.keys(metafile.inputs)) {
    const [, name, file] = /^node_modules\/((?:@[^/]+\/)?[^/]+)\/(.+)$/.exec(path) ?? [];
    if (name !== undefined) files.set(name, [...(files.get(name) ?? []), file]);
  }
  const parts = [];
  for (const name of [...files.keys()].sort()) {
    const folder = join(HERE, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const own = (await readdir(folder)).filter((entry) => licenses.test(entry));
    if (own.length === 0) throw new Error(`${name} ships no licence text`);
    const inside = files.get(name).map((file) => `${file}.LICENSE.txt`); // of what a file is made of
    const told = [...own, ...inside.filter((file) => existsSync(join(folder, file)))];
    const texts = await Promise.all(told.map((file) => readFile(join(folder, file), "utf8")));
    parts.push(`${name} ${version} (${license})\n\n${texts.map((t) => t.trim()).join("\n\n")}\n`);
  }
  return parts.join(`\n${"-".repeat(72)}\n\n`);
}

const result = await build({
  absWorkingDir: HERE,
  entryPoints: ["src/main.tsx", "src/theme-first.ts", "src/docs.ts"],
  outdir: "out",
  bundle: true,
  minify: true,
  format: "iife",
  target: ["chrome123", "firefox128", "safari17.5"], // light-dark() in the styles
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none", // licenses.txt has the whole texts
  metafile: true,
  write: false,
});

await rm(DRAFT, { recursive: true, force: true });
const pages = new Map();
for (const name of Object.keys(LIMITS)) {
  pages.set(name, { html: await readFile(join(HERE, name), "utf8"), size: 0 });
}
const files = result.outputFiles.map((file) => [basename(file.path), file.contents]);
files.push(["icon.svg", await readFile(join(HERE, "icon.svg"))]);
for (const [name, contents] of files) {
  const path = named(name, contents);
  const size = await write(path, contents);
  const users = [...pages.values()].filter((page) => page.html.includes(`{${name}}`));
  if (users.length === 0) throw new Error(`no page loads ${name}`);
  for (const page of users) {
    page.size += size;
    page.html = page.html.replace(`{${name}}`, `console/${path}`);
  }
}
await write("licenses.txt", Buffer.from(await licenceTexts(result.metafile)));
for (const [name, { html, size }] of pages) {
  const whole = size + (await write(name, Buffer.from(html)));
  if (whole > LIMITS[name]) throw new Error(`${name} takes ${whole} bytes, over ${LIMITS[name]}`);
  console.log(`${name}: ${(whole / 1000).toFixed(1)} kB compressed`);
}

await rm(TARGET, { recursive: true, force: true });
await rename(DRAFT, TARGET);
if (!existsSync(join(TARGET, "index.html"))) throw new Error("nothing was written");
