"""A picture, a recording and a tool, with LangChain.

python examples/langchain_media.py PICTURE.jpg RECORDING.wav
"""

import base64
import os
import sys
from pathlib import Path

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import OpenAI

url = os.environ.get("GATEWAY_URL", "http://127.0.0.1:8000")
key = os.environ.get("GATEWAY_API_KEY") or Path(".gateway/api_key").read_text().strip()
picture, sound = (base64.b64encode(Path(name).read_bytes()).decode() for name in sys.argv[1:3])

model = OpenAI(base_url=f"{url}/v1", api_key=key).models.list().data[0].id
chat = ChatOpenAI(base_url=f"{url}/v1", api_key=key, model=model)

for question, part in (
    ("What is this?", {"type": "image", "base64": picture, "mime_type": "image/jpeg"}),
    ("What does she want?", {"type": "audio", "base64": sound, "mime_type": "audio/wav"}),
):
    print(chat.invoke([HumanMessage([{"type": "text", "text": question}, part])]).text)


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"18 degrees in {city}"


asking = chat.bind_tools([get_weather])
messages = [HumanMessage("What is the weather in Paris?")]
said = asking.invoke(messages)
messages += [said, *(get_weather.invoke(call) for call in said.tool_calls)]
print(asking.invoke(messages).text)
