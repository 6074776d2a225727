// A streamed chat completion with OpenAI's client for Node.js.

import { readFileSync } from "node:fs";
import OpenAI from "openai";

const url = process.env.GATEWAY_URL ?? "http://127.0.0.1:8000";
const key = process.env.GATEWAY_API_KEY ?? readFileSync(".gateway/api_key", "utf8").trim();
const question = process.argv.slice(2).join(" ") || "Tell me about the sea.";

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key });
const model = (await client.models.list()).data[0].id;
const stream = await client.chat.completions.create({
  model,
  messages: [{ role: "user", content: question }],
  stream: true,
});
for await (const chunk of stream) {
  process.stdout.write(chunk.choices[0]?.delta.content ?? "");
}
process.stdout.write("\n");
