"""Sampling on a CPU without a sort of the vocabulary: what vLLM does, from fewer tokens.

For ``top_p`` vLLM sorts all logits of each row (Gemma has 262,144) for every token, and for a
penalty it counts every token of the vocabulary. Here only the tokens that can be kept are sorted,
and only those that were written are penalised. ``install`` puts both into vLLM; it is registered
in pyproject.toml as a plugin (entry point group ``vllm.general_plugins``).
"""

from __future__ import annotations

import logging
import math
import multiprocessing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

PROVED = "0.32.0"  # the vLLM whose functions these have been compared with
BLOCK = 128  # tokens looked at as one: its largest logit is enough to skip it
SLACK = 1e-3  # logits that a floor lies lower than computed, far more than its rounding

log = logging.getLogger(__name__)


def install() -> None:
    """Replace vLLM's functions, on CPUs and where its version is the proved one. vLLM calls this in
    each of its processes; the first of them says where it changes nothing."""
    from vllm import __version__
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    if __version__.partition("+")[0] != PROVED:
        if multiprocessing.parent_process() is None:
            log.warning(
                "engine: sampling is vLLM's own, slow on a CPU: %s isn't the version (%s) against "
                "which the gateway's has been proved",
                __version__,
                PROVED,
            )
        return
    from vllm.v1.sample.ops import penalties, topk_topp_sampler

    penalties.apply_penalties = penalise
    topk_topp_sampler.apply_top_k_top_p_pytorch = top_k_top_p


def top_k_top_p(
    logits: Tensor, k: Tensor | None, p: Tensor | None, allow_cpu_sync: bool = False
) -> Tensor:
    """Mask what top-k, then top-p leave out, as vLLM's ``apply_top_k_top_p_pytorch`` does.

    ``k`` keeps all that equal the k-th; ``p`` then drops from below while the sum of probabilities
    is at most 1 - p, and never the last one. Only what vLLM leaves to chance may differ: which of
    equal logits go (its sort promises no order; here the lower indices), and a token whose sum is
    within the rounding of 1 - p. A row that asks for neither stays as it is.

    Args:
        logits: (rows, vocabulary), changed in place.
        k: (rows,), how many to keep; the vocabulary's size for all.
        p: (rows,), the share of probability to keep; 1 for all.
        allow_cpu_sync: as vLLM has it; of no meaning here.

    Returns:
        ``logits``, -inf where a token is left out.
    """
    rows, vocabulary = logits.shape
    counts = [vocabulary] * rows if k is None else k.tolist()
    shares = [1.0] * rows if p is None else p.tolist()
    for row, count, share in zip(logits, counts, shares, strict=True):
        if count < vocabulary or share < 1:
            tokens = kept(row, count, share)
            values = row[tokens]
            row.fill_(-math.inf)
            row[tokens] = values
    return logits


def kept(logits: Tensor, count: int, share: float) -> Tensor:
    """The tokens of one row that top-k, then top-p keep.

    Only tokens above a floor are sorted. For top-k the floor is the ``count``-th of the blocks'
    largest logits: so many tokens at least are not below it. For top-p it is the probability
    (1 - share) / vocabulary: all tokens below it have less than 1 - share together, and go.

    Args:
        logits: (vocabulary,)
        count: of the largest tokens; the vocabulary's size for all.
        share: of the probability, up to 1.

    Returns:
        Indices of the tokens, by ascending logit.
    """
    import torch

    (vocabulary,) = logits.shape
    blocks = logits.view(-1, math.gcd(vocabulary, BLOCK))
    peaks = blocks.amax(dim=1)
    highest = peaks.max()
    if not highest.isfinite():  # nothing is allowed, or the model failed: there is nothing to cut
        return torch.arange(vocabulary)
    by_count, by_share = count < vocabulary, share < 1
    total = None
    floor = float("-inf")
    if by_count and count <= len(peaks):
        floor = float(peaks.topk(count).values[-1])
    elif by_share and not by_count:
        total = float((logits - highest).exp_().sum())
        floor = float(highest) + math.log(total * (1 - share) / vocabulary) - SLACK
    floor = max(floor, torch.finfo(logits.dtype).min)  # what is -inf is out already

    near = (peaks >= floor).nonzero().flatten()
    block, place = (blocks[near] >= floor).nonzero().unbind(1)
    tokens = near[block] * blocks.shape[1] + place
    values, order = logits[tokens].sort(stable=True)
    first = 0
    if by_count and count < len(values):
        first = int(torch.searchsorted(values, values[-count]))
    if by_share:
        sums = (values[first:] - highest).exp_().flip(0).cumsum(0, dtype=torch.float64)
        enough = torch.searchsorted(sums, share * (float(sums[-1]) if total is None else total))
        first = max(first, len(values) - 1 - int(enough))
    return tokens[order[first:]]


def penalise(
    logits: Tensor,
    prompt_tokens_tensor: Tensor,
    output_tokens_tensor: Tensor,
    presence_penalties: Tensor,
    frequency_penalties: Tensor,
    repetition_penalties: Tensor,
) -> Tensor:
    """Penalise tokens that were written, to the bit as vLLM's ``apply_penalties`` does.

    Args:
        logits: (rows, vocabulary), changed in place.
        prompt_tokens_tensor: (rows, longest prompt), padded with the vocabulary's size.
        output_tokens_tensor: (rows, longest output), padded likewise.
        presence_penalties: (rows,), 0 for none.
        frequency_penalties: (rows,), 0 for none.
        repetition_penalties: (rows,), 1 for none.

    Returns:
        ``logits``.
    """
    import torch

    vocabulary = logits.shape[1]
    asked = (presence_penalties != 0) | (frequency_penalties != 0) | (repetition_penalties != 1)
    for row in asked.nonzero().flatten().tolist():
        read, written = prompt_tokens_tensor[row], output_tokens_tensor[row]
        written, times = written[written < vocabulary].unique(return_counts=True)
        tokens = torch.cat((read[read < vocabulary], written)).unique()
        penalty = repetition_penalties[row]
        values = logits[row, tokens]
        values *= torch.where(values > 0, 1.0 / penalty, penalty)
        logits[row, tokens] = values
        values = logits[row, written]
        values -= frequency_penalties[row] * times
        values -= presence_penalties[row]
        logits[row, written] = values
    return logits
