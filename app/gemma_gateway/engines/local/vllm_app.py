"""vLLM inside this process: its async engine and the ASGI application that it brings.

Nothing here imports vLLM until an engine is built: the core install has none. How vLLM's pieces
fit together follows its own ``vllm.entrypoints.launchers.api_server.entry`` (0.32).
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import multiprocessing
import signal
from collections.abc import Collection
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from gemma_gateway.core.engine import NONE_TOLD
from gemma_gateway.engines import families
from gemma_gateway.engines.families import templates
from gemma_gateway.engines.local import adjustments, environment, footprint, warmup, weights
from gemma_gateway.engines.local.asgi import AsgiApp
from gemma_gateway.engines.local.work import count_requests

CPU_MODEL_LEN = 2048  # tokens of context on a CPU, where a start should not take the machine's RAM
LOOK_EVERY = 0.1  # seconds between two looks at the engine core
DOMAINS = "--allowed-media-domains"  # hosts that vLLM may fetch media from; none given: any
NO_HOST = "none.invalid"  # nobody has this name (RFC 6761): the gateway fetches media itself
LIMIT = "--limit-mm-per-prompt"
GENERATE, TRANSCRIBE = "generate", "transcription"  # tasks of a model
SHUTDOWN_SECONDS = 5.0  # from SIGTERM to SIGKILL for the engine core

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VllmOptions:
    """What to serve, in plain values.

    Args:
        model: a model folder, or a hub name.
        served_model_name: what clients call it.
        max_model_len: context length in tokens; 0: chosen by device.
        engine_args: further flags of vLLM's server; they win over the gateway's own.
        images: most images that a call may have, for which vLLM sets memory aside; None: nobody
            bounds them.
    """

    model: str
    served_model_name: str
    max_model_len: int = 0
    engine_args: tuple[str, ...] = ()
    images: int | None = None


class VllmApp:
    """A running engine with its application. Made by ``build``; used until it has died."""

    def __init__(self, engine: Any, app: AsgiApp, modalities: frozenset[str] | None) -> None:
        self.engine = engine
        self.app = app
        self.footprint = footprint.of_vllm(engine)
        self.control_tokens = _control_tokens(engine)
        self.modalities = modalities

    @classmethod
    async def build(cls, options: VllmOptions) -> VllmApp:
        """Start an engine core (a child process) and make the application. Tens of seconds; the
        slow part runs in a thread so that this loop keeps answering.

        Raises:
            Exception: whatever vLLM raises; see ``explain``.
        """
        args = await asyncio.to_thread(_prepare, options)
        starting = asyncio.create_task(asyncio.to_thread(_start_engine, args))
        try:
            engine = await asyncio.shield(starting)
        except asyncio.CancelledError:
            await _give_up(starting)
            raise
        try:
            from vllm.entrypoints.launchers.api_server.app_state import init_app_state
            from vllm.entrypoints.launchers.app import build_app

            adjustments.quiet_client_errors()
            count_requests(engine)
            adjustments.take_schemas_as_written(engine)
            if args.chat_template == str(templates.BASE) and engine.tokenizer is not None:
                adjustments.end_at_blank_lines(engine)
            await engine.reset_mm_cache()
            tasks = await engine.get_supported_tasks()
            app = build_app(args, tasks, engine.model_config)
            await init_app_state(engine, app.state, args, tasks)
            adjustments.continue_answers(getattr(app.state, "anthropic_serving_messages", None))
            if GENERATE in tasks:
                await warmup.chat(app, engine, options.served_model_name)
            elif TRANSCRIBE in tasks:
                await warmup.speech(app, engine, options.served_model_name)
        except BaseException:
            await asyncio.to_thread(engine.shutdown, SHUTDOWN_SECONDS)
            raise
        return cls(engine, app, _modalities(engine, tasks))

    @property
    def dead(self) -> bool:
        """Whether the engine core is gone; vLLM notices within milliseconds."""
        return bool(self.engine.errored)

    async def died(self) -> None:
        """Wait until the engine core is gone."""
        while not self.dead:  # noqa: ASYNC110  vLLM offers nothing to wait for
            await asyncio.sleep(LOOK_EVERY)

    @property
    def multimodal(self) -> bool:
        """Whether the model takes images or audio."""
        return bool(self.engine.model_config.is_multimodal_model)

    @property
    def max_model_len(self) -> int:
        """Tokens that a prompt and its answer may have together."""
        return int(self.engine.model_config.max_model_len)

    def models(self) -> tuple[str, ...]:
        """Names served now: the model's own and those of loaded adapters."""
        serving = self.app.state.openai_serving_models  # type: ignore[attr-defined]
        return tuple(path.name for path in serving.base_model_paths) + tuple(serving.lora_requests)

    async def shutdown(self) -> None:
        """End the engine core, whatever its state."""
        await asyncio.to_thread(self.engine.shutdown, SHUTDOWN_SECONDS)


def _modalities(engine: Any, tasks: Collection[str]) -> frozenset[str] | None:
    """What the model's prompts may be made of, within ``--limit-mm-per-prompt``; None: another
    vLLM than the one this was written for."""
    if GENERATE not in tasks and TRANSCRIBE in tasks:
        return frozenset({"audio"})
    if not engine.model_config.is_multimodal_model:
        return frozenset({"text"})
    try:
        limits = engine.renderer.get_mm_processor().info.allowed_mm_limits
    except Exception as error:  # of any kind
        log.warning("what the model reads beside text is not known: %s", type(error).__name__)
        return None
    return frozenset({"text", *(name for name, most in limits.items() if most)})


def _control_tokens(engine: Any) -> frozenset[str]:
    """What the tokenizer adds to its vocabulary and marks as special; none where the operator
    starts vLLM without a tokenizer."""
    tokenizer = engine.tokenizer
    if tokenizer is None:
        return NONE_TOLD
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    return frozenset(tokenizer.all_special_tokens).union(
        token.content for token in added if token.special
    )


async def _give_up(starting: asyncio.Task[Any]) -> None:
    """End a start that nobody wants any more: without its core it fails at once."""
    while not starting.done():
        for child in multiprocessing.active_children():
            if child.name.startswith("EngineCore"):
                child.kill()
        await asyncio.wait([starting], timeout=0.2)
    if starting.exception() is None:
        await asyncio.to_thread(starting.result().shutdown, SHUTDOWN_SECONDS)


def _prepare(options: VllmOptions) -> Any:
    """Import vLLM and let it parse its flags; no process is started."""
    environment.set_up(options.model)
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    try:
        from vllm.entrypoints.common.cli_args import make_arg_parser  # vLLM 0.33
    except ImportError:
        from vllm.entrypoints.launchers.cli_args import make_arg_parser  # vLLM 0.32
    try:
        args = make_arg_parser(FlexibleArgumentParser()).parse_args(_flags(options))
    except SystemExit as stop:  # argparse has said why on standard error
        raise ValueError(f"vLLM refused its flags: {' '.join(options.engine_args)}") from stop
    adjustments.add_parsers(args)
    return args


def _start_engine(args: Any) -> Any:
    """The AsyncLLM; blocks until its core is ready."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.async_llm import AsyncLLM

    # The core inherits this thread's mask: Ctrl-C reaches the whole foreground process group, and
    # the gateway, not the core, decides what happens to the calls in flight. (Python's resource
    # tracker would lift the mask if it were started later.)
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        engine_args = AsyncEngineArgs.from_cli_args(args)
        usage = UsageContext.OPENAI_API_SERVER
        with environment.preloaded():
            return AsyncLLM.from_vllm_config(
                engine_args.create_engine_config(usage_context=usage),
                usage_context=usage,
                disable_log_stats=engine_args.disable_log_stats,
            )
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _flags(options: VllmOptions) -> list[str]:
    """Command line of vLLM's server, without the command."""
    model = Path(options.model)
    flags = ["--model", options.model, "--served-model-name", options.served_model_name]
    # xgrammar, vLLM's own choice, takes seconds of CPU to compile an ordinary pattern with Gemma's
    # vocabulary, and has no bound on a step; llguidance takes milliseconds and gives up in time.
    flags += ["--structured-outputs-config.backend", "guidance"]
    # Without it the model may write line breaks and blanks until its tokens are used up.
    flags += ["--structured-outputs-config.disable_any_whitespace", "true"]
    family = families.of(model)
    flags += ["--enable-auto-tool-choice", "--tool-call-parser", family.tool_parser]
    if family.reasoning_parser:
        flags += ["--reasoning-parser", family.reasoning_parser]
    log.info("%s (others: GATEWAY_ENGINE_ARGS)", families.describe(model))
    if (template := families.chat_template(model)) is not None:
        flags += ["--chat-template", str(template)]
    flags += _media_flags(options)
    max_model_len = options.max_model_len
    if not environment.has_cuda():
        flags.append("--enforce-eager")  # compiling costs minutes and a C++ compiler
        max_model_len = max_model_len or min(
            CPU_MODEL_LEN, families.context(model) or CPU_MODEL_LEN
        )
    if max_model_len:
        flags += ["--max-model-len", str(max_model_len)]
    return [*flags, *options.engine_args]


def _media_flags(options: VllmOptions) -> list[str]:
    """What vLLM is told of images, where the operator doesn't."""
    flags: list[str] = []
    if not _given(DOMAINS, options.engine_args):
        flags += [DOMAINS, NO_HOST]
    bounded = options.images is not None and not _given(LIMIT, options.engine_args)
    if bounded and "image" in families.reads(Path(options.model)):
        flags += [LIMIT, json.dumps({"image": options.images})]
    return flags


def _given(flag: str, args: tuple[str, ...]) -> bool:
    """Whether an operator gives a flag, or a part of it (``--limit-mm-per-prompt.image``)."""
    names = (arg.partition("=")[0].replace("_", "-") for arg in args)
    return any(name == flag or name.startswith(f"{flag}.") for name in names)


def explain(error: BaseException, model: str) -> str:
    """Why an engine did not start, and what to do, for the operator's eyes."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    for link in chain:
        if isinstance(link, ImportError):
            return (
                f"vLLM can't be imported ({link}): install the cpu or cuda extra (make setup), "
                "or set GATEWAY_UPSTREAMS to use a model server that runs elsewhere"
            )
        if type(link).__name__ == "GatedRepoError" or "gated repo" in str(link):
            return weights.gated(model)
    text = " ".join(str(error).split()) or type(error).__name__
    if "failed to be inspected" in text and importlib.util.find_spec("torchvision") is None:
        return (
            f"{model} reads images, for which vLLM takes torchvision, and that isn't installed: "
            "run make setup TORCH_INDEX_URL=... with PyTorch's index of wheels for CPUs"
        )
    if "Engine core initialization failed" in text:
        return (
            f"the engine core ended while it loaded {model}: vLLM's own messages above say why; if "
            "they give no reason it was most likely killed for lack of memory: give it more, or a "
            "smaller model, GATEWAY_MAX_MODEL_LEN or VLLM_CPU_KVCACHE_SPACE (GiB)"
        )
    return f"{model} could not be started, vLLM's own messages are above: {text[:500]}"
