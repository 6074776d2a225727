"""Drills on a network: what breaks, and who notices.

Three gateways behind HAProxy, two engines and Redis, each a host of its own, under a steady load of
short JSON calls and of streams of 3 to 5 seconds; every answer is checked to its last word.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.network.figures import Figures, milliseconds, percentile
from tests.network.fleet import LIMIT, LIMITED_KEY, SETTINGS, Fleet
from tests.network.load import Done
from tests.network.namespaces import Network, namespaces

STEADY = ("--short", "20", "--streams", "2.5")  # in a second
BRISK = ("--short", "100", "--streams", "2.5")
CUT_SECONDS = float(os.environ.get("NETWORK_CUT_SECONDS", "8"))
IDLE_STREAMS = int(os.environ.get("NETWORK_IDLE_STREAMS", "500"))
LORISES = 100  # at each of three gateways, and at the balancer
SLACK = 1.5  # seconds that a busy machine may add to any deadline
# Three checks in a row, each half a second after the one before and at most as long.
EJECTION = SETTINGS["eject_after"] * 2 * SETTINGS["health_interval"] + SLACK
PATIENCE = {"stream": SETTINGS["idle_timeout"], "short": SETTINGS["request_timeout"]}


def failed(calls: Sequence[Done]) -> list[Done]:
    return [c for c in calls if c.outcome != "ok"]


def told(calls: Sequence[Done]) -> str:
    """Error codes with their numbers."""
    codes = Counter(c.detail for c in calls)
    return ", ".join(f"{count} {code}" for code, count in codes.most_common()) or "none"


def test_rolling_restart(fleet: Fleet, figures: Figures) -> None:
    drains = []
    with fleet.load(*BRISK) as load:
        time.sleep(2)
        for gateway in fleet.gateways:
            began = time.monotonic()
            assert gateway.stop() == 0
            drains.append(time.monotonic() - began)
            gateway.__enter__()
            time.sleep(1.5)  # the balancer sees it
    calls, streams = load.calls(), load.calls("stream")
    figures.add(
        "Rolling restart of all gateways",
        calls=f"{len(calls)}, of them {len(streams)} streams",
        failed_or_broken=told(failed(calls)),
        from_SIGTERM_to_exit=f"at most {max(drains):.1f} s",
    )
    assert not failed(calls)
    assert len(streams) > 20


def test_an_engine_is_killed(fleet: Fleet, figures: Figures) -> None:
    with fleet.load(*STEADY) as load:
        time.sleep(6)
        engine = fleet.busiest()
        before_kill = time.monotonic()
        engine.kill()
        killed = time.monotonic()
        time.sleep(6)
        engine.__enter__()
        before = fleet.served(engine)
        back = fleet.wait(lambda: fleet.served(engine) > before, 10)
    calls = load.calls()
    bad = failed(calls)
    streams = load.calls("stream")
    in_flight = [c for c in streams if c.began < killed and c.ended > before_kill]
    just_after = [c for c in load.calls("short") if killed < c.began < killed + 2]
    figures.add(
        "An engine is killed",
        failed=f"{told(bad)}, of {len(in_flight)} streams in flight",
        failed_calls_begun_afterwards=len([c for c in bad if c.began > killed]),
        slowest_short_call_in_the_next_2_s=milliseconds(percentile(just_after, 1)),
        restarted_engine_serves_after=f"{back:.1f} s",
    )
    assert bad
    for call in bad:
        assert call.outcome == "error", call
        assert call in in_flight, call
        assert call.ended < killed + SLACK, call
    assert percentile(just_after, 1) < 2


def test_an_engine_freezes(fleet: Fleet, figures: Figures) -> None:
    with fleet.load(*STEADY) as load:
        time.sleep(5)
        engine = fleet.busiest()
        engine.signal(signal.SIGSTOP)
        frozen = time.monotonic()
        time.sleep(PATIENCE["short"] + EJECTION)  # the longest that a call could wait, and more
        engine.signal(signal.SIGCONT)
        before = fleet.served(engine)
        back = fleet.wait(lambda: fleet.served(engine) > before + 2, 10)
    calls = load.calls()
    bad = failed(calls)
    waits = {
        kind: max((c.ended - max(c.began, frozen) for c in bad if c.kind == kind), default=0)
        for kind in PATIENCE
    }
    last = max((c.began - frozen for c in bad), default=0)
    figures.add(
        "An engine freezes",
        failed=f"{told(bad)}, of {len(calls)}",
        longest_wait_of_a_stream=f"{waits['stream']:.1f} s (silence allowed: {PATIENCE['stream']})",
        longest_wait_of_a_short_call=f"{waits['short']:.1f} s (deadline: {PATIENCE['short']} s)",
        last_failing_call_begun=f"{max(last, 0):.1f} s after the freeze",
        serves_again=f"{back:.1f} s after it thawed",
    )
    assert bad
    assert all(c.outcome == "error" for c in bad), bad
    for kind, patience in PATIENCE.items():
        assert waits[kind] < patience + SLACK
    assert last < EJECTION


def test_a_gateway_is_cut_off_from_half_of_the_engines(fleet: Fleet, figures: Figures) -> None:
    gateway, engine = fleet.gateways[0], fleet.engines[0]
    with fleet.load(*BRISK) as load:
        time.sleep(5)
        gateway.host.cut_off(engine.host)
        engine.host.cut_off(gateway.host)
        cut = time.monotonic()
        time.sleep(PATIENCE["short"] + 2)
        ready = gateway.is_ready()
        gateway.host.rejoin()
        engine.host.rejoin()
        name = f'gateway_upstream_available{{upstream="{engine.host.address}:{engine.port}"}} 1.0'
        back = fleet.wait(lambda: name in (fleet.get(gateway.url + "/metrics") or ""), 15)
    calls = load.calls()
    bad = failed(calls)
    last = max((c.began - cut for c in bad), default=0)
    short = [c for c in load.calls("short") if cut < c.began and c.outcome == "ok"]
    figures.add(
        "A gateway loses half of the engines",
        failed=f"{told(bad)}, of {len(calls)}",
        last_failing_call_begun=f"{max(last, 0):.1f} s after the cut",
        slowest_good_short_call=milliseconds(percentile(short, 1)),
        engine_back_in_use=f"{back:.1f} s after the cut healed",
    )
    assert ready, "it still has the other half"
    assert all(c.outcome == "error" for c in bad), bad
    assert all(c.ended > cut for c in bad), bad
    assert last < EJECTION


def test_redis_is_cut_off(fleet: Fleet, figures: Figures) -> None:
    drill = f"Redis is cut off for {CUT_SECONDS:.0f} s"
    before, later = 4, 3  # calls of the limited key at each gateway, before and after the cut
    time.sleep(1)  # what each gateway has counted is in the store
    load_before = fleet.usage(fleet.gateways[0])["all_time"]["calls"]

    def limited(times: int) -> list[list[int]]:
        return [[fleet.ask(g.url, LIMITED_KEY) for _ in range(times)] for g in fleet.gateways]

    def available(value: int) -> bool:
        pages = [fleet.get(g.url + "/metrics") or "" for g in fleet.gateways]
        return all(f"gateway_store_available {value}.0" in page for page in pages)

    with fleet.load(*STEADY) as load:
        assert limited(before) == [[200] * before] * 3
        time.sleep(2)
        fleet.redis.host.cable(False)
        cut = time.monotonic()
        noticed = fleet.wait(lambda: available(0), 5)
        answers = limited(LIMIT)
        time.sleep(max(0.0, cut + CUT_SECONDS - time.monotonic()))
        fleet.redis.host.cable(True)
        healed = time.monotonic()
        back = fleet.wait(lambda: available(1), 10)
        assert limited(later) == [[200] * later] * 3
    time.sleep(1)
    calls = load.calls()
    during = [c for c in load.calls("short") if cut < c.began < healed]
    shares = [before + statuses.count(200) for statuses in answers]
    counted = [fleet.usage(g, LIMITED_KEY) for g in fleet.gateways]
    load_after = fleet.usage(fleet.gateways[0])["all_time"]["calls"]
    figures.add(
        drill,
        failed=f"{told(failed(calls))}, of {len(calls)}",
        slowest_short_call_during_the_cut=milliseconds(percentile(during, 1)),
        noticed_by_all_gateways_within=f"{noticed:.1f} s",
        in_use_again_within=f"{back:.1f} s",
        admitted_by_each_gateway=f"{shares} of a limit of {LIMIT}",
        requests_counted_afterwards=f"{counted[0]['requests_last_hour']}, by all alike",
        calls_charged=f"{load_after - load_before} of {len(calls)} made",
    )
    assert not failed(calls)
    assert shares == [LIMIT] * 3  # each its own share, with what Redis had let through there
    assert {status for statuses in answers for status in statuses} == {200, 429}
    # Windows: what the store admitted. Ledger: every call, those during the cut too.
    assert [u["requests_last_hour"] for u in counted] == [3 * (before + later)] * 3
    assert counted[0]["all_time"]["calls"] == sum(shares) + 3 * later
    assert load_after - load_before == len(calls)


def test_a_crowd(tools: None, figures: Figures, tmp_path: Path) -> None:
    """Thousands of silent streams, and clients whose heads never end: others are unhurt."""
    with ExitStack() as stack:
        fleet = stack.enter_context(Fleet(tmp_path, idle_timeout=20, request_timeout=60))
        with fleet.load(*STEADY) as load:
            time.sleep(6)
            begun = time.monotonic()
            targets = [s.url for s in [*fleet.gateways, fleet.balancer]]
            lorises = ("--loris", *targets, "--lorises", str(LORISES))
            with fleet.load("--idle", str(IDLE_STREAMS), *lorises) as crowd:
                time.sleep(IDLE_STREAMS / 250 + 1)
                gathered = time.monotonic()
                time.sleep(8)
                over = time.monotonic()
                crowd.child.wait(100)
    calls, short = load.calls(), load.calls("short")
    quiet = [c for c in short if c.began < begun]
    loud = [c for c in short if gathered < c.began < over]
    idle, slow = crowd.calls("idle"), crowd.calls("loris")
    there = [c for c in idle if c.began < gathered and c.ended > over - 4]
    figures.add(
        f"{IDLE_STREAMS} idle streams, {4 * LORISES} slow-loris clients",
        failed=f"{told(failed(calls))}, of {len(calls)}",
        failed_idle_streams=f"{told(failed(idle))}, of {len(idle)}",
        open_at_once=len(there),
        short_calls_before=f"p50 {milliseconds(percentile(quiet, 0.5))}, "
        f"p99 {milliseconds(percentile(quiet, 0.99))}",
        short_calls_meanwhile=f"p50 {milliseconds(percentile(loud, 0.5))}, "
        f"p99 {milliseconds(percentile(loud, 0.99))}",
        slow_heads_cut_off=f"{len(slow) - len(failed(slow))} of {len(slow)}, "
        f"after at most {percentile(slow, 1):.1f} s",
    )
    assert not failed(calls)
    assert not failed(idle)
    assert len(idle) == IDLE_STREAMS
    assert len(there) > 0.9 * IDLE_STREAMS
    assert len(slow) == 4 * LORISES
    assert not failed(slow)
    assert percentile(loud, 0.99) < 5 * percentile(quiet, 0.99) + 0.25


@pytest.mark.usefixtures("tools")
def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """Not even when a drill fails."""

    def drill() -> None:
        with Network() as network:
            host = network.host("a")
            with host.inside():
                children.append(os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "60"))
            prefixes.append(network.prefix)
            assert any(name.startswith(network.prefix + "a") for name in namespaces())
            raise ZeroDivisionError

    children: list[int] = []
    prefixes: list[str] = []
    with pytest.raises(ZeroDivisionError):
        drill()
    assert not any(name.startswith(prefixes[0]) for name in namespaces())
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == -signal.SIGKILL
