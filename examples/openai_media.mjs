// A picture, a recording and a tool, with OpenAI's client for Node.js.
//
//     node examples/openai_media.mjs PICTURE.jpg RECORDING.wav

import { createReadStream, readFileSync } from "node:fs";
import OpenAI from "openai";

const url = process.env.GATEWAY_URL ?? "http://127.0.0.1:8000";
const key = process.env.GATEWAY_API_KEY ?? readFileSync(".gateway/api_key", "utf8").trim();
const [picture, recording] = process.argv.slice(2);

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key });
const model = (await client.models.list()).data[0].id;

async function ask(...content) {
  const messages = [{ role: "user", content }];
  const said = await client.chat.completions.create({ model, messages });
  console.log(said.choices[0].message.content);
}

const image = `data:image/jpeg;base64,${readFileSync(picture, "base64")}`;
await ask({ type: "text", text: "What is this?" }, { type: "image_url", image_url: { url: image } });

const sound = { data: readFileSync(recording, "base64"), format: "wav" };
await ask(
  { type: "text", text: "What does she want?" },
  { type: "input_audio", input_audio: sound },
);

const file = createReadStream(recording);
console.log((await client.audio.transcriptions.create({ model, file })).text);

const city = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "get_weather", parameters: city } }];
const messages = [{ role: "user", content: "What is the weather in Paris?" }];
let said = await client.chat.completions.create({ model, messages, tools });
messages.push(said.choices[0].message);
for (const call of said.choices[0].message.tool_calls ?? []) {
  const weather = `18 degrees in ${JSON.parse(call.function.arguments).city}`;
  messages.push({ role: "tool", tool_call_id: call.id, content: weather });
}
said = await client.chat.completions.create({ model, messages, tools });
console.log(said.choices[0].message.content);
