"""Settings, keys, term policy, presets: usable, and do they mean what their author thinks?"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from gemma_gateway.cli import references
from gemma_gateway.cli.caller import KEY_VARIABLE
from gemma_gateway.cli.doctor.finding import Finding, Findings, ok, problem, warning
from gemma_gateway.presets.library import Library
from gemma_gateway.safety.policy import Policy
from gemma_gateway.settings import Settings, config
from gemma_gateway.settings.yamlfile import ConfigError
from gemma_gateway.telemetry import tracing

ADVICE: dict[str | int, str] = {
    "expires": "give it another date, or remove its entry",
    "max_in_flight": "lower it, so that one key can't use up the capacity of all",
}
SHORT_KEY = 24  # characters; a key of the gateway's own has 46


def load(file: Path | None) -> tuple[Settings | None, list[Finding]]:
    """The settings, or what is wrong with them, each fault by itself.

    Args:
        file: YAML file; None: the one that ``gemma-gateway serve`` would take.
    """
    try:
        settings = config.load(file)
    except ConfigError as error:
        return None, [_fault(line) for line in str(error).splitlines()]
    where = config.find(file)
    source = f"{where} and the environment" if where else "the environment alone"
    return settings, [ok("settings", f"valid ({source})")]


def look(settings: Settings, file: Path | None) -> Findings:
    """What valid settings may still get wrong.

    Args:
        file: as given to :func:`load`.
    """
    yield from _unknown_variables(settings)
    yield from _references(settings, file)
    yield from _policy(settings)
    yield from _presets(settings)
    yield from _keys(settings)
    yield from _extras(settings)


def _fault(line: str) -> Finding:
    advice = "correct this line; 'gemma-gateway config check FILE' checks the file again"
    if line.startswith("environment: "):
        advice = "correct or unset this variable"
    return problem("settings", line, advice)


def _unknown_variables(settings: Settings) -> Findings:
    for name in config.unknown_variables():
        if name == KEY_VARIABLE:
            if not settings.access.api_keys:
                yield warning(
                    "settings",
                    f"{name} is set: it is the key that bench, top and export use, and grants "
                    "nobody access",
                    "to serve a key, set GATEWAY_API_KEYS (with an S)",
                )
            continue
        yield warning("settings", config.unknown(name), "correct its name, or unset it")


def _references(settings: Settings, file: Path | None) -> Findings:
    for place, why in references.faults(settings):
        if place[0] not in {"redis_url", "model"}:  # looked at with more than the eye: below
            yield problem("settings", config.told([(place, why)], file), "correct this name")
    for place, why in references.doubts(settings):
        check = "keys" if place[0] == "keys" else "settings"
        advice = ADVICE.get(place[-1], "correct it, or remove it")
        yield warning(check, config.told([(place, why)], file), advice)


def _policy(settings: Settings) -> Findings:
    try:
        Policy.load(settings.safety.policy_file)
    except ConfigError as error:
        for line in str(error).splitlines():
            yield problem("policy", line, "correct this line of the term policy")
        return
    file = settings.safety.policy_file
    named = str(file) if file else "the four built-in terms"
    yield ok("policy", f"usable ({named})")


def _presets(settings: Settings) -> Findings:
    file = settings.prompts.prompts_file
    if file is None:
        return
    try:
        library = Library.load(file)
    except ConfigError as error:
        for line in str(error).splitlines():
            yield problem("presets", line, "correct this line of the prompt presets")
        return
    yield ok("presets", f"{len(library.shelves())} usable, the built-in ones among them ({file})")


def _keys(settings: Settings) -> Findings:
    access = settings.access
    clear = [*access.api_keys, *access.operator_keys]
    if not clear and not access.keys:
        if access.allow_anonymous:
            yield ok("keys", "none: anybody on this machine may call (GATEWAY_ALLOW_ANONYMOUS)")
        else:
            yield ok(
                "keys", f"none given: one will be created in {settings.server.data_dir / 'api_key'}"
            )
        return
    yield ok("keys", f"{len(clear) + len(access.keys)} in the settings")
    if short := sum(len(key) < SHORT_KEY for key in clear):
        yield warning(
            "keys",
            f"{short} of them shorter than {SHORT_KEY} characters: such a key could be guessed",
            "make keys with 'gemma-gateway key new'",
        )
    if not access.operator_keys and not any("operator" in e.scopes for e in access.keys):
        yield warning(
            "keys",
            "none has operator scope: nobody can read /v1/monitoring or manage keys",
            "name one in GATEWAY_OPERATOR_KEYS, or make one: 'gemma-gateway key new --operator'",
        )


def _extras(settings: Settings) -> Findings:
    """Settings that need packages beyond the core install."""
    engine = settings.engine
    google = [f"credentials of {m.name}" for m in engine.models if m.credentials == "google"]
    if engine.upstream_credentials == "google":
        google.append("GATEWAY_UPSTREAM_CREDENTIALS=google")
    wanted = []
    if not _installed("google.auth"):
        wanted += [("google", setting) for setting in google]
    if settings.limits.samples and not _installed("sentence_transformers"):
        wanted.append(("quality", "quality_sample"))
    if tracing.wanted(os.environ) and not _installed("opentelemetry.sdk"):
        wanted.append(("otel", "OTEL_EXPORTER_OTLP_ENDPOINT"))
    for extra, setting in wanted:
        report = problem if extra == "google" else warning
        yield report(
            "extras",
            f"{setting} needs packages that are not installed",
            f"pip install 'gemma-gateway[{extra}]', or remove the setting",
        )


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
