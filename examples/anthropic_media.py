"""A picture and a tool, with Anthropic's client.

python examples/anthropic_media.py PICTURE.jpg
"""

import base64
import os
import sys
from pathlib import Path

from anthropic import Anthropic

url = os.environ.get("GATEWAY_URL", "http://127.0.0.1:8000")
key = os.environ.get("GATEWAY_API_KEY") or Path(".gateway/api_key").read_text().strip()
picture = base64.b64encode(Path(sys.argv[1]).read_bytes()).decode()

client = Anthropic(base_url=url, api_key=key)
model = client.models.list().data[0].id

source = {"type": "base64", "media_type": "image/jpeg", "data": picture}
content = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
said = client.messages.create(
    model=model, max_tokens=200, messages=[{"role": "user", "content": content}]
)
print(said.content[0].text)

city = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
tools = [{"name": "get_weather", "input_schema": city}]
messages = [{"role": "user", "content": "What is the weather in Paris?"}]
said = client.messages.create(model=model, max_tokens=200, messages=messages, tools=tools)
results = [
    {
        "type": "tool_result",
        "tool_use_id": call.id,
        "content": f"18 degrees in {call.input['city']}",
    }
    for call in said.content
    if call.type == "tool_use"
]
messages += [{"role": "assistant", "content": said.content}, {"role": "user", "content": results}]
said = client.messages.create(model=model, max_tokens=200, messages=messages, tools=tools)
print(said.content[0].text)
