"""``gemma-gateway top``: a running gateway at a glance, live."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from gemma_gateway.cli import caller
from gemma_gateway.cli.command import CommandError, Commands, between
from gemma_gateway.cli.fetch import Reply

LAST = 100  # calls that the figures of times are made of
# ANSI: an alternate screen without cursor, and back; home; clear to the end of line, of screen.
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
HOME, LINE_END, SCREEN_END = "\x1b[H", "\x1b[K\r\n", "\x1b[J"
Json = dict[str, Any]
Sums = dict[str, float]


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "top",
        help="watch a running gateway: throughput, times, limits, upstreams, alerts",
        description=(
            "With an operator's key it shows what /v1/monitoring reports, over all replicas; "
            "with another one, or none, what /metrics of one replica reports. Ctrl-C ends it."
        ),
    )
    caller.add_arguments(parser)
    parser.add_argument("--once", action="store_true", help="print one snapshot and exit")
    parser.add_argument(
        "--interval",
        type=between(float, 0.2, 3600),
        default=2.0,
        metavar="SECONDS",
        help="(%(default)s)",
    )
    parser.set_defaults(run=_run)


def _run(parsed: argparse.Namespace) -> int:
    key = caller.api_key(parsed.url, parsed.key_file)
    look = _source(parsed.url, key)
    if parsed.once or not sys.stdout.isatty():
        print("\n".join(look()))
        return 0
    try:
        sys.stdout.write(ENTER)
        while True:
            try:
                lines = look()
            except CommandError as error:  # it may come back
                lines = [f"{time.strftime('%H:%M:%S')}  {error}"]
            columns, rows = shutil.get_terminal_size()
            shown = LINE_END.join(line[:columns] for line in lines[: rows - 1])
            sys.stdout.write(HOME + shown + LINE_END + SCREEN_END)
            sys.stdout.flush()
            time.sleep(parsed.interval)
    finally:
        sys.stdout.write(LEAVE)
        sys.stdout.flush()


def _source(url: str, key: str) -> Callable[[], list[str]]:
    """The view that this key may have.

    Raises:
        CommandError: nobody there, or no gateway.
    """
    reply = caller.reached(url, key, "/v1/monitoring/state")
    if reply.status == 200:
        return lambda: monitored(url, key)
    if reply.status not in {401, 403, 404}:
        raise CommandError(f"{url} answers {reply.code}", status=1)
    if key and reply.status != 404 and reply.code != "OPERATOR_REQUIRED":
        raise CommandError(caller.no_key(reply.status, reply.code), 1)
    why = "no operator's key" if reply.status != 404 else "no /v1/monitoring there"
    metered = Metered(url, key, why)
    return metered.look


# ---- from /v1/monitoring


def monitored(url: str, key: str) -> list[str]:
    """Lines of the view for operators.

    Raises:
        CommandError: no answer, or not the one that a gateway gives.
    """
    state, series, performance, alerts = (
        _document(url, f"/v1/monitoring/{path}", key)
        for path in ("state", "series?range=1h", f"performance?last={LAST}", "alerts")
    )
    try:
        return [_plain(line) for line in _monitored(url, state, series, performance, alerts)]
    except (KeyError, TypeError, IndexError) as error:
        raise CommandError(
            f"{url} doesn't answer like a gateway of this version: {error}", 1
        ) from None


def _document(url: str, path: str, key: str) -> Json:
    reply = caller.reached(url, key, path)
    document = reply.json()
    if reply.status != 200 or not isinstance(document, dict):
        raise CommandError(f"{url}{path} answers {reply.code}", status=1)
    return document


def _monitored(url: str, state: Json, series: Json, performance: Json, alerts: Json) -> list[str]:
    points, step = series["points"][-2:], series["step_seconds"]
    seconds = step * (len(points) - 1) + time.time() % step  # the last point is still going on
    total = {k: sum(p[k] for p in points) for k in points[-1] if isinstance(points[-1][k], int)}
    summary = performance["summary"]
    firing = [alert for alert in alerts["data"] if alert["state"] == "firing"]
    store = state["store"]
    return [
        f"{url}   {state['status']}   version {state['version']}   {time.strftime('%H:%M:%S')}",
        f"models     {', '.join(state['models']) or 'none'}",
        "",
        f"calls      {total['requests'] / seconds:.2f}/s over {seconds:.0f} s: {total['ok']} ok, "
        f"{total['failed']} failed, {total['client_closed']} ended by the client, "
        f"{total['refused']} refused ({total['limited']} limited, {total['filtered']} filtered)",
        f"tokens     {total['input_tokens'] / seconds:.1f}/s in, "
        f"{total['output_tokens'] / seconds:.1f}/s out",
        f"last {LAST}   success {_share(summary['success_rate'])}, response "
        f"{_time(summary['average_response_time'])} (p95 {_time(summary['p95_response_time'])}), "
        f"first token {_time(summary['average_time_to_first_token'])} "
        f"(p95 {_time(summary['p95_time_to_first_token'])})",
        "",
        f"in flight  {state['in_flight']} of {state['in_flight_limit']}",
        f"process    {state['memory_mb']:.0f} MB, event loop "
        f"{state['event_loop_lag_seconds'] * 1000:.0f} ms late",
        f"store      {store['status']}, {store['outages']} outages, {store['failures']} failures",
        f"engine     {state['engine']['kind']}, {'' if state['engine']['ready'] else 'not '}ready",
        *(
            f"upstream   {server['upstream']}  {'up' if server['available'] else 'EJECTED'}, "
            f"{server['in_flight']} in flight{server['trouble'] and ': '}{server['trouble']}"
            for server in state["upstreams"]
        ),
        f"alerts     {len(firing)} firing",
        *(
            f"  {a['severity']:7} {a['title']}: {a['message']} (since {a['started_at']})"
            for a in firing
        ),
    ]


# ---- from /metrics


class Metered:
    """The view without operator scope: rates between two looks, or sums since the start."""

    def __init__(self, url: str, key: str, why: str) -> None:
        self._url = url
        self._key = key
        self._why = why
        self._before: tuple[float, Sums] | None = None

    def look(self) -> list[str]:
        """Lines of the view.

        Raises:
            CommandError: no answer, or no metrics.
        """
        reply = caller.reached(self._url, self._key, "/metrics")
        now, sums = time.monotonic(), _sums(reply) if reply.status == 200 else {}
        if "gateway_requests_in_flight" not in sums:
            raise CommandError(f"{self._url} is not a gateway: /metrics returned {reply.code}", 1)
        before, self._before = self._before, (now, sums)
        if before is None:
            return [_plain(line) for line in self._lines(sums, None)]
        seconds = now - before[0]
        moved = {k: v - before[1].get(k, 0.0) if k.count("_total") else v for k, v in sums.items()}
        return [_plain(line) for line in self._lines(moved, seconds)]

    def _lines(self, sums: Sums, seconds: float | None) -> list[str]:
        """``seconds``: in which the sums came to be; None: since the start."""
        unit = "since the start" if seconds is None else "/s"

        def rate(name: str) -> str:
            value = sums.get(name, 0.0)
            return f"{value:,.0f}" if seconds is None else f"{value / seconds:,.1f}"

        tokens = "gateway_tokens_total"
        outcomes = sorted(k for k in sums if k.startswith("gateway_requests_total "))
        return [
            f"{self._url}   {time.strftime('%H:%M:%S')}   /metrics of one replica: {self._why}",
            "",
            f"calls      {rate('gateway_requests_total')} {unit}",
            *(f"  {name.partition(' ')[2]:24} {rate(name)}" for name in outcomes if sums[name]),
            f"tokens     {rate(f'{tokens} input')} in, {rate(f'{tokens} output')} out {unit}",
            f"in flight  {sums['gateway_requests_in_flight']:.0f} of "
            f"{sums.get('gateway_requests_in_flight_limit', 0):.0f}",
            f"store      {'available' if sums.get('gateway_store_available') else 'unavailable'}",
        ]


def _sums(reply: Reply) -> Sums:
    """Values by name, and by name and the one label that is shown, summed over the others."""
    sums: Sums = defaultdict(float)
    try:
        for family in text_string_to_metric_families(reply.body.decode("utf-8", "replace")):
            for sample in family.samples:
                sums[sample.name] += sample.value
                if label := sample.labels.get("outcome") or sample.labels.get("type"):
                    sums[f"{sample.name} {label}"] += sample.value
    except ValueError:
        return {}
    return sums


def _plain(text: str) -> str:
    """Without anything that could steer a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:,.1f} s"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
