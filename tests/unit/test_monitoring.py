"""Figures, moments, prices and documents of the monitoring API, without a store."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pytest
from scripts import record_table

from gemma_gateway.core.call import Call
from gemma_gateway.core.errors import Code
from gemma_gateway.core.outcomes import UNSPENT, class_of, fault_of, status_of
from gemma_gateway.core.prompt import UsedPrompt
from gemma_gateway.core.record import FinishedCall, Record
from gemma_gateway.core.stage import End
from gemma_gateway.core.usage import Usage
from gemma_gateway.monitoring import document, timestamps
from gemma_gateway.monitoring.capture import record_of
from gemma_gateway.monitoring.columns import model_of, shown
from gemma_gateway.monitoring.histogram import BUCKETS, LEAST, bucket, quantile
from gemma_gateway.monitoring.memory import Memory, own
from gemma_gateway.monitoring.prices import Prices
from gemma_gateway.monitoring.rollups import Sums
from gemma_gateway.monitoring.series import totals
from gemma_gateway.monitoring.summary import percentile, summarise
from gemma_gateway.monitoring.usage import UsageSheet
from gemma_gateway.monitoring.views import CallView
from gemma_gateway.settings import Price
from gemma_gateway.wire.openai.chat import Chat
from tests.records import record

# ---- histogram


@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
def test_a_quantile_is_within_the_stated_error(spread: float) -> None:
    rng = random.Random(7)
    times = sorted(min(16_000.0, rng.lognormvariate(0, spread)) for _ in range(5000))
    counts: dict[int, int] = {}
    for seconds in times:
        counts[bucket(seconds)] = counts.get(bucket(seconds), 0) + 1
    for share in (0.5, 0.95, 0.99, 1.0):
        exact = times[-(-round(share * 1e6) * len(times) // 10**6) - 1]
        found = quantile(counts, share)
        assert found is not None
        assert max(found, LEAST) / max(exact, LEAST) == pytest.approx(1, rel=0.0453)


def test_quantiles_at_the_edges() -> None:
    assert quantile({}, 0.5) is None
    assert bucket(0) == bucket(-1) == bucket(LEAST) == 0
    assert bucket(1e9) == BUCKETS - 1
    assert quantile({bucket(2.0): 1}, 0.01) == quantile({bucket(2.0): 1}, 0.99)


def test_buckets_are_contiguous_and_rise() -> None:
    numbers = [bucket(LEAST * 2 ** (n / 16 + 1 / 64)) for n in range(2 * BUCKETS)]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(BUCKETS))


# ---- outcomes


def test_every_code_has_its_class() -> None:
    for code in set(Code) - {Code.CLIENT_DEADLINE}:
        failed = code.value.status >= 500
        assert class_of(code.name) == ("failed" if failed else "refused"), code
    assert (class_of("ok"), class_of("client_closed")) == ("successful", "client_closed")
    assert class_of("CLIENT_DEADLINE") == "client_closed"  # it has left, whoever says so
    assert class_of("A_LATER_CODE") == "refused"


def test_every_outcome_is_somebodys_doing() -> None:
    words = {"caller", "policy", "engine", "gateway"}
    assert {fault_of(code.name) for code in Code} == words
    for code in Code:
        ours = fault_of(code.name) in {"engine", "gateway"}
        assert ours == (code.value.status >= 500 and code is not Code.CLIENT_DEADLINE), code
        assert (code.name in UNSPENT) == (ours and code is not Code.ENGINE_TIMEOUT), code
    assert (fault_of("ok"), fault_of("client_closed"), fault_of("A_LATER_CODE")) == (
        "",
        "caller",
        "caller",
    )
    assert fault_of("SHUTTING_DOWN") == fault_of("INTERNAL_ERROR") == "gateway"
    assert fault_of("RATE_LIMIT_EXCEEDED") == fault_of("RESPONSE_FILTERED") == "policy"


def test_a_stream_that_broke_off_counts_with_its_errors_status() -> None:
    assert status_of("GENERATION_ERROR", 200) == 503
    assert status_of("ENGINE_TIMEOUT", 504) == 504
    assert status_of("RESPONSE_FILTERED", 200) == 200
    assert (status_of("ok", 200), status_of("client_closed", 499)) == (200, 499)
    assert status_of("CLIENT_DEADLINE", 504) == 499


# ---- records


def test_a_record_holds_what_the_call_was() -> None:
    call = Call("req-1", Chat(), engine_id="call-1")
    call.request.stream, call.request.input_length, call.request.audio_seconds = True, 99, 1.5
    answer = call.answer
    answer.first_token = call.started + 0.25
    answer.queue_time, answer.upstream, answer.finish_reason = 0.125, "host:8000", "length"
    call.notes[UsedPrompt] = UsedPrompt("culture", "1")
    usage = Usage(10, 20, 4, 7, estimated=True)
    memory = Memory()
    memory.resident_mb, memory.gpu_mb = 100.0, 200.0
    made = record_of(call, End(200, "ok", 2.0, "gemma", usage), memory)
    assert made.key_id == ""
    assert made.tier == "none"
    assert msgspec.structs.asdict(made) == {
        "time": made.time,
        "id": "call-1",
        "request_id": "req-1",
        "key_id": "",
        "tier": "none",
        "route": "/v1/chat/completions",
        "model": "gemma",
        "stream": True,
        "status": 200,
        "outcome": "ok",
        "response_time": 2.0,
        "time_to_first_token": pytest.approx(0.25),
        "queue_time": 0.125,
        "input_tokens": 10,
        "output_tokens": 20,
        "cached_tokens": 4,
        "reasoning_tokens": 7,
        "usage_estimated": True,
        "finish_reason": "length",
        "input_length": 99,
        "upstream": "host:8000",
        "memory_mb": 100.0,
        "gpu_memory_mb": 200.0,
        "refused_field": "",
        "changes": "",
        "flagged": "",
        "prompt_id": "culture",
        "prompt_version": "1",
        "images": 0,
        "audio_seconds": 1.5,
    }
    assert made.tokens_per_second == 10


def test_two_versions_read_each_others_records() -> None:
    packed = msgspec.msgpack.encode(record(output_tokens=5))
    fields = msgspec.msgpack.decode(packed)
    newer = msgspec.msgpack.encode([*fields, "a field of the future"])
    older = msgspec.msgpack.encode(fields[:11])
    assert msgspec.msgpack.decode(newer, type=Record) == record(output_tokens=5)
    assert msgspec.msgpack.decode(older, type=Record).output_tokens == 0


class Wider(Record, frozen=True, array_like=True, gc=False):
    retries: Annotated[int, msgspec.Meta(description="Tries before the last one")] = 0


def test_a_view_follows_from_what_is_kept() -> None:
    kept = Wider(**msgspec.structs.asdict(record(queue_time=0.5)), retries=2)
    model = model_of(Wider)
    assert list(model.model_fields) == list(Wider.__struct_fields__)
    assert model.model_fields["retries"].description == "Tries before the last one"
    told = model(**shown(msgspec.structs.asdict(kept))).model_dump()
    assert (told["retries"], told["queue_time"]) == (2, 0.5)
    assert (told["time"], told["key_id"]) == ("2023-11-14T22:13:20.000Z", "aaaaaaaa")


def test_the_api_describes_every_field_of_a_call() -> None:
    assert set(Record.__struct_fields__) < set(CallView.model_fields)
    for view in (CallView, model_of(FinishedCall)):
        assert all(field.description for field in view.model_fields.values())


def test_the_table_of_a_records_fields_is_current() -> None:
    assert record_table.FILE.read_text() == record_table.text()


def test_the_order_of_what_is_stored_stays() -> None:
    assert " ".join(Record.__struct_fields__).startswith(
        "time id request_id key_id tier route model stream status outcome response_time"
        " time_to_first_token queue_time input_tokens output_tokens cached_tokens reasoning_tokens"
        " usage_estimated finish_reason input_length upstream memory_mb gpu_memory_mb"
        " refused_field"
    )


# ---- sums


def test_sums_survive_the_store() -> None:
    sums = Sums()
    for model in ("a", "b|c|d", "Ä {x}\r\n"):
        for outcome in ("ok", "RATE_LIMIT_EXCEEDED"):
            sums.add(record(model=model, outcome=outcome, input_tokens=3, reasoning_tokens=1))
    sums.add(record(model="a", time_to_first_token=0.5))
    flat = [str(part).encode() for pair in sums.fields() for part in pair]
    again = Sums.from_fields([*flat, b"future|x", b"1", b"l|many", b"2"])
    assert again.rows == sums.rows
    assert (again.response, again.first_token) == (sums.response, sums.first_token)
    again.merge(sums)
    assert again.rows["/v1/chat/completions", "b|c|d", "ok"] == [2, 6, 0, 0, 2]
    assert sum(again.response.values()) == 8  # four good calls, twice


def test_totals_by_class() -> None:
    sums = Sums()
    outcomes = ["ok"] * 5 + ["GENERATION_ERROR"] * 2 + ["client_closed", "RATE_LIMIT_EXCEEDED"]
    outcomes += ["CONTENT_FILTERED", "RESPONSE_FILTERED", "VALIDATION_ERROR"]
    for outcome in outcomes:
        sums.add(record(outcome=outcome, input_tokens=2, output_tokens=1))
    assert totals(sums.rows).model_dump() == {
        "requests": 12,
        "ok": 5,
        "failed": 2,
        "refused": 4,
        "client_closed": 1,
        "limited": 1,
        "filtered": 2,
        "input_tokens": 24,
        "output_tokens": 12,
    }


# ---- the summary


async def test_a_summary_of_nothing() -> None:
    summary, groups = await summarise([], "model")
    assert groups == {}
    assert {v for k, v in summary if k.endswith(("rate", "time", "mb", "second"))} == {None}
    assert (summary.total, summary.total_tokens) == (0, 0)


async def test_a_summary() -> None:
    records = [record(response_time=n / 10, output_tokens=n, memory_mb=n) for n in range(1, 101)]
    records += [record(outcome="ENGINE_TIMEOUT", status=504, response_time=600)] * 25
    records += [record(outcome="RATE_LIMIT_EXCEEDED", status=429, response_time=0.001)] * 50
    records += [record(outcome="client_closed", status=499, input_tokens=7)]
    summary, _ = await summarise(records, None)
    assert (summary.total, summary.successful, summary.failed) == (176, 100, 25)
    assert (summary.refused, summary.client_closed) == (50, 1)
    assert summary.success_rate == 0.8
    assert summary.error_rate == 25 / 176
    assert summary.average_response_time == pytest.approx(5.05)  # of the good calls alone
    assert summary.p95_response_time == 9.5
    assert summary.average_tokens_per_second == pytest.approx(10)
    assert (summary.input_tokens, summary.output_tokens, summary.total_tokens) == (7, 5050, 5057)
    assert summary.average_memory_mb == pytest.approx(5050 / 176)
    assert summary.average_time_to_first_token is None


async def test_only_refusals_have_no_success_rate() -> None:
    summary, _ = await summarise([record(outcome="CONTENT_FILTERED", status=400)], None)
    assert (summary.success_rate, summary.error_rate) == (None, 0.0)


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("model", {"a": 2, "b": 1}),
        ("key", {"1" * 8: 1, "2" * 8 + "0" * 56: 1, "2" * 8 + "1" * 56: 1}),
        ("route", {"/v1/chat/completions": 3}),
        ("tier", {"default": 2, "gold": 1}),
        ("upstream", {"none": 1, "x:1": 2}),
    ],
)
async def test_groups(group: Any, names: dict[str, int]) -> None:
    records = [
        record(model="a", key_id="1" * 64, tier="gold", upstream="x:1"),
        record(model="a", key_id="2" * 8 + "0" * 56, upstream="x:1"),
        record(model="b", key_id="2" * 8 + "1" * 56),
    ]
    whole, groups = await summarise(records, group)
    assert {name: summary.total for name, summary in groups.items()} == names
    assert whole.total == 3


def test_percentiles_are_measured_values() -> None:
    assert percentile([], 95) is None
    assert percentile([3.0], 95) == 3.0
    assert percentile([float(n) for n in range(20)], 95) == 18.0
    assert percentile([float(n) for n in range(100, 0, -1)], 95) == 95.0


# ---- moments


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("1700000000.5", 1_700_000_000.5),
        ("2026-03-01T00:00:00Z", 1_772_323_200),
        ("2026-03-01T00:00:00", 1_772_323_200),
        ("2026-03-01", 1_772_323_200),
        ("2026-03-01T02:00:00+02:00", 1_772_323_200),
        ("2026-03-01T02:00:00 02:00", 1_772_323_200),  # a plus that wasn't escaped
        ("2026-03-01 00:00:00", 1_772_323_200),
    ],
)
def test_moments(text: str, seconds: float) -> None:
    assert timestamps.parse(text) == seconds
    assert timestamps.parse(timestamps.iso(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "-inf", "1e300", "2026-13-01", "9e11"])
def test_bad_moments(text: str) -> None:
    with pytest.raises(ValueError, match="time"):
        timestamps.parse(text)


# ---- prices


def test_costs() -> None:
    table = {
        "a": Price.model_validate({"input_per_million": 0.1, "output_per_million": 0.3}),
        "b": Price.model_validate(
            {"input_per_million": 2, "output_per_million": 4, "cached_per_million": 0.5}
        ),
    }
    prices = Prices(table, "EUR")
    assert prices.cost("a", 1_000_000, 1_000_000, 500_000) == Decimal("0.4")
    assert prices.cost("b", 1_000_000, 0, 400_000) == Decimal("1.4")
    assert prices.cost("b", 10, 0, 100) == Decimal("0.000005")  # never more cached than read
    assert prices.cost("c", 1, 1, 0) is None


def test_rows_add_up_to_their_totals() -> None:
    price = Price.model_validate({"input_per_million": "0.333333", "output_per_million": 1})
    sheet = UsageSheet(Prices({"a": price}, "USD"))
    rows = [sheet.row("k", "n", "a", "2026-01-01", 1, (n, 3, 0)) for n in range(1, 200)]
    sheet.row("k", "n", "unknown", "2026-01-01", 2, (5, 5, 5))
    found = sheet.totals()
    assert found["cost"] == float(sum(row["cost"] for row in rows))
    assert (found["calls"], found["input_tokens"]) == (201, sum(range(1, 200)) + 5)
    assert sheet.unpriced == {"unknown"}


# ---- documents


async def _each(*rows: Any) -> AsyncIterator[Any]:
    for row in rows:
        yield row


async def test_an_object_is_whole_json_in_bounded_pieces() -> None:
    writer = document.JsonObject()
    pieces = [writer.member("a", {"b": 1})]
    pieces += [piece async for piece in writer.array("none", _each())]
    rows = [{"text": "x" * 1000, "n": n} for n in range(500)]
    pieces += [piece async for piece in writer.array("rows", _each(*rows))]
    pieces.append(writer.end())
    assert json.loads(b"".join(pieces)) == {"a": {"b": 1}, "none": [], "rows": rows}
    assert max(map(len, pieces)) < 2 * document.PIECE
    assert json.loads(document.JsonObject().end()) == {}


async def test_a_table_holds_no_formula() -> None:
    names = [
        '=HYPERLINK("x")',
        "+1",
        "-1",
        "@a",
        "\tx",
        "a,b",
        'q"q',
        "line\nbreak",
        "Zoë",
        "plain",
    ]
    rows = [{"name": name, "n": -3, "cost": None} for name in names]
    pieces = [piece async for piece in document.table(("name", "n", "cost"), _each(*rows))]
    head, *found = csv.reader(io.StringIO(b"".join(pieces).decode(), newline=""))
    assert head == ["name", "n", "cost"]
    assert [row[0] for row in found] == ["'" + n if n[0] in "=+-@\t" else n for n in names]
    assert {tuple(row[1:]) for row in found} == {("-3", "")}  # numbers stay numbers


async def test_a_long_table_comes_in_pieces() -> None:
    rows = [{"name": "x" * 100, "n": n} for n in range(3000)]
    pieces = [piece async for piece in document.table(("name", "n"), _each(*rows))]
    assert len(pieces) > 3
    assert b"".join(pieces).count(b"\r\n") == 3001


# ---- memory


async def test_memory_is_looked_at() -> None:
    resident, gpu = own()
    assert 10 * 2**20 < resident < 10 * 2**30
    assert gpu == 0
    memory = Memory(lambda: (3 * 2**20, 2**20))
    await memory.start()
    await memory.stop()
    await memory.stop()
    assert (memory.resident_mb, memory.gpu_mb) == (3.0, 1.0)
