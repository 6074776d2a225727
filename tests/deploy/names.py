"""The metric names that a gateway and its engines export: what rules and dashboards may name."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric

from gemma_gateway.engines.local.engine import LocalEngine
from gemma_gateway.engines.upstream.engine import UpstreamEngine
from gemma_gateway.main import Parts
from gemma_gateway.settings import Settings, Tier

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
NAME = re.compile(r"(?<![\w:])(?:gateway_|vllm:)\w+")


def gateway_names(folder: Path) -> set[str]:
    """Every series of a gateway, in front of servers or with its own engine, as Prometheus stores
    it; some calls of it are judged."""
    settings = Settings(
        upstreams=("http://127.0.0.1:9/v1",),
        api_keys=("k" * 20,),
        data_dir=folder,
        tiers={"default": Tier(quality_sample=0.1)},
    )
    engines = (UpstreamEngine(settings.upstreams), LocalEngine("gemma", "gemma"))
    registries = (Parts(settings, engine).metrics.registry for engine in engines)
    return {name for each in registries for metric in each.collect() for name in _series(metric)}


def _series(metric: Metric) -> set[str]:
    match metric.type:
        case "counter":
            return {f"{metric.name}_total"}
        case "histogram":
            return {f"{metric.name}_{part}" for part in ("bucket", "count", "sum")}
    return {metric.name}


def vllm_names() -> set[str] | None:
    """Every name in the source of vLLM's metrics; None where vLLM isn't installed."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        return None
    source = Path(spec.submodule_search_locations[0]) / "v1" / "metrics"
    names: set[str] = set()
    for file in source.glob("*.py"):
        names |= set(re.findall(r"\"(vllm:\w+)\"", file.read_text("utf-8")))
    return names


def used(expressions: list[str]) -> set[str]:
    """Metric names in PromQL; those that a rule records (``job:...``) aside."""
    return {name for text in expressions for name in NAME.findall(text)}


def exported(name: str, known: set[str]) -> bool:
    """Whether a vLLM series belongs to a known metric: client libraries add the suffix."""
    return name in known or re.sub(r"_(total|bucket|count|sum)$", "", name) in known


def assert_vllm_exports(expressions: list[str]) -> None:
    """Every vLLM series in PromQL is one that vLLM exports; skips where vLLM isn't installed."""
    known = vllm_names()
    if known is None:
        pytest.skip("vLLM isn't installed here: its metric names can't be looked up")
    theirs = {name for name in used(expressions) if name.startswith("vllm:")}
    assert theirs
    assert [name for name in theirs if not exported(name, known)] == []
