// A picture, a recording and a tool, with the Vercel AI SDK.
//
//     node examples/ai_sdk_media.mjs PICTURE.jpg RECORDING.wav

import { readFileSync } from "node:fs";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, stepCountIs, tool } from "ai";

const url = process.env.GATEWAY_URL ?? "http://127.0.0.1:8000";
const key = process.env.GATEWAY_API_KEY ?? readFileSync(".gateway/api_key", "utf8").trim();
const [picture, recording] = process.argv.slice(2).map((name) => readFileSync(name));

const gateway = createOpenAICompatible({ name: "gemma-gateway", baseURL: `${url}/v1`, apiKey: key });
const listed = await fetch(`${url}/v1/models`, { headers: { authorization: `Bearer ${key}` } });
const model = gateway((await listed.json()).data[0].id);

for (const [question, part] of [
  ["What is this?", { type: "file", data: picture, mediaType: "image/jpeg" }],
  ["What does she want?", { type: "file", data: recording, mediaType: "audio/wav" }],
]) {
  const content = [{ type: "text", text: question }, part];
  console.log((await generateText({ model, messages: [{ role: "user", content }] })).text);
}

const weather = tool({
  inputSchema: jsonSchema({
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"],
  }),
  execute: ({ city }) => `18 degrees in ${city}`,
});
const { text } = await generateText({
  model,
  prompt: "What is the weather in Paris?",
  tools: { get_weather: weather },
  stopWhen: stepCountIs(3),
});
console.log(text);
