"""vLLM inside this process: its async engine and the ASGI application that it brings.

Nothing here imports vLLM until an engine is built: the core install has none. How vLLM's pieces
fit together follows its own ``vllm.entrypoints.launchers.api_server.entry`` (0.32).
"""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import signal
from contextvars import ContextVar
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from gemma_gateway.core.engine import NONE_TOLD, EngineRequest
from gemma_gateway.engines import families
from gemma_gateway.engines.families import templates
from gemma_gateway.engines.local import environment, footprint, weights
from gemma_gateway.engines.local.asgi import AsgiApp, AsgiReply

CPU_MODEL_LEN = 2048  # tokens of context on a CPU, where a start should not take the machine's RAM
LOOK_EVERY = 0.1  # seconds between two looks at the engine core
WARM_UP_SECONDS = 120.0  # longest silence of the first generation
GUIDANCE = {"lenient": True, "coerce_one_of": True}  # llguidance's options for JSON schemas
SHUTDOWN_SECONDS = 5.0  # from SIGTERM to SIGKILL for the engine core
COMPLETIONS = "/v1/completions"  # takes prompts as they are

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VllmOptions:
    """What to serve, in plain values.

    Args:
        model: a model folder, or a hub name.
        served_model_name: what clients call it.
        max_model_len: context length in tokens; 0: chosen by device.
        engine_args: further flags of vLLM's server; they win over the gateway's own.
    """

    model: str
    served_model_name: str
    max_model_len: int = 0
    engine_args: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Work:
    """The engine's requests behind one call (several for n > 1 or a list of prompts).

    It holds vLLM's own request states, so counts stay readable after vLLM has dropped them.
    """

    engine: Any  # vllm.v1.engine.async_llm.AsyncLLM
    chat: bool = True  # its prompts come from the chat template
    states: list[Any] = field(default_factory=list)  # vllm.v1.engine.output_processor.RequestState
    given_up: bool = False

    def counts(self) -> tuple[int, int]:
        prompts = {id(state.parent_req or state): state.prompt_len for state in self.states}
        generated = sum(
            state.detokenizer.num_output_tokens() for state in self.states if state.detokenizer
        )
        return sum(prompts.values()), generated

    def queue_time(self) -> float | None:
        """Longest wait of its requests for their first turn, seconds; None before that, and where
        the engine keeps no statistics. Source: ``vllm.v1.metrics.stats.RequestStateStats``."""
        waits = [
            stats.scheduled_ts - stats.queued_ts
            for state in self.states
            if (stats := state.stats) is not None and stats.queued_ts and stats.scheduled_ts
        ]
        return max(0.0, *waits) if waits else None

    def dead(self) -> bool:
        return bool(self.engine.errored)

    async def abort(self) -> None:
        self.given_up = True
        running = self.engine.output_processor.request_states
        names = [state.request_id for state in self.states if state.request_id in running]
        if names and not self.dead():
            await self.engine.abort(names, internal=True)


# The call that the running task works for: vLLM's tasks inherit it, so that a request that enters
# the engine finds its call whatever ids the protocols above have given it.
CURRENT: ContextVar[Work | None] = ContextVar("engine_work", default=None)


class VllmApp:
    """A running engine with its application. Made by ``build``; used until it has died."""

    def __init__(self, engine: Any, app: AsgiApp) -> None:
        self.engine = engine
        self.app = app
        self.footprint = footprint.of_vllm(engine)
        self.control_tokens = _control_tokens(engine)

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

            _quiet_client_errors()
            _count_requests(engine)
            _take_schemas_as_written(engine)
            if args.chat_template == str(templates.BASE) and engine.tokenizer is not None:
                _end_at_blank_lines(engine)
            await engine.reset_mm_cache()
            tasks = await engine.get_supported_tasks()
            app = build_app(args, tasks, engine.model_config)
            await init_app_state(engine, app.state, args, tasks)
            _continue_answers(app.state.anthropic_serving_messages)
            await _warm_up(app, engine, options.served_model_name)
        except BaseException:
            await asyncio.to_thread(engine.shutdown, SHUTDOWN_SECONDS)
            raise
        return cls(engine, app)

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


def _count_requests(engine: Any) -> None:
    """Note each request that enters the engine in its call's ``Work``."""
    processor = engine.output_processor
    add_request = processor.add_request

    def add(request: Any, *args: Any, **kwargs: Any) -> None:
        work = CURRENT.get()
        if work is not None and work.given_up:
            raise asyncio.CancelledError  # the caller left while the prompt was being tokenised
        add_request(request, *args, **kwargs)
        if work is not None:
            work.states.append(processor.request_states[request.request_id])

    processor.add_request = add


def _take_schemas_as_written(engine: Any) -> None:
    """Let llguidance pass over the words of a JSON schema that it can't enforce (``uniqueItems``,
    ``format: password``), and take ``oneOf`` for ``anyOf``, as other libraries do: ordinary schemas
    hold them. Its options stand in the schema itself."""
    generate = engine.generate

    def generating(prompt: Any, sampling_params: Any, *args: Any, **kwargs: Any) -> Any:
        bound = getattr(sampling_params, "structured_outputs", None)
        if bound is not None and bound.json is not None:
            bound.json = _with_options(bound.json)
        return generate(prompt, sampling_params, *args, **kwargs)

    engine.generate = generating


def _end_at_blank_lines(engine: Any) -> None:
    """Let a blank line end a base model's answer to a conversation, as ``base.jinja`` has it: it
    would go on with another question. By token, as a turn ends: nothing is held back in streams,
    and every protocol tells it as an ordinary end."""
    vocabulary = engine.tokenizer.get_vocab()
    ends = [vocabulary[text] for n in range(2, 64) if (text := "\n" * n) in vocabulary]
    generate = engine.generate

    def generating(prompt: Any, sampling_params: Any, *args: Any, **kwargs: Any) -> Any:
        work = CURRENT.get()
        bound = getattr(sampling_params, "structured_outputs", None)  # ends by itself
        if work is not None and work.chat and bound is None:
            sampling_params.update_from_generation_config({"eos_token_id": ends})
        return generate(prompt, sampling_params, *args, **kwargs)

    engine.generate = generating


def _continue_answers(messages: Any) -> None:
    """Let /v1/messages go on with an answer that a last message of the assistant's begins, as
    Anthropic's does; vLLM's route begins a new one after it, and takes no field that says
    otherwise.

    Args:
        messages: vLLM's ``AnthropicServingMessages``; None: the model generates nothing.
    """
    if messages is None:
        return
    convert = messages.to_chat_completion_request

    def converted(*args: Any, **kwargs: Any) -> Any:
        request = convert(*args, **kwargs)
        last = request.messages[-1] if request.messages else {}
        if last.get("role") == "assistant" and last.get("content") and not last.get("tool_calls"):
            request.continue_final_message, request.add_generation_prompt = True, False
        return request

    messages.to_chat_completion_request = converted


def _with_options(schema: Any) -> Any:
    """A schema with llguidance's options; unchanged where it is none (vLLM says so)."""
    try:
        found = json.loads(schema) if isinstance(schema, str) else schema
    except ValueError:
        return schema
    return {**found, "x-guidance": GUIDANCE} if isinstance(found, dict) else schema


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


async def _warm_up(app: AsgiApp, engine: Any, model: str) -> None:
    """One token, so that the first client does not wait for what vLLM prepares at its first use
    (for the first schema it sorts the vocabulary while every stream stands still), and an engine
    that can't generate never counts as ready."""
    messages = [{"role": "user", "content": "Hello"}]
    body = {"model": model, "messages": messages, "max_tokens": 1, "logprobs": True}
    body["response_format"] = {"type": "json_object"}
    request = EngineRequest("warm-up", "/v1/chat/completions", json.dumps(body).encode(), model)
    reply = AsgiReply(app, request, Work(engine), WARM_UP_SECONDS, WARM_UP_SECONDS)
    await reply.begin()
    async for _ in reply.chunks():
        pass
    if reply.status >= 500:
        raise RuntimeError(f"the first generation failed with status {reply.status}")


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
        return make_arg_parser(FlexibleArgumentParser()).parse_args(_flags(options))
    except SystemExit as stop:  # argparse has said why on standard error
        raise ValueError(f"vLLM refused its flags: {' '.join(options.engine_args)}") from stop


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


def _quiet_client_errors() -> None:
    """vLLM logs a client's mistakes as errors. To be called after each start, which configures
    vLLM's loggers anew."""
    logging.getLogger("vllm.entrypoints").setLevel(logging.CRITICAL)


def _flags(options: VllmOptions) -> list[str]:
    """Command line of vLLM's server, without the command."""
    model = Path(options.model)
    flags = ["--model", options.model, "--served-model-name", options.served_model_name]
    # xgrammar, vLLM's own choice, takes seconds of CPU to compile an ordinary pattern with Gemma's
    # vocabulary, and has no bound on a step; llguidance takes milliseconds and gives up in time.
    flags += ["--structured-outputs-config.backend", "guidance"]
    # Without it the model may write line breaks and blanks until its tokens are used up.
    flags += ["--structured-outputs-config.disable_any_whitespace", "true"]
    flags += ["--enable-auto-tool-choice", "--tool-call-parser", families.of(model).tool_parser]
    if (template := families.chat_template(model)) is not None:
        log.info("chat template: %s; --chat-template in GATEWAY_ENGINE_ARGS for another", template)
        flags += ["--chat-template", str(template)]
    max_model_len = options.max_model_len
    if not environment.has_cuda():
        flags.append("--enforce-eager")  # compiling costs minutes and a C++ compiler
        max_model_len = max_model_len or CPU_MODEL_LEN
    if max_model_len:
        flags += ["--max-model-len", str(max_model_len)]
    return [*flags, *options.engine_args]


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
    if "Engine core initialization failed" in text:
        return (
            f"the engine core ended while it loaded {model}: vLLM's own messages above say why; if "
            "they give no reason it was most likely killed for lack of memory: give it more, or a "
            "smaller model, GATEWAY_MAX_MODEL_LEN or VLLM_CPU_KVCACHE_SPACE (GiB)"
        )
    return f"{model} could not be started, vLLM's own messages are above: {text[:500]}"
