"""A run of ``gemma-gateway bench`` from the first question to the last file."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from tqdm import tqdm

from gemma_gateway.cli import caller as words
from gemma_gateway.cli.bench import prompts
from gemma_gateway.cli.bench.call import REFUSED, Call, Caller, reason
from gemma_gateway.cli.bench.figures import Figures, notes
from gemma_gateway.cli.bench.load import Level, Run, connections, put
from gemma_gateway.cli.bench.report import PAGE, PLOT, RESULT, Report, make_folder
from gemma_gateway.cli.command import CommandError

INTERRUPTED = 130  # exit status after Ctrl-C
REST = ("max_tokens", "ignore_eos", "body", "stream", "seed")  # options that result.json repeats
TICK = 0.2  # seconds between two looks at the clock for the bar


def run(parsed: argparse.Namespace) -> int:
    """Measure, and write the result; what was measured before Ctrl-C is written, too.

    Returns:
        Exit status: 0; 1 when a level had to be given up; 130 after Ctrl-C.

    Raises:
        CommandError: wrong words, or the server can't be measured.
    """
    key = words.api_key(parsed.url, parsed.key_file)
    asked = _prompts(parsed)
    started = datetime.now(UTC)
    folder = parsed.out or Path(f"bench-{started:%Y%m%d-%H%M%S}")
    make_folder(folder)
    session = Session(parsed, key, asked)
    interrupted = False
    try:
        asyncio.run(session.measure())
    except KeyboardInterrupt:
        interrupted = True
    finally:
        if not any(run.calls for run in session.runs):
            _remove_empty(folder)
    if interrupted and not any(run.calls for run in session.runs):
        return INTERRUPTED
    report = Report(
        started.isoformat(timespec="seconds").replace("+00:00", "Z"),
        parsed.url,
        session.model,
        _options(parsed),
        [Figures.of(run) for run in session.runs if run.calls],
        interrupted=interrupted,
    )
    report.notes = notes(report.levels, itertools.chain(*(run.calls for run in session.runs)))
    print(report.text())
    report.write(folder)
    print(f"\nwritten: {folder / RESULT}, {folder / PLOT}, {folder / PAGE}")
    if interrupted:
        return INTERRUPTED
    return 1 if any(run.given_up for run in session.runs) else 0


class Session:
    """The levels of one run.

    Attributes:
        runs: what has come so far.
        model: that is asked.
    """

    def __init__(
        self, parsed: argparse.Namespace, key: str, asked: Iterator[prompts.Messages]
    ) -> None:
        self._parsed = parsed
        self._key = key
        self._prompts = asked
        self.model: str = parsed.model or ""
        self.runs: list[Run] = []

    async def measure(self) -> None:
        """Ask who is there, make one call that doesn't count, then every level.

        Raises:
            CommandError: no server, no model, or that call failed; the text says what to do.
        """
        parsed = self._parsed
        async with connections(parsed.timeout) as link:
            if not self.model:
                self.model = await self._first_model(Caller(link, parsed.url, self._key, {}))
            caller = Caller(link, parsed.url, self._key, self._body())
            self._check(await caller.call(next(self._prompts)))
            for level in _levels(parsed):
                run = Run(level)
                self.runs.append(run)
                with Bar(run) as bar:
                    await put(caller, run, self._prompts, parsed.seed, bar.finished)
                if run.given_up:
                    return

    async def _first_model(self, caller: Caller) -> str:
        try:
            status, doc = await caller.models()
        except aiohttp.ClientConnectorError as error:
            raise _unreachable(self._parsed.url, reason(error)) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(self._parsed.url, str(error)) from None
        if status in {401, 403}:
            raise CommandError(words.no_key(status, "INVALID_API_KEY"))
        data = doc.get("data")
        first = data[0] if isinstance(data, list) and data else None
        if status != 200 or not isinstance(first, dict) or not isinstance(first.get("id"), str):
            raise CommandError(
                f"{self._parsed.url} lists no model (HTTP {status}): name one with --model, "
                "or wait until its engine is ready"
            )
        return str(first["id"])

    def _body(self) -> dict[str, Any]:
        parsed = self._parsed
        body = {**parsed.body, "model": self.model, "max_tokens": parsed.max_tokens}
        if parsed.ignore_eos:
            body["ignore_eos"] = True
        if parsed.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body

    def _check(self, call: Call) -> None:
        """The first call warms the model up, and tells whether any call can be made at all."""
        if call.ok:
            return
        if call.outcome == REFUSED:
            raise _unreachable(self._parsed.url, call.detail)
        if call.status in {401, 403}:
            raise CommandError(words.no_key(call.status, call.outcome))
        why = f": {call.detail}" if call.detail else ""
        status = 2 if 400 <= call.status < 500 and call.status != 429 else 1
        raise CommandError(f"the first call ended with {call.outcome}{why}", status)


class Bar:
    """The progress bar of a level on standard error; none where that is no terminal."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._ok = self._tokens = self._errors = 0
        self._clock: asyncio.Task[None] | None = None
        level = run.level
        self._bar = tqdm(
            total=level.requests or math.ceil(level.seconds or 0),
            desc=f"{level.name} callers" if level.rate is None else level.name,
            unit="call" if level.requests else "s",
            disable=None,
            dynamic_ncols=True,
            bar_format="{desc:>12} {percentage:3.0f}%|{bar}| {n:.0f}/{total} {unit}{postfix}",
        )

    def __enter__(self) -> Bar:
        if self._run.level.requests is None:
            self._clock = asyncio.create_task(self._tick())
        return self

    def __exit__(self, *error: object) -> None:
        if self._clock is not None:
            self._clock.cancel()
        self._bar.close()

    def finished(self, call: Call) -> None:
        """Note a call that has ended."""
        self._ok += call.ok
        self._errors += not call.ok
        self._tokens += call.output_tokens
        seconds = max(time.perf_counter() - self._run.began, 1e-9)
        self._bar.set_postfix_str(
            f"{self._ok} ok, {self._errors} errors, {self._tokens / seconds:.0f} tokens/s",
            refresh=False,
        )
        if self._run.level.requests:
            self._bar.update()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            if self._run.began:
                passed = time.perf_counter() - self._run.began
                self._bar.n = min(passed, self._run.level.seconds or passed)
                self._bar.refresh()


def _prompts(parsed: argparse.Namespace) -> Iterator[prompts.Messages]:
    if parsed.prompts is not None:
        return prompts.from_file(parsed.prompts)
    return prompts.synthetic(parsed.prompt_tokens, parsed.seed)


def _levels(parsed: argparse.Namespace) -> list[Level]:
    seconds = None if parsed.requests else parsed.duration
    if parsed.rate:
        return [Level(rate=r, requests=parsed.requests, seconds=seconds) for r in parsed.rate]
    return [
        Level(concurrency=n, requests=parsed.requests, seconds=seconds) for n in parsed.concurrency
    ]


def _options(parsed: argparse.Namespace) -> dict[str, Any]:
    asked = {"rate": parsed.rate} if parsed.rate else {"concurrency": parsed.concurrency}
    length = {"requests": parsed.requests} if parsed.requests else {"duration": parsed.duration}
    prompt = (
        {"prompts": parsed.prompts.name}
        if parsed.prompts
        else {"prompt_tokens": parsed.prompt_tokens}
    )
    rest = {name: getattr(parsed, name) for name in REST}
    return {**asked, **length, **prompt, **rest}


def _unreachable(url: str, why: str) -> CommandError:
    return CommandError(
        f"no answer from {url} ({why}). Is the gateway running there? Start it with "
        "'gemma-gateway serve', or name its address with --url",
        status=1,
    )


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return  # it was there before, with other files in it
