"""The sampler for CPUs against vLLM's own functions, over logits, parameters and mixed batches.

Among equal logits at the edge of a nucleus vLLM keeps whichever its sort puts last, which no one
promises; so what is compared is how many of each logit stay, and that for the same probability.
PROPERTY_CASES sets the number of cases (2,000 by default; a fortieth of it here).
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from itertools import product

import pytest

torch = pytest.importorskip("torch", reason="no PyTorch in the core install")
pytest.importorskip("vllm", reason="no engine in process (make setup)")

from vllm.v1.sample.ops import penalties, topk_topp_sampler  # noqa: E402

from gemma_gateway.engines.local import sampler  # noqa: E402

CASES = int(os.environ.get("PROPERTY_CASES", "2000")) // 40
ROUNDING = 5e-5  # of vLLM's sums of probabilities, which are in single precision
INFINITE = float("inf")
THEIRS = topk_topp_sampler.apply_top_k_top_p_pytorch

ROWS: dict[str, Callable[[int], torch.Tensor]] = {
    "peaked": lambda size: torch.randn(size) * 6,
    "flat": lambda size: torch.randn(size) * 0.1,
    "equal": lambda size: torch.full((size,), 3.25),
    "many ties": lambda size: torch.randint(-4, 4, (size,)).float(),
    "as of a model": lambda size: (torch.randn(size) * 4).bfloat16().float() / 0.7,
    "one certain": lambda size: torch.zeros(size).index_fill(0, torch.tensor([size // 2]), 80.0),
    "far apart": lambda size: torch.randn(size) * 1e6,
    "few allowed": lambda size: torch.randn(size).masked_fill(torch.rand(size) > 0.02, -INFINITE),
    "one allowed": lambda size: torch.full((size,), -INFINITE).index_fill(
        0, torch.tensor([size - 1]), -7.0
    ),
    "none allowed": lambda size: torch.full((size,), -INFINITE),
    "below zero": lambda size: -torch.rand(size) * 1e-3 - 500,
}
SIZES = (1, 7, 128, 1000, 9000)
SHARES = (1e-9, 0.1, 0.5, 0.9, 0.999, 1 - 2**-24, 1.0)


def counts(size: int) -> tuple[int, ...]:
    """Of top-k, up to the whole vocabulary, which stands for none."""
    return tuple(sorted({min(size, each) for each in (1, 2, 40, 64, size // 2 + 1, size)}))


def agree(row: torch.Tensor, ours: torch.Tensor, theirs: torch.Tensor, k: int, p: float) -> None:
    """Both leave out the same, but for tokens whose sum is as near to p as vLLM's rounding."""
    few, many = sorted(
        (ours.isfinite().nonzero().flatten(), theirs.isfinite().nonzero().flatten()), key=len
    )
    largest = row.sort(descending=True).values
    for masked, kept in ((ours, ours.isfinite()), (theirs, theirs.isfinite())):
        assert torch.equal(masked[kept], row[kept])  # no logit has another value
        assert torch.equal(row[kept].sort(descending=True).values, largest[: kept.sum()])
    if len(few) == len(many):
        return
    probabilities = largest.masked_fill(largest < largest[k - 1], -INFINITE).double().softmax(0)
    assert abs(float(probabilities[: len(few)].sum()) - p) < ROUNDING
    assert abs(float(probabilities[: len(many) - 1].sum()) - p) < ROUNDING


def compare(logits: torch.Tensor, k: list[int] | None, p: list[float] | None) -> None:
    size = logits.shape[1]
    ks = None if k is None else torch.tensor(k, dtype=torch.int32)
    ps = None if p is None else torch.tensor(p)
    theirs = THEIRS(logits.clone(), None if ks is None else ks.clone(), ps, allow_cpu_sync=True)
    ours = logits.clone()
    assert sampler.top_k_top_p(ours, ks, ps, allow_cpu_sync=True) is ours
    for at, row in enumerate(logits):
        count = size if k is None else k[at]
        agree(row, ours[at], theirs[at], count, 1.0 if ps is None else float(ps[at]))


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("size", SIZES)
def test_every_kind_of_row_with_every_parameter(kind: str, size: int) -> None:
    torch.manual_seed(size)
    row = ROWS[kind](size)
    for k, p in product(counts(size), SHARES):
        compare(row[None], [k], [p])
    for k in counts(size):
        compare(row[None], [k], None)
    for p in SHARES:
        compare(row[None], None, [p])


def test_mixed_batches() -> None:
    for case in range(CASES):
        torch.manual_seed(case)
        draw = random.Random(case)
        size = draw.choice(SIZES)
        rows = draw.randint(1, 6)
        logits = torch.stack([ROWS[draw.choice(list(ROWS))](size) for _ in range(rows)])
        k = [draw.choice(counts(size)) for _ in range(rows)] if draw.random() < 0.7 else None
        p = [draw.choice(SHARES) for _ in range(rows)] if draw.random() < 0.7 else None
        compare(logits, k, p)


def test_the_real_vocabulary() -> None:
    torch.manual_seed(1)
    logits = torch.stack([ROWS[kind](262_144) for kind in ROWS])
    compare(logits, None, [0.9] * len(logits))
    compare(logits, [64] * len(logits), [0.95] * len(logits))
    compare(logits, [5000] * len(logits), None)


@pytest.mark.parametrize("p", [0.25, 0.5, 0.75])
def test_sums_that_are_exact_are_decided_alike(p: float) -> None:
    """4,096 equal logits have probabilities and sums without rounding: `at most 1 - p` goes."""
    logits = torch.zeros(1, 4096)
    share = torch.tensor([p])
    kept = sampler.top_k_top_p(logits.clone(), None, share).isfinite().sum()
    assert kept == THEIRS(logits, None, share).isfinite().sum() == 4096 * p


def test_rows_are_decided_by_themselves() -> None:
    """A row that asks for nothing stays as it is, whatever its neighbours ask for."""
    torch.manual_seed(1)
    logits = torch.randn(3, 1000) * 40
    ours = sampler.top_k_top_p(
        logits.clone(), torch.tensor([1000, 5, 1000]), torch.tensor([1.0, 1.0, 0.5])
    )
    assert torch.equal(ours[0], logits[0])
    assert ours.isfinite().sum(1).tolist()[:2] == [1000, 5]


def test_logits_of_part_of_a_buffer() -> None:
    """Rows that don't lie one after another in memory, as a slice of padded logits."""
    torch.manual_seed(1)
    buffer = torch.randn(4, 1200) * 5
    whole = buffer[:, :1000].clone()
    p = torch.full((4,), 0.7)
    ours = sampler.top_k_top_p(buffer[:, :1000], None, p)
    assert torch.equal(ours, sampler.top_k_top_p(whole, None, p))
    assert buffer[:, 1000:].isfinite().all()


@pytest.mark.parametrize("value", [float("nan"), INFINITE])
def test_a_failed_model_harms_its_own_row_alone(value: float) -> None:
    logits = torch.randn(2, 1000)
    logits[0, 7] = value
    ours = sampler.top_k_top_p(logits.clone(), None, torch.tensor([0.5, 0.5]))
    compare(logits[1:], None, [0.5])
    assert torch.equal(ours[0].isfinite(), logits[0].isfinite())
    assert 0 < ours[1].isfinite().sum() < 1000


def test_penalties_are_vllms_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    for case in range(CASES):
        torch.manual_seed(case)
        draw = random.Random(case)
        size, rows = draw.choice((7, 1000, 4096)), draw.randint(1, 5)
        logits = torch.stack([ROWS[draw.choice(list(ROWS))](size) for _ in range(rows)])
        logits[:, :3] = 0.0
        longest = draw.choice((0, 1, 40))
        prompts = torch.randint(0, size + 1, (rows, longest))  # the size itself is padding
        # -1: a place that a running step will fill
        outputs = [
            [draw.randint(-1, size - 1) for _ in range(draw.randint(0, 60))] for _ in range(rows)
        ]
        presence, frequency = (
            torch.tensor([draw.choice((0.0, -2.0, 0.3, 2.0)) for _ in range(rows)]) for _ in "12"
        )
        repetition = torch.tensor([draw.choice((1.0, 0.5, 1.05, 2.0)) for _ in range(rows)])
        results = []
        for function in (penalties.apply_penalties, sampler.penalise):
            with monkeypatch.context() as patch:
                patch.setattr(penalties, "apply_penalties", function)
                results.append(
                    penalties.apply_all_penalties(
                        logits.clone(), prompts, presence, frequency, repetition, outputs
                    )
                )
        assert torch.equal(*results)
