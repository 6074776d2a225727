"""Bodies, signature and pauses of notifications."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest

from gemma_gateway.alerts.alert import Alert
from gemma_gateway.alerts.store import Delivery
from gemma_gateway.alerts.webhook import (
    LONGEST_PAUSE,
    Webhooks,
    json_body,
    pause,
    signature,
    slack_body,
)
from gemma_gateway.settings.alerts import AlertSettings

ALERT = Alert(
    "0123456789abcdef", "upstream_errors", "upstream_errors", "medium", "firing", 100.0, 0.5, 0.2,
    "Share of failures of <a&b> is 50 %.", "a:1", 1_700_000_000.0,
)  # fmt: skip
DELIVERY = Delivery.of(ALERT, "oncall")


def test_the_signature_is_what_a_receiver_computes() -> None:
    """Computed here as a receiver would, from the header alone."""
    body = json_body(DELIVERY, 1_700_000_001.0)
    stamp, mac = (part.split("=")[1] for part in signature("s3cret", 17, body).split(","))
    assert stamp == "17"
    assert mac == hmac.new(b"s3cret", b"17." + body, hashlib.sha256).hexdigest()
    assert signature("s3cret", 18, body).split("v1=")[1] != mac
    assert signature("other", 17, body).split("v1=")[1] != mac


def test_the_json_body_has_the_source_s_fields() -> None:
    doc = json.loads(json_body(DELIVERY, 1_700_000_001.5))
    assert doc["id"] == "0123456789abcdef-firing"
    assert doc["timestamp"] == "2023-11-14T22:13:21.500Z"
    assert (doc["type"], doc["severity"], doc["state"]) == ("upstream_errors", "medium", "firing")
    assert (doc["message"], doc["labels"]) == (ALERT.message, {"upstream": "a:1"})
    assert doc["sender"]


def test_slack_s_special_characters_are_escaped() -> None:
    doc = json.loads(slack_body(DELIVERY, 1_700_000_001.0))
    assert doc["text"] == "*[medium] An engine server fails many calls: a:1*"
    assert doc["attachments"][0]["text"] == "Share of failures of &lt;a&amp;b&gt; is 50 %."
    assert doc["attachments"][0]["ts"] == 1_700_000_001


@pytest.mark.parametrize("attempts", range(1, 21))
def test_pauses_double_up_to_a_bound_with_chance(attempts: int) -> None:
    whole = min(2.0 ** (attempts - 1), LONGEST_PAUSE)
    found = {pause(1.0, attempts) for _ in range(50)}
    assert all(whole / 2 <= seconds <= whole for seconds in found)
    assert len(found) > 10


def test_the_least_severity_of_each_webhook() -> None:
    settings = AlertSettings(
        webhooks=[
            {"name": severity, "url": "http://127.0.0.1/", "min_severity": severity}
            for severity in ("low", "medium", "high")
        ]
    )
    webhooks = Webhooks(settings.webhooks, 1)
    assert webhooks.for_severity("low") == ["low"]
    assert webhooks.for_severity("medium") == ["low", "medium"]
    assert webhooks.for_severity("high") == ["low", "medium", "high"]


def test_a_later_state_takes_the_place_of_an_earlier_one() -> None:
    over = Alert(**{f: getattr(ALERT, f) for f in ALERT.__struct_fields__} | {"state": "resolved"})
    later = Delivery.of(over, "oncall")
    assert later.slot == DELIVERY.slot
    assert later.id != DELIVERY.id
    assert Delivery.of(ALERT, "other").slot != DELIVERY.slot
