// A streamed answer with the Vercel AI SDK.

import { readFileSync } from "node:fs";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { streamText } from "ai";

const url = process.env.GATEWAY_URL ?? "http://127.0.0.1:8000";
const key = process.env.GATEWAY_API_KEY ?? readFileSync(".gateway/api_key", "utf8").trim();
const question = process.argv.slice(2).join(" ") || "Tell me about the sea.";

const gateway = createOpenAICompatible({ name: "gemma-gateway", baseURL: `${url}/v1`, apiKey: key });
const listed = await fetch(`${url}/v1/models`, { headers: { authorization: `Bearer ${key}` } });
const model = (await listed.json()).data[0].id;

const { textStream } = streamText({
  model: gateway(model),
  prompt: question,
  onError({ error }) {
    throw error;
  },
});
for await (const text of textStream) {
  process.stdout.write(text);
}
process.stdout.write("\n");
