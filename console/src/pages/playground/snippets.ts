// The same call from elsewhere. The key is named by a variable, never written out.

import type { ChatRequest } from "../../api/chat";
import { BASE } from "../../api/client";

export type Language = "curl" | "python" | "javascript";

export const LANGUAGES: readonly (readonly [Language, string])[] = [
  ["curl", "curl"],
  ["python", "Python"],
  ["javascript", "JavaScript"],
];

/** Source text that makes the call and prints the answer as it comes. */
export function snippet(language: Language, request: ChatRequest): string {
  const url = `${location.origin}${BASE}/v1`;
  return { curl, python, javascript }[language](url, request);
}

function curl(url: string, request: ChatRequest): string {
  const body = JSON.stringify(request, null, 2).replaceAll("'", `'\\''`);
  return `curl -N ${url}/chat/completions \\
  -H "Authorization: Bearer $GATEWAY_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '${body}'
`;
}

function python(url: string, { stream_options: _, ...request }: ChatRequest): string {
  const lines = Object.entries(request).map(([name, value]) => {
    return `    ${name}=${literal(value, 1)},`;
  });
  return `import os

from openai import OpenAI

client = OpenAI(base_url="${url}", api_key=os.environ["GATEWAY_API_KEY"])
stream = client.chat.completions.create(
${lines.join("\n")}
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
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

function javascript(url: string, request: ChatRequest): string {
  const whole = { ...request, stream: false, stream_options: undefined };
  const body = JSON.stringify(whole, null, 2).replaceAll("\n", "\n  ");
  return `const response = await fetch("${url}/chat/completions", {
  method: "POST",
  headers: {
    Authorization: \`Bearer \${process.env.GATEWAY_API_KEY}\`,
    "Content-Type": "application/json",
  },
  body: JSON.stringify(${body}),
});
if (!response.ok) throw new Error(await response.text());
const answer = await response.json();
console.log(answer.choices[0].message.content);
`;
}
