"""All checks, in the order in which a person would go about it."""

from __future__ import annotations

from pathlib import Path

from gemma_gateway.cli.doctor import configuration, engine, files, machine, store, upstreams
from gemma_gateway.cli.doctor.finding import Findings, warning


def examine(config_file: Path | None) -> Findings:
    """Look at everything that can be looked at.

    Args:
        config_file: YAML file; None: the one that ``gemma-gateway serve`` would take.
    """
    settings, found = configuration.load(config_file)
    yield from found
    if settings is None:
        yield warning(
            "settings",
            "nothing else can be checked until the settings are valid",
            "correct them, and run this again",
        )
        return
    yield from configuration.look(settings, config_file)
    yield from files.look(settings, config_file)
    yield from machine.look(settings)
    yield from store.look(settings.store)
    yield from upstreams.look(settings)
    if settings.engine.in_process is not None:
        yield from engine.look(settings)
