"""Files: may the gateway write where it must, and may others read what they must not?"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gemma_gateway.access import keys
from gemma_gateway.cli.doctor.finding import Findings, ok, problem, warning
from gemma_gateway.console.site import Site
from gemma_gateway.settings import SECRETS_VARIABLE, Model, Settings, config, flat
from gemma_gateway.settings.yamlfile import YamlFile, yaml_files

LEAST_FREE = 512 * 2**20  # bytes for logs and the embedded store
BUNDLED_NEEDS = 2 * 2**30  # bytes while the bundled model is being prepared


def look(settings: Settings, config_file: Path | None) -> Findings:
    """Data folder, generated key, configuration, policy, presets, secrets, console."""
    yield from _data_dir(settings)
    yield from _key_file(settings)
    yield from _config_file(settings, config_file)
    if settings.safety.policy_file is not None:
        yield from _written_by_others(settings.safety.policy_file, "policy")
    if settings.prompts.prompts_file is not None:
        for file in yaml_files(settings.prompts.prompts_file):
            yield from _written_by_others(file, "presets")
    yield from _secrets(settings.engine.models)
    if Site.installed().page is None:
        yield warning(
            "console", "not built: /console says so", "run 'make console' and start again"
        )
    else:
        yield ok("console", "built")


def _data_dir(settings: Settings) -> Findings:
    folder = settings.server.data_dir.absolute()
    there = folder
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        yield problem("files", f"{there} is not a folder", "name another in GATEWAY_DATA_DIR")
        return
    if not os.access(there, os.W_OK | os.X_OK):
        yield problem(
            "files",
            f"{there} isn't writable by this user",
            f"chown {os.getuid()} {there}, or name another folder in GATEWAY_DATA_DIR",
        )
        return
    mode = _mode(folder) if there == folder else 0o700
    if mode & 0o022:
        yield problem(
            "files",
            f"{folder} is writable by others (mode {mode:04o}): they could replace the key",
            f"chmod 700 {folder}",
        )
    else:
        yield ok("files", f"{folder} {'is writable' if there == folder else 'will be created'}")
    bundled = settings.engine.in_process == ""
    need = BUNDLED_NEEDS if bundled and not (folder / "models").exists() else LEAST_FREE
    free = shutil.disk_usage(there).free
    if free < need:
        yield problem(
            "files",
            f"{free / 2**20:.0f} MB free for {folder}, {need / 2**20:.0f} MB are needed",
            "free some space, or name a folder on another disk in GATEWAY_DATA_DIR",
        )


def _key_file(settings: Settings) -> Findings:
    path = settings.server.data_dir / "api_key"
    given = settings.access.api_keys or settings.access.operator_keys or settings.access.keys
    if given or settings.access.allow_anonymous or not path.exists():
        return
    try:
        keys.first_key(path)
    except PermissionError as error:
        if error.errno:
            yield problem("files", f"{path}: {error.strerror}", f"chown {os.getuid()} {path}")
        else:
            yield problem("files", str(error).partition(": run ")[0], f"chmod 600 {path}")
    except (OSError, ValueError):
        yield problem(
            "files", f"{path} doesn't hold an API key", "delete it: the next start makes a new one"
        )
    else:
        yield ok("files", f"{path} is readable only by this user")


def _config_file(settings: Settings, given: Path | None) -> Findings:
    path = config.find(given)
    if path is None or not path.is_file():
        return
    yield from _written_by_others(path, "settings")
    names = _secrets_in(YamlFile(path).values)
    if names and _mode(path) & 0o044:
        yield warning(
            "files",
            f"{path} holds {', '.join(names)} and others can read it (mode {_mode(path):04o})",
            f"chmod 600 {path}, or give them in the environment or by {SECRETS_VARIABLE}",
        )


def _secrets_in(values: Any) -> list[str]:
    """Names of the settings in a file that hold a secret."""
    given = flat(values) if isinstance(values, dict) else {}
    names = [name for name in ("api_keys", "operator_keys", "upstream_api_key") if given.get(name)]
    if "@" in str(given.get("redis_url", "")):
        names.append("redis_url")
    if isinstance(alerts := given.get("alerts"), dict) and alerts.get("webhooks"):
        names.append("alerts.webhooks")
    models = given.get("models")
    for n, model in enumerate(models if isinstance(models, list) else ()):
        if isinstance(model, dict) and model.get("api_key"):
            names.append(f"models.{n}.api_key")
    return names


def _secrets(models: Sequence[Model]) -> Findings:
    """Files with a secret each: those of the settings' folder, and the keys of models."""
    paths = []
    if folder := os.environ.get(SECRETS_VARIABLE):
        paths = [p for p in Path(folder).iterdir() if p.name.lower().startswith("gateway_")]
    for model in models:
        if model.api_key_file is not None:
            paths.append(model.api_key_file)
            yield from _key_of(model)
    for path in sorted(set(paths)):
        if path.is_file() and _mode(path) & 0o007:
            yield warning(
                "files",
                f"{path} holds a secret and anybody can open it (mode {_mode(path):04o})",
                f"chmod 400 {path} (Kubernetes: defaultMode of the volume)",
            )


def _key_of(model: Model) -> Findings:
    try:
        model.key()
    except (OSError, ValueError) as error:
        yield problem(
            "files",
            f"the key of {model.name} can't be used: {error}",
            "correct api_key_file, or the file: one line that this user may read",
        )


def _written_by_others(path: Path, check: str) -> Findings:
    if path.is_file() and _mode(path) & 0o002:
        yield problem(
            check,
            f"{path} is writable by anybody (mode {_mode(path):04o})",
            f"chmod o-w {path}",
        )


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
