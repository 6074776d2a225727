"""What `helm test` asks: a streamed answer, where it has a key; else the gateway's own health."""

# ruff: noqa: S310 - URL is the release's own Service
import json
import os
import urllib.request

URL = os.environ["URL"]
KEY = os.environ.get("KEY", "").split(",")[0].strip()


def call(path: str, body: dict | None = None) -> urllib.request.Request:
    """A request with the key and, for a POST, a JSON body."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    if KEY:
        headers["Authorization"] = f"Bearer {KEY}"
    return urllib.request.Request(URL + path, data, headers)


with urllib.request.urlopen(call("/health"), timeout=60) as reply:
    print("health:", json.load(reply)["status"])

if KEY:
    with urllib.request.urlopen(call("/v1/models"), timeout=30) as reply:
        model = json.load(reply)["data"][0]["id"]
    question = {
        "model": model,
        "stream": True,
        "max_tokens": 20,
        "messages": [{"role": "user", "content": "Say hello."}],
    }
    with urllib.request.urlopen(call("/v1/chat/completions", question), timeout=120) as reply:
        lines = [line.decode().strip() for line in reply if line.startswith(b"data: ")]
    assert lines[-1] == "data: [DONE]", lines[-1:]
    events = [json.loads(line[6:]) for line in lines[:-1]]
    text = "".join(e["choices"][0]["delta"].get("content") or "" for e in events if e["choices"])
    assert text, "a stream without text"
    print(f"{model} streamed {len(events)} events: {text!r}")
else:
    print("no key given (values tests.existingSecret): only health was asked")
