"""A streamed message with Anthropic's client."""

import os
import sys
from pathlib import Path

from anthropic import Anthropic

url = os.environ.get("GATEWAY_URL", "http://127.0.0.1:8000")
key = os.environ.get("GATEWAY_API_KEY") or Path(".gateway/api_key").read_text().strip()
question = " ".join(sys.argv[1:]) or "Tell me about the sea."

client = Anthropic(base_url=url, api_key=key)
model = client.models.list().data[0].id
with client.messages.stream(
    model=model, max_tokens=200, messages=[{"role": "user", "content": question}]
) as stream:
    for text in stream.text_stream:
        print(text, end="", flush=True)
print()
