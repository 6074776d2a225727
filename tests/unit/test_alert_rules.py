"""What the rules measure, and an alert's way from its first sign to its end. No I/O."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from gemma_gateway.alerts.alert import Alert, advance, alert_id
from gemma_gateway.alerts.conditions import Condition, Conditions, readings
from gemma_gateway.alerts.rule_types import RULE_TYPES
from gemma_gateway.alerts.windows import MOST_SERVERS, Reading, RuleWindows
from gemma_gateway.core.engine import EngineState, ServerState
from gemma_gateway.core.record import Record
from gemma_gateway.engines.scripted import ScriptedEngine
from gemma_gateway.monitoring.memory import Memory, limit
from gemma_gateway.settings.alerts import AlertSettings, Rule
from tests.road import say

NOW = 1_000_000.0
PLAIN: dict[str, Any] = {
    "time": NOW,
    "id": "1",
    "request_id": "r",
    "key_id": "k",
    "tier": "default",
    "route": "/v1/chat/completions",
    "model": "m",
    "stream": False,
    "status": 200,
    "outcome": "ok",
    "response_time": 1.0,
    "output_tokens": 50,
    "upstream": "a:1",
    "memory_mb": 100.0,
}
FAILED = {"status": 503, "outcome": "GENERATION_ERROR", "output_tokens": 0}
LIMITED = {"status": 429, "outcome": "RATE_LIMIT_EXCEEDED", "output_tokens": 0, "upstream": ""}
FILTERED = {"status": 400, "outcome": "CONTENT_FILTERED", "output_tokens": 0, "upstream": ""}
LEFT = {"status": 499, "outcome": "client_closed"}
WRONG = {"status": 400, "outcome": "VALIDATION_ERROR", "output_tokens": 0, "upstream": ""}


def calls(count: int, **fields: Any) -> list[Record]:
    return [Record(**(PLAIN | fields)) for _ in range(count)]


def value(rule: str, records: list[Record], **changed: Any) -> float | None:
    """The rule's value after these calls; None where it has none (yet)."""
    windows = RuleWindows(AlertSettings(rules={rule: changed}).rules)
    windows.add(records)
    found = [r.value for r in windows.read(NOW) if r.rule == rule]
    assert len(found) <= 1
    return found[0] if found else None


def breached(rule: str, records: list[Record]) -> bool:
    settings = AlertSettings().rules[rule]
    found = value(rule, records)  # also of those that are off by default
    return found is not None and RULE_TYPES[settings.kind].breached(found, settings.threshold)


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("response_time", calls(10, response_time=10.0), calls(10, response_time=10.01)),
        ("memory", calls(10, memory_mb=8192), calls(9, memory_mb=8192) + calls(1, memory_mb=8200)),
        ("token_rate", calls(10, output_tokens=5),
         calls(9, output_tokens=5) + calls(1, output_tokens=4)),
        ("success_rate", calls(19) + calls(1, **FAILED), calls(18) + calls(2, **FAILED)),
        ("no_success", calls(9, **FAILED) + calls(1), calls(10, **FAILED)),
        ("upstream_errors", calls(8) + calls(2, **FAILED), calls(7) + calls(3, **FAILED)),
        ("limited", calls(15) + calls(5, **LIMITED), calls(14) + calls(6, **LIMITED)),
        ("filtered", calls(16) + calls(4, **FILTERED), calls(15) + calls(5, **FILTERED)),
        ("queue_time", calls(10, queue_time=5.0), calls(9, queue_time=5) + calls(1, queue_time=6)),
    ],
)  # fmt: skip
def test_each_default_rule_at_its_bound(rule: str, good: list[Record], bad: list[Record]) -> None:
    assert not breached(rule, good)
    assert breached(rule, bad)
    assert not breached(rule, bad[:-1])  # one call too few: nothing is said of them


@pytest.mark.parametrize("rule", ["response_time", "memory", "token_rate", "no_success"])
def test_the_last_ten_served_calls_count_and_no_others(rule: str) -> None:
    """Refusals and clients that left are neither good nor bad, and push nothing out."""
    others = [c for kind in (LIMITED, FILTERED, LEFT, WRONG) for c in calls(50, **kind)]
    bad = calls(10, response_time=99, memory_mb=99_999, **FAILED)
    good = calls(10)
    alone = value(rule, good)
    assert value(rule, bad + good) == alone
    assert value(rule, bad + others + good + others) == alone
    assert value(rule, others) is None


def test_failures_have_no_part_in_the_token_rate() -> None:
    """They write nothing; that they fail is another rule's business."""
    assert value("token_rate", calls(5, output_tokens=40) + calls(5, **FAILED)) == 40
    assert value("token_rate", calls(10, **FAILED)) is None


def test_a_window_of_seconds_forgets() -> None:
    rule = {"seconds": 300, "calls": 10}
    old, new = calls(30, time=NOW - 301, **LIMITED), calls(10, time=NOW - 100)
    assert value("limited", old + new, **rule) == 0.0
    assert value("limited", old, **rule) is None


def test_a_window_of_seconds_agrees_with_counting() -> None:
    """Against a list: off by a step of 1/60 of the window at most."""
    chance = random.Random(7)
    rule = {"seconds": 60, "calls": 1}
    for _ in range(50):
        records = [
            r
            for _ in range(200)
            for r in calls(
                1,
                time=NOW - chance.uniform(0, 150),
                **(LIMITED if chance.random() < 0.4 else {}),
            )
        ]
        chance.shuffle(records)
        near, far = ([r for r in records if r.time > NOW - seconds] for seconds in (59, 60))
        found = value("limited", records, **rule)
        shares = [sum(not r.success for r in some) / len(some) for some in (near, far)]
        assert found is not None
        assert min(shares) - 0.05 <= found <= max(shares) + 0.05


def test_each_server_has_its_own_value_and_they_are_bounded() -> None:
    windows = RuleWindows(AlertSettings().rules)
    windows.add(calls(10, upstream="a:1") + calls(10, upstream="b:1", **FAILED))
    values = {r.upstream: r.value for r in windows.read(NOW) if r.rule == "upstream_errors"}
    assert values == {"a:1": 0.0, "b:1": 1.0}
    for number in range(10 * MOST_SERVERS):
        windows.add(calls(1, upstream=f"{number}:1"))
    assert len(list(windows.read(NOW))) < MOST_SERVERS + 20


def test_what_is_off_is_not_measured() -> None:
    rules = AlertSettings(rules={"limited": {"enabled": False}}).rules
    windows = RuleWindows(rules)
    windows.add(calls(30))
    assert "limited" not in {reading.rule for reading in windows.read(NOW)}
    windows.clear()
    assert list(windows.read(NOW)) == []


# ---- from the first sign to the end

RULE = Rule(kind="response_time", threshold=10, severity="medium", for_seconds=5)


def walk(values: dict[float, float | None], rule: Rule = RULE) -> dict[float, str | None]:
    """The state after each look; times in seconds."""
    alert: Alert | None = None
    states: dict[float, str | None] = {}
    for at, seen in values.items():
        if alert is not None and alert.state == "resolved":
            alert = None
        alert = advance(alert, "slow", rule, "", seen, NOW + at, resolve_seconds=10)
        states[at] = alert.state if alert else None
    return states


def test_it_fires_only_after_a_while_and_resolves_only_after_a_while() -> None:
    assert walk({0: 9, 1: 11, 5: 12, 6: 13, 7: 9, 12: 9, 17: 9, 18: 9}) == {
        0: None, 1: "pending", 5: "pending", 6: "firing", 7: "firing", 12: "firing",
        17: "resolved", 18: None,
    }  # fmt: skip


def test_a_good_moment_restarts_the_wait_and_a_bad_one_the_end() -> None:
    assert walk({0: 11, 4: 9, 5: 11, 9: 11, 10: 11, 11: 9, 20: 11, 21: 9, 30: 9, 31: 9}) == {
        0: "pending", 4: None, 5: "pending", 9: "pending", 10: "firing", 11: "firing",
        20: "firing", 21: "firing", 30: "firing", 31: "resolved",
    }  # fmt: skip


def test_nothing_known_is_no_sign_of_anything_wrong() -> None:
    assert walk({0: None, 1: 11, 2: None, 3: 11, 8: 11, 9: None, 19: None}) == {
        0: None, 1: "pending", 2: None, 3: "pending", 8: "firing", 9: "firing", 19: "resolved",
    }  # fmt: skip


def test_without_a_wait_it_fires_at_once() -> None:
    assert walk({0: 11}, RULE.model_copy(update={"for_seconds": 0})) == {0: "firing"}


def test_an_alert_keeps_its_id_and_start_and_tells_its_last_bad_value() -> None:
    rule = RULE.model_copy(update={"for_seconds": 0})
    first = advance(None, "slow", rule, "a:1", 11.0, NOW, 10)
    assert first is not None
    worse = advance(first, "slow", rule, "a:1", 25.5, NOW + 3, 10)
    assert worse is not None
    assert (worse.id, worse.started) == (first.id, NOW)
    well = advance(worse, "slow", rule, "a:1", 1.0, NOW + 4, 0)
    assert well is not None
    assert worse.message == (
        "Average response time of the last 10 served calls is 25.5 s; it should be at most 10 s."
    )
    assert (well.state, well.resolved, well.value) == ("resolved", NOW + 4, 25.5)
    assert well.message == (
        "Average response time of the last 10 served calls is back to 1 s, at most 10 s."
    )
    again = advance(None, "slow", rule, "a:1", 11.0, NOW + 5, 10)
    assert again is not None
    assert again.id != first.id
    assert again.key == first.key == "slow a:1"


def test_everybody_makes_the_same_id() -> None:
    assert alert_id("store_away", "g1") == alert_id("store_away", "g1")
    assert (
        len({alert_id("store_away", "g1"), alert_id("store_away", "g2"), alert_id("x", "g1")}) == 3
    )


def test_every_rule_says_in_words_what_it_looks_at() -> None:
    for rule in AlertSettings().rules.values():
        words = RULE_TYPES[rule.kind].expression(rule)
        assert "{" not in words
        assert f"{rule.threshold * 100:g} %" in words or f"{rule.threshold:g}" in words
        kind = RULE_TYPES[rule.kind]
        firing = kind.message(rule, "a:1", 0.5)
        for message in (firing, kind.recovery(rule, "a:1", 0.5), kind.recovery(rule, "a:1", None)):
            assert message.endswith(".")
            assert message[0].isupper()
            assert "{" not in message
        assert 0 < len(kind.title) <= 40
    assert len({kind.title for kind in RULE_TYPES.values()}) == len(RULE_TYPES)


@pytest.mark.parametrize(
    ("name", "value", "firing", "back", "resolved"),
    [
        ("filtered", 0.25,
         "Share blocked by the content filter among the checked calls in the last 300 s is 25 %; "
         "it should be at most 20 %.", 0.03,
         "Share blocked by the content filter among the checked calls in the last 300 s is back to "
         "3 %, at most 20 %."),
        ("success_rate", 0.8,
         "Share of successes among the served calls in the last 300 s is 80 %; it should be at "
         "least 95 %.", None,
         "There are too few calls now to tell the share of successes among the served calls in "
         "the last 300 s."),
        ("no_engine", 75.4, "No gateway has had an engine that takes calls for 75.4 s.", 0.0,
         "An engine takes calls again."),
        ("upstream_ejected", 130.4, "Engine server a:1 has been ejected for 130 s: refused.", 0.0,
         "Engine server a:1 takes calls again."),
        ("upstream_ejected", 130.4, "Engine server a:1 has been ejected for 130 s: refused.", None,
         "It is no longer watched."),
        ("memory_share", 0.95,
         "Share of its memory that a gateway with its engine holds is 95 %; it should be at most "
         "90 %.", 0.5,
         "Share of its memory that a gateway with its engine holds is back to 50 %, at most 90 %."),
        ("store_away", 61.0, "Redis has not served this gateway for 61 s.", 0.0,
         "Redis serves this gateway again."),
    ],
)  # fmt: skip
def test_an_alert_says_what_is_wrong_and_then_what_is_right(
    name: str, value: float, firing: str, back: float | None, resolved: str
) -> None:
    rule = AlertSettings().rules[name].model_copy(update={"for_seconds": 0})
    why = "refused" if name == "upstream_ejected" else ""
    alert = advance(None, name, rule, "a:1", value, NOW, 10, why)
    assert alert is not None
    assert (alert.state, alert.message) == ("firing", firing)
    soon = advance(alert, name, rule, "a:1", back, NOW + 1, 10)
    assert soon is not None
    assert (soon.state, soon.message) == ("firing", firing)
    over = advance(soon, name, rule, "a:1", back, NOW + 20, 10)
    assert over is not None
    assert (over.state, over.message) == ("resolved", resolved)


# ---- by the gateways' state


def read(*conditions: Condition, **rules: Any) -> set[Reading]:
    return set(readings(AlertSettings(rules=rules).rules, conditions))


def test_no_engine_is_of_all_gateways_together() -> None:
    assert Reading("no_engine", "", 61.0) in read(Condition(70.0), Condition(61.0))
    assert Reading("no_engine", "", 0.0) in read(Condition(70.0), Condition())
    assert read() == set()
    assert "no_engine" not in {r.rule for r in read(Condition(70.0), no_engine={"enabled": False})}


def test_an_ejected_server_is_one_wherever_it_is_ejected() -> None:
    here = Condition(ejected={"a:1": (130.0, "refused"), "b:1": (0.0, "")})
    there = Condition(ejected={"a:1": (0.0, ""), "b:1": (5.0, "status 503"), "c:1": (0.0, "")})
    found = {r for r in read(here, there) if r.rule == "upstream_ejected"}
    assert found == {
        Reading("upstream_ejected", "a:1", 130.0, "refused"),
        Reading("upstream_ejected", "b:1", 5.0, "status 503"),
        Reading("upstream_ejected", "c:1", 0.0),
    }


def test_the_fullest_gateway_counts() -> None:
    found = read(Condition(memory_share=0.5), Condition(memory_share=0.93))
    assert Reading("memory_share", "", 0.93) in found


class Slow(ScriptedEngine):
    """An engine that is told when it is ready, and whether it still loads."""

    ready, starting = False, False

    def state(self) -> EngineState:
        server = ServerState("http://a:1/v1", 0, True, None, 0, 0, 0, 0, False, "refused", 7.0)
        return EngineState("local", self.ready, servers=(server,), starting=self.starting)


def test_a_gateway_s_own_condition() -> None:
    now = 100.0
    engine = Slow(say())
    conditions = Conditions(engine, Memory(), lambda: now)
    now = 130.0
    assert conditions.now().engineless == 30.0
    assert conditions.now().ejected == {"a:1": (7.0, "refused")}
    engine.ready = True
    assert conditions.now().engineless == 0.0
    engine.ready, now = False, 141.0
    assert conditions.now().engineless == 11.0
    engine.starting, now = True, 1000.0  # it loads for the first time
    assert conditions.now().engineless == 0.0


def test_the_memory_of_a_control_group(tmp_path: Path) -> None:
    own, groups = tmp_path / "cgroup", tmp_path / "groups"
    inner = groups / "a" / "b"
    inner.mkdir(parents=True)
    machine = limit(tmp_path / "none", groups)
    assert machine > 2**20
    own.write_text("0::/a/b\n")
    assert limit(own, groups) == machine
    (inner / "memory.max").write_text("max\n")
    assert limit(own, groups) == machine
    (groups / "a" / "memory.max").write_text("1048576\n")  # the one around it is smaller
    assert limit(own, groups) == 2**20
    (inner / "memory.max").write_text("524288\n")
    assert limit(own, groups) == 2**19
    own.write_text("12:memory:/a/b\n")  # version 1
    assert limit(own, groups) == machine


def test_a_reading_names_its_rule() -> None:
    windows = RuleWindows(AlertSettings().rules)
    windows.add(calls(10))
    assert Reading("no_success", "", 10.0) in list(windows.read(NOW))
