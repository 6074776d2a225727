"""What vLLM's processes are started with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gemma_gateway.engines.local import environment

OURS = ["libtcmalloc_minimal.so.4", "libiomp5.so"]


@pytest.fixture
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that has both, on the kind of machine that they are for."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(environment.platform, "machine", lambda: "x86_64")
    for constant, name in zip(("TCMALLOC", "OPENMP"), OURS, strict=True):
        (tmp_path / name).touch()
        monkeypatch.setattr(environment, constant, (tmp_path, *getattr(environment, constant)[1:]))
    return tmp_path


@pytest.mark.parametrize(
    ("before", "more"),
    [
        ("", OURS),
        ("/x/libhook.so", OURS),
        ("/x/libtcmalloc.so.4", OURS[1:]),
        ("/x/libgomp-a1b2.so.1", OURS[:1]),
        ("/x/libtcmalloc.so.4 /x/libomp.so", []),
        ("/x/libtcmalloc.so.4:/x/libiomp5.so", []),
    ],
)
def test_what_the_operator_has_chosen_stays(libraries: Path, before: str, more: list[str]) -> None:
    expected = [*before.replace(":", " ").split(), *(str(libraries / name) for name in more)]
    assert environment.wanted({"LD_PRELOAD": before}) == expected


def test_what_is_absent_is_done_without(libraries: Path) -> None:
    for name in OURS:
        (libraries / name).unlink()
    assert environment.wanted({}) == []


@pytest.mark.parametrize(("system", "machine"), [("darwin", "x86_64"), ("linux", "aarch64")])
def test_only_where_they_are_for(
    libraries: Path, monkeypatch: pytest.MonkeyPatch, system: str, machine: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(environment.platform, "machine", lambda: machine)
    assert environment.wanted({}) == []


@pytest.mark.parametrize("before", [None, "/x/libhook.so"])
@pytest.mark.parametrize("cuda", [False, True])
def test_nothing_else_is_started_with_them(
    libraries: Path, monkeypatch: pytest.MonkeyPatch, before: str | None, cuda: bool
) -> None:
    monkeypatch.setattr(environment, "has_cuda", lambda: cuda)
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    if before is not None:
        monkeypatch.setenv("LD_PRELOAD", before)
    with environment.preloaded():
        now = environment.os.environ.get("LD_PRELOAD", "")
        assert all(name in now for name in OURS) is not cuda
        environment.os.environ["LD_PRELOAD"] = f"{now}:/vllms/own.so"
    assert environment.os.environ.get("LD_PRELOAD") == before
