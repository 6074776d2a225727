"""The command line: ``gemma-gateway serve | config check FILE | key new``."""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

from app import __version__, config
from app.access import keys
from app.safety.policy import Policy
from app.yamlfile import ConfigError


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        Exit status: 0 well, 1 failed, 2 the configuration or the command's words are wrong.
    """
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gemma-gateway", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the gateway")
    serve.add_argument("--config", type=Path, help="YAML file (default: gateway.yaml, if any)")
    serve.set_defaults(run=_serve)

    configuration = commands.add_parser("config", help="work on a configuration file")
    actions = configuration.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser("check", help="name every fault by file, line and field")
    check.add_argument("file", type=Path)
    check.set_defaults(run=_check)

    key = commands.add_parser("key", help="work on API keys")
    actions = key.add_subparsers(required=True, metavar="ACTION")
    new = actions.add_parser("new", help="make a key and its entry for the YAML file")
    new.add_argument("--name", required=True)
    new.add_argument("--tier", default="default")
    new.set_defaults(run=_new_key)
    return parser


def _serve(parsed: argparse.Namespace) -> int:
    from app.serve import serve  # the web stack is only needed here

    return serve(config.load(parsed.config))


def _check(parsed: argparse.Namespace) -> int:
    settings = config.load(parsed.file)
    Policy.load(settings.policy_file)
    print(f"{parsed.file}: well")
    return 0


def _new_key(parsed: argparse.Namespace) -> int:
    key = keys.generate_key()
    print(f"key (shown once): {key}", file=sys.stderr)
    digest = hashlib.sha256(key.encode()).hexdigest()
    print(f"- name: {parsed.name}\n  tier: {parsed.tier}\n  sha256: {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
