"""A streamed chat completion with OpenAI's client."""

import os
import sys
from pathlib import Path

from openai import OpenAI

url = os.environ.get("GATEWAY_URL", "http://127.0.0.1:8000")
key = os.environ.get("GATEWAY_API_KEY") or Path(".gateway/api_key").read_text().strip()
question = " ".join(sys.argv[1:]) or "Tell me about the sea."

client = OpenAI(base_url=f"{url}/v1", api_key=key)
model = client.models.list().data[0].id
stream = client.chat.completions.create(
    model=model, messages=[{"role": "user", "content": question}], stream=True
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
