"""A streamed answer with LangChain."""

import os
import sys
from pathlib import Path

from langchain_openai import ChatOpenAI
from openai import OpenAI

url = os.environ.get("GATEWAY_URL", "http://127.0.0.1:8000")
key = os.environ.get("GATEWAY_API_KEY") or Path(".gateway/api_key").read_text().strip()
question = " ".join(sys.argv[1:]) or "Tell me about the sea."

model = OpenAI(base_url=f"{url}/v1", api_key=key).models.list().data[0].id
chat = ChatOpenAI(base_url=f"{url}/v1", api_key=key, model=model)
for chunk in chat.stream(question):
    print(chunk.text, end="", flush=True)
print()
