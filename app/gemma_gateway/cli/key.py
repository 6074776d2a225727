"""``gemma-gateway key new``: a key, and its entry for the configuration file."""

from __future__ import annotations

import argparse
import hashlib
import sys
from typing import Any

import yaml
from pydantic import ValidationError

from gemma_gateway.access import keys
from gemma_gateway.cli.command import Commands
from gemma_gateway.settings import KeyEntry, config
from gemma_gateway.settings.yamlfile import ConfigError, faults, field


def add(commands: Commands) -> None:
    """Add the command."""
    key = commands.add_parser("key", help="make an API key")
    actions = key.add_subparsers(required=True, metavar="ACTION")
    new = actions.add_parser(
        "new",
        help="make a key and its entry for the YAML file",
        description=(
            "Prints the key on standard error, once, and on standard output its entry, which goes "
            f"below 'keys:' in {config.DEFAULT_FILE}. To make keys while the gateway runs, use the "
            "console or POST /v1/keys."
        ),
    )
    new.add_argument("--name", required=True, help="whose it is: 1 to 64 printable characters")
    new.add_argument("--tier", default="default", help="its limits (%(default)s)")
    new.add_argument(
        "--operator",
        action="store_true",
        help="with operator scope: it may see and manage what belongs to others",
    )
    new.set_defaults(run=_new)


def _new(parsed: argparse.Namespace) -> int:
    key = keys.generate_key()
    digest = hashlib.sha256(key.encode()).hexdigest()
    entry: dict[str, Any] = {"name": parsed.name, "tier": parsed.tier, "sha256": digest}
    if parsed.operator:
        entry["scopes"] = ["operator"]
    try:
        KeyEntry.model_validate(entry)
    except ValidationError as error:
        place, why = next(faults(error))
        raise ConfigError(f"--{field(place)}: {why}") from None
    if (doubt := _doubt(parsed.tier)) is not None:
        print(f"warning: {doubt}", file=sys.stderr)
    print(f"key (shown once): {key}", file=sys.stderr)
    print(yaml.safe_dump([entry], sort_keys=False, allow_unicode=True), end="")
    return 0


def _doubt(tier: str) -> str | None:
    """What the configuration that is there says against a tier."""
    try:
        tiers = config.load().limits.tiers
    except ConfigError as error:
        return f"the configuration can't be read, so the tier is not checked: {error}"
    if tier in tiers:
        return None
    where = config.find() or "the environment"
    return f"{where} has no tier {tier!r}; it has {', '.join(sorted(tiers))}"
