// Builds the console: bundles src/, names the files by their content, writes compressed copies.
//
//   node build.mjs [FOLDER]        default: ../app/console/static
//
// The folder then holds index.html and assets/, each file also as .gz and .br, and licenses.txt
// with the licence of every package that is inside the bundle.

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build } from "esbuild";

const HERE = dirname(fileURLToPath(import.meta.url));
const TARGET = resolve(process.argv[2] ?? join(HERE, "..", "app", "console", "static"));
const DRAFT = `${TARGET}.new`;
const LIMIT = 300_000; // bytes of everything that a page loads, compressed

const licenses = /^licen[cs]e(\.(md|txt))?$/i;

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
  const roots = Object.keys(metafile.inputs)
    .map((path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1])
    .filter((name) => name !== undefined);
  const parts = [];
  for (const name of [...new Set(roots)].sort()) {
    const folder = join(HERE, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const file = (await readdir(folder)).find((entry) => licenses.test(entry));
    if (file === undefined) throw new Error(`${name} ships no licence text`);
    const text = await readFile(join(folder, file), "utf8");
    parts.push(`${name} ${version} (${license})\n\n${text.trim()}\n`);
  }
  return parts.join(`\n${"-".repeat(72)}\n\n`);
}

const result = await build({
  absWorkingDir: HERE,
  entryPoints: ["src/main.tsx", "src/theme-first.ts"],
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
let html = await readFile(join(HERE, "index.html"), "utf8");
let size = 0;
const files = result.outputFiles.map((file) => [basename(file.path), file.contents]);
files.push(["icon.svg", await readFile(join(HERE, "icon.svg"))]);
for (const [name, contents] of files) {
  const path = named(name, contents);
  size += await write(path, contents);
  if (!html.includes(`{${name}}`)) throw new Error(`index.html doesn't load ${name}`);
  html = html.replace(`{${name}}`, `console/${path}`);
}
size += await write("index.html", Buffer.from(html));
await write("licenses.txt", Buffer.from(await licenceTexts(result.metafile)));
if (size > LIMIT) throw new Error(`the page takes ${size} bytes compressed, over ${LIMIT}`);

await rm(TARGET, { recursive: true, force: true });
await rename(DRAFT, TARGET);
if (!existsSync(join(TARGET, "index.html"))) throw new Error("nothing was written");
console.log(`console: ${files.length} files, ${(size / 1000).toFixed(1)} kB compressed`);
