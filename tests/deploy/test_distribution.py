"""The distribution: what sdist and wheel hold, and that the gateway runs from the wheel alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import site
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

from gemma_gateway import __version__
from tests.conftest import absent
from tests.process import AUTH, ROOT, Engine, Gateway

PACKAGE = Path("app/gemma_gateway")
CONSOLE = PACKAGE / "console" / "static"
SDIST = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints, in an environment where only installed packages are found."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "GATEWAY_"))}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked() -> list[Path]:
    """The files that git knows, and the console where it is built, relative to the root."""
    if not (ROOT / ".git").exists():
        absent("git's list of files: this is no clone")
    listed = run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    built = [p.relative_to(ROOT) for p in (ROOT / CONSOLE).rglob("*") if p.is_file()]
    return [path for path in (*map(Path, filter(None, listed)), *built) if (ROOT / path).is_file()]


def wheel_of(source: Path, folder: Path) -> Path:
    """Build a wheel with this environment's setuptools, without a network."""
    words = ("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder)
    run(sys.executable, "-m", "pip", *words, source, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def names(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean copy of the sources."""
    folder = tmp_path_factory.mktemp("source")
    for path in tracked():
        (folder / path.parent).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, folder / path)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the tree."""
    return wheel_of(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``bin`` of an environment that holds the wheel, and sees this one's packages behind it.

    A folder that a ``.pth`` file names is searched, but the ``.pth`` files in it are not read: so
    dependencies are found without a download, and an editable installation of the gateway isn't.
    """
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    words = ("install", "--no-deps", "--no-index", "--no-compile", wheel)
    run(sys.executable, "-m", "pip", "--python", python, *words, cwd=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "outer.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return python.parent


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A working directory with packages of other people that have our names."""
    folder = tmp_path / "elsewhere"
    for name in ("app", "gemma_gateway"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise SystemExit('foreign {name}')\n")
    return folder


@pytest.fixture
def serving(installed: Path, foreign: Path, tmp_path: Path, engine: Engine) -> Iterator[Gateway]:
    """The installed gateway, serving from the foreign folder."""
    program = installed / "gemma-gateway"
    url = engine.url + "/v1"
    with Gateway(tmp_path / "data", program=program, cwd=foreign, upstreams=url) as gateway:
        yield gateway


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Each file of the package, those that aren't Python among them."""
    found = {name for name in names(wheel) if ".dist-info/" not in name}
    assert found == {str(p.relative_to("app")) for p in tracked() if p.is_relative_to(PACKAGE)}
    assert {".typed", ".lua", ".yaml", ".jinja", ".txt", ".json", ".html"} <= {
        "." + name.rpartition(".")[2] for name in found
    }


def test_the_sdist_makes_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-c", SDIST, tmp_path, cwd=source)
    (sdist,) = tmp_path.glob("*.tar.gz")
    assert names(wheel_of(sdist, tmp_path)) == names(wheel)


def test_its_metadata_name_the_version_and_the_license(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        (path,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        said = message_from_bytes(archive.read(path))
    assert (said["Name"], said["Version"]) == ("gemma-gateway", __version__)
    assert said["License-Expression"] == "Apache-2.0"


def test_whatever_names_a_version_names_this_one() -> None:
    chart = yaml.safe_load((ROOT / "helm/gemma-gateway/Chart.yaml").read_text("utf-8"))
    image = re.findall(r"^ARG VERSION=(.*)$", (ROOT / "Dockerfile").read_text("utf-8"), re.M)
    console = json.loads((ROOT / "console/package.json").read_text("utf-8"))
    assert {chart["appVersion"], *image, console["version"]} == {__version__}
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    headings = re.findall(r"^## (\S+)(?: - \d{4}-\d\d-\d\d)?$", changes, re.M)
    assert headings[:2] == ["Unreleased", __version__]


def test_the_installed_commands_run_anywhere(installed: Path, foreign: Path) -> None:
    """What lies in the working directory is never imported."""
    where = "import gemma_gateway; print(gemma_gateway.__file__)"
    package = Path(run(installed / "python", "-P", "-c", where, cwd=foreign).strip())
    assert package.is_relative_to(installed.parent)
    program = installed / "gemma-gateway"
    assert run(program, "--version", cwd=foreign).strip() == f"gemma-gateway {__version__}"
    (foreign / "gateway.yaml").write_text("tiers:\n  gold:\n    max_in_flight: 8\n")
    assert run(program, "config", "check", "gateway.yaml", cwd=foreign)


def test_the_installed_gateway_serves(serving: Gateway) -> None:
    """Ready, with its store, and one call passes."""
    request = urllib.request.Request(
        serving.url + "/v1/chat/completions",
        json.dumps({"messages": [{"role": "user", "content": "echo: a"}]}).encode(),
        {**AUTH, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        assert json.load(reply)["choices"][0]["message"]["content"] == "a"
    assert "foreign" not in serving.text()
    assert serving.stop() == 0
