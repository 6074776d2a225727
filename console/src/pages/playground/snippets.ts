// The same call from elsewhere. The key is named by a variable, never written out, and images and
// sounds by their files: their base64 would bury the rest.

import type { ChatRequest } from "../../api/chat";
import { BASE } from "../../api/client";
import type { Attachment } from "./attachments";

export type Language = "curl" | "python" | "javascript";

export const LANGUAGES: readonly (readonly [Language, string])[] = [
  ["curl", "curl"],
  ["python", "Python"],
  ["javascript", "JavaScript"],
];

type Files = readonly Attachment[];

/** Source text that makes the call and prints the answer as it comes.
 *
 * @param attachments the request's.
 */
export function snippet(language: Language, request: ChatRequest, attachments: Files): string {
  const url = `${location.origin}${BASE}/v1`;
  const files = told(attachments.filter(({ data }) => data !== ""));
  return { curl, python, javascript }[language](url, request, files);
}

/** Different files with names that differ: those that were pasted are all image.png. */
function told(files: Files): Files {
  return files.map((one, place) => {
    const before = files.slice(0, place).filter(({ name, data }) => {
      return name === one.name && data !== one.data;
    });
    const name = one.name.replace(/(\.\w+)?$/, (end) => `-${before.length + 1}${end}`);
    return before.length > 0 ? { ...one, name } : one;
  });
}

function curl(url: string, request: ChatRequest, files: Files): string {
  let body = quoted(JSON.stringify(request, null, 2));
  for (const { name, data } of files) {
    body = body.replaceAll(data, () => `'"$(base64 < ${quoted(name)} | tr -d '\\n')"'`);
  }
  const call = `curl -N ${url}/chat/completions \\
  -H "Authorization: Bearer $GATEWAY_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d`;
  // A file is more than an argument may be long; of the shell's own commands it may be one.
  return files.length > 0 ? `printf %s ${body} | ${call} @-\n` : `${call} ${body}\n`;
}

/** For a shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Source text with strings that are joined with what a function of it makes of files' names. */
function readingFiles(source: string, files: Files, reader: string): string {
  return files.reduce((text, { name, data }) => {
    const call = `${reader}(${JSON.stringify(name)})`;
    return text.replaceAll(`"${data}"`, () => call).replaceAll(`${data}"`, () => `" + ${call}`);
  }, source);
}

function python(url: string, { stream_options: _, ...request }: ChatRequest, files: Files): string {
  const lines = Object.entries(request).map(([name, value]) => {
    return `    ${name}=${literal(value, 1)},`;
  });
  const reader = `

def base64_of(name):
    with open(name, "rb") as file:
        return base64.b64encode(file.read()).decode()

`;
  return `${files.length > 0 ? "import base64\n" : ""}import os

from openai import OpenAI
${files.length > 0 ? reader : ""}
client = OpenAI(base_url="${url}", api_key=os.environ["GATEWAY_API_KEY"])
stream = client.chat.completions.create(
${readingFiles(lines.join("\n"), files, "base64_of")}
)
for chunk in stream:
    if chunk.choices:
        delta = chunk.choices[0].delta
        print(${request.tools ? "delta.content or delta.tool_calls" : "delta.content"} or "", end="", flush=True)
`;
}

/** JSON's strings and numbers are Python's too; only true, false and null are not. */
function literal(value: unknown, depth: number): string {
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null) return "None";
  const pad = "    ".repeat(depth + 1);
  const end = "    ".repeat(depth);
  if (Array.isArray(value)) {
    return `[\n${value.map((item) => `${pad}${literal(item, depth + 1)},\n`).join("")}${end}]`;
  }
  if (typeof value === "object") {
    const pairs = Object.entries(value as object);
    return `{${pairs.map(([k, v]) => `"${k}": ${literal(v, depth)}`).join(", ")}}`;
  }
  return JSON.stringify(value);
}

function javascript(url: string, request: ChatRequest, files: Files): string {
  const whole = { ...request, stream: false, stream_options: undefined };
  const body = JSON.stringify(whole, null, 2).replaceAll("\n", "\n  ");
  const reader = `import { readFileSync } from "node:fs";

const base64Of = (name) => readFileSync(name, "base64");
`;
  return `${files.length > 0 ? reader : ""}const response = await fetch("${url}/chat/completions", {
  method: "POST",
  headers: {
    Authorization: \`Bearer \${process.env.GATEWAY_API_KEY}\`,
    "Content-Type": "application/json",
  },
  body: JSON.stringify(${readingFiles(body, files, "base64Of")}),
});
if (!response.ok) throw new Error(await response.text());
const answer = await response.json();
console.log(answer.choices[0].message${request.tools ? "" : ".content"});
`;
}
