"""What a constraint costs the engine: compiling, and the token mask of each step.

``python -m benchmarks.constraints FOLDER`` compiles each ordinary and each hostile constraint of
``tests.constraints`` with the two libraries that vLLM may use, over the vocabulary of the model in
FOLDER, walks through what they allow, and prints the worst of each beside what the gateway's
bounds say to it. Times are CPU time, so other work on the machine hardly counts. Both libraries
are warm, as in an engine that has served a schema before.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from typing import Any, Protocol

import numpy as np
from tests.constraints import CALENDAR, EXTREME, HOSTILE, ORDINARY, Json

from gemma_gateway.core.errors import GatewayError
from gemma_gateway.settings import Tier
from gemma_gateway.validation.constraints import check_constraints

STEPS = 80  # tokens of one walk
PATIENCE = 3.0  # seconds of CPU after which a constraint is given up


class Walk(Protocol):
    """A place in what a constraint allows."""

    def mask(self) -> Any:
        """The allowed tokens, as bits."""
        ...

    def take(self, token: int) -> bool:
        """Go on by a token; False: the walk is over."""
        ...


class Library(Protocol):
    def begin(self, constraint: Json) -> Callable[[], Walk]:
        """Compile; each call of the result begins a walk."""
        ...


class XGrammar:
    """xgrammar as ``vllm.v1.structured_output.backend_xgrammar`` sets it up."""

    def __init__(self, tokenizer: Any, size: int) -> None:
        import xgrammar

        info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=size)
        self._compiler = xgrammar.GrammarCompiler(info, max_threads=8)
        self._new = xgrammar.GrammarMatcher
        self._bits = xgrammar.allocate_token_bitmask(1, size)
        self.begin({"json": CALENDAR})

    def begin(self, constraint: Json) -> Callable[[], Walk]:
        compiled = self._compile(constraint)

        class Place:
            def __init__(place) -> None:
                place.matcher = self._new(compiled)

            def mask(place) -> Any:
                place.matcher.fill_next_token_bitmask(self._bits, 0)
                return self._bits.numpy()

            def take(place, token: int) -> bool:
                return place.matcher.accept_token(token) and not place.matcher.is_terminated()

        return Place

    def _compile(self, constraint: Json) -> Any:
        from vllm.v1.structured_output.utils import choice_as_grammar, grammar_is_likely_lark

        ((kind, value),) = constraint.items()
        if kind in ("json", "json_object"):
            schema = value if kind == "json" else {"type": "object"}
            return self._compiler.compile_json_schema(json.dumps(schema))
        if kind == "regex":
            return self._compiler.compile_regex(value)
        if kind == "structural_tag":
            return self._compiler.compile_structural_tag(value)
        grammar = choice_as_grammar(value) if kind == "choice" else value
        if grammar_is_likely_lark(grammar):
            return self._compiler.compile_lark(grammar)
        return self._compiler.compile_grammar(grammar)


class Guidance:
    """llguidance as ``vllm.v1.structured_output.backend_guidance`` sets it up."""

    def __init__(self, tokenizer: Any, size: int) -> None:
        import llguidance
        import llguidance.hf
        import llguidance.torch

        self._tokenizer = llguidance.hf.from_tokenizer(tokenizer, max(size, len(tokenizer)))
        self._new = llguidance.LLMatcher
        self._fill = llguidance.torch.fill_next_token_bitmask
        self._bits = llguidance.torch.allocate_token_bitmask(1, self._tokenizer.vocab_size)
        self.begin({"json": CALENDAR})

    def begin(self, constraint: Json) -> Callable[[], Walk]:
        from vllm.sampling_params import StructuredOutputsParams
        from vllm.v1.structured_output.backend_guidance import serialize_guidance_grammar
        from vllm.v1.structured_output.request import get_structured_output_key

        kind, value = get_structured_output_key(StructuredOutputsParams(**constraint))
        grammar = serialize_guidance_grammar(kind, value)
        first = self._new(self._tokenizer, grammar, log_level=0)
        if first.is_error():
            raise ValueError(first.get_error())

        class Place:
            def __init__(place) -> None:
                place.matcher = first.deep_copy()

            def mask(place) -> Any:
                self._fill(place.matcher, self._bits, 0)
                return self._bits.numpy()

            def take(place, token: int) -> bool:
                return place.matcher.consume_token(token) and not place.matcher.is_stopped()

        return Place


PREFERENCES: tuple[Callable[[str], bool], ...] = (
    lambda text: True,
    lambda text: len(text) == 1 and text.isalnum(),
    lambda text: set(text) == {"a"},
    lambda text: text in ('["', "[", '{"', "[["),
)


class Measure:
    """The costs of constraints in one library, over one vocabulary."""

    def __init__(self, library: Library, texts: list[str]) -> None:
        self.library = library
        self.liked = [np.array([like(text) for text in texts]) for like in PREFERENCES]

    def cost(self, constraint: Json) -> tuple[float, float, str]:
        """CPU seconds to compile, of the worst mask, and the library's words if it refused."""
        began = time.process_time()
        try:
            walk = self.library.begin(constraint)
        except Exception as error:
            words = str(error).strip().splitlines()[-1][:50].replace("|", " ")
            return time.process_time() - began, 0.0, f"refused: {words}"
        compiling = time.process_time() - began
        until = time.process_time() + PATIENCE
        worst = max(max(self._masks(walk(), like, until)) for like in self.liked)
        return compiling, worst, ""

    def _masks(self, walk: Walk, liked: Any, until: float) -> Iterator[float]:
        dice = random.Random(1)
        for _ in range(STEPS):
            began = time.process_time()
            bits = walk.mask()
            yield time.process_time() - began
            allowed = np.unpackbits(bits.view(np.uint8), bitorder="little")[: len(liked)]
            tokens = np.flatnonzero(allowed & liked)
            if not len(tokens):
                tokens = np.flatnonzero(allowed)
            over = not len(tokens) or time.process_time() > until
            if over or not walk.take(int(dice.choice(tokens))):
                return

    def patiently(self, constraint: Json) -> tuple[float, float, str]:
        """The cost, found in a child that is ended when it takes too long."""
        fork = get_context("fork")
        ours, theirs = fork.Pipe()
        child = fork.Process(target=lambda: theirs.send(self.cost(constraint)))
        child.start()
        theirs.close()
        try:
            if ours.poll(PATIENCE * 3):
                found: tuple[float, float, str] = ours.recv()
                return found
            return PATIENCE, PATIENCE, "given up"
        except EOFError:
            return 0.0, 0.0, "crashed"
        finally:
            child.kill()
            child.join()


def verdict(constraint: Json) -> str:
    """What the gateway says to it, in a tier that takes grammars."""
    try:
        check_constraints({"structured_outputs": constraint}, Tier(grammars=True))
    except GatewayError:
        return "refused"
    return "taken"


def main() -> None:
    """Print the table."""
    from transformers import AutoConfig, AutoTokenizer

    folder, *wanted = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    size = AutoConfig.from_pretrained(folder).get_text_config().vocab_size
    texts = [tokenizer.convert_ids_to_tokens(i) or "" for i in range(len(tokenizer))]
    libraries = [Measure(kind(tokenizer, size), texts) for kind in (Guidance, XGrammar)]
    print("| Constraint | Gateway | llguidance | its worst mask | | xgrammar | its worst mask | |")
    print("|---|---|---|---|---|---|---|---|")
    for name, constraint in {**ORDINARY, **EXTREME, **HOSTILE}.items():
        if wanted and not any(word in name for word in wanted):
            continue
        cells = [name, verdict(constraint)]
        for library in libraries:
            compiling, mask, words = library.patiently(constraint)
            cells += [f"{compiling * 1000:.0f} ms", f"{mask * 1000:.1f} ms", words]
        print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
