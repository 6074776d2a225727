"""When to try again, as servers say it."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_gateway.wire import retry


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("", 1),
        ("0", 1),
        ("1", 1),
        ("7", 7),
        (" 17 ", 17),
        ("007", 7),
        ("3600", 3600),
        ("3601", 3600),
        ("9" * 400, 3600),
        ("-5", 1),
        ("+5", 1),
        ("1.5", 1),
        ("5s", 1),
        ("1e9", 1),
        ("\u0661\u0662", 1),
        ("\xb2", 1),
        ("soon", 1),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 1),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
        ("Fri, 99 Foo 2026 99:99:99 GMT", 1),
        ("Wed, 01 Jan 20260 00:00:00 GMT", 1),
    ],
)
def test_seconds(said: str, seconds: int) -> None:
    assert retry.seconds(said) == seconds


def test_a_date() -> None:
    assert 20 <= retry.seconds(formatdate(time.time() + 30, usegmt=True)) <= 31


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_whatever_a_server_says(said: str) -> None:
    assert 1 <= retry.seconds(said) <= 3600
