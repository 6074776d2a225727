"""A picture, a recording and a tool, with OpenAI's client.

python examples/openai_media.py PICTURE.jpg RECORDING.wav
"""

import base64
import json
import os
import sys
from pathlib import Path

from openai import OpenAI

url = os.environ.get("GATEWAY_URL", "http://127.0.0.1:8000")
key = os.environ.get("GATEWAY_API_KEY") or Path(".gateway/api_key").read_text().strip()
picture, recording = (Path(name) for name in sys.argv[1:3])

client = OpenAI(base_url=f"{url}/v1", api_key=key)
model = client.models.list().data[0].id


def ask(*content: dict) -> str:
    turn = {"role": "user", "content": list(content)}
    return client.chat.completions.create(model=model, messages=[turn]).choices[0].message.content


image = "data:image/jpeg;base64," + base64.b64encode(picture.read_bytes()).decode()
print(ask({"type": "text", "text": "What is this?"},
          {"type": "image_url", "image_url": {"url": image}}))  # fmt: skip

sound = base64.b64encode(recording.read_bytes()).decode()
print(ask({"type": "text", "text": "What does she want?"},
          {"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}}))  # fmt: skip

with recording.open("rb") as file:
    print(client.audio.transcriptions.create(model=model, file=file).text)

city = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
tools = [{"type": "function", "function": {"name": "get_weather", "parameters": city}}]
messages = [{"role": "user", "content": "What is the weather in Paris?"}]
said = client.chat.completions.create(model=model, messages=messages, tools=tools)
messages.append(said.choices[0].message)
for call in said.choices[0].message.tool_calls or []:
    weather = f"18 degrees in {json.loads(call.function.arguments)['city']}"
    messages.append({"role": "tool", "tool_call_id": call.id, "content": weather})
said = client.chat.completions.create(model=model, messages=messages, tools=tools)
print(said.choices[0].message.content)
