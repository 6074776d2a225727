"""The engine in this process, kept alive: vLLM's core may die, the gateway doesn't."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

from gemma_gateway.core.engine import NONE_TOLD, EngineFailed, EngineRequest, EngineState, Watcher
from gemma_gateway.engines.local.asgi import AsgiReply
from gemma_gateway.engines.local.footprint import Footprint
from gemma_gateway.engines.local.vllm_app import VllmApp, VllmOptions, explain
from gemma_gateway.engines.local.work import CURRENT, Work

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds between failed starts, doubling
COMPLETIONS = "/v1/completions"  # takes prompts as they are
LOCAL = "local"  # what records call this engine
DIED = "the engine core died and is being started again"

log = logging.getLogger(__name__)


class LocalEngine:
    """vLLM in this process, behind ``core.engine.Engine``.

    Args:
        model: a model folder (see ``engines.local.weights.prepare``) or a hub name.
        served_model_name: what clients call it.
        max_model_len: context length in tokens; 0: 2048 on a CPU, the model's own on a GPU.
        engine_args: further flags of vLLM's server, such as ``--enable-lora``.
        images: most images that a call may have; None: nobody bounds them.
        first_token_timeout: longest wait of a call for its first token, seconds.
        idle_timeout: longest silence of a call after that, seconds.

    Attributes:
        options: what it serves.
        deaths: times that a running engine core has died.
        failed_starts: starts that failed.
    """

    def __init__(
        self,
        model: Path | str,
        served_model_name: str,
        *,
        max_model_len: int = 0,
        engine_args: tuple[str, ...] = (),
        images: int | None = None,
        first_token_timeout: float = 600.0,
        idle_timeout: float = 60.0,
    ) -> None:
        self.options = VllmOptions(
            str(model), served_model_name, max_model_len, engine_args, images
        )
        self._timeouts = first_token_timeout, idle_timeout
        self._vllm: VllmApp | None = None
        self._footprint = Footprint()  # while there is no engine
        self._detail = "not started"
        self._attempted = asyncio.Event()  # the first start has come to an end, well or not
        self._calls: set[AsgiReply] = set()
        self._supervisor: asyncio.Task[None] | None = None
        self.deaths = 0
        self.failed_starts = 0

    async def start(self) -> None:
        """Begin to start the engine and return; ``state`` says when it is ready."""
        self._detail = "starting"
        self._supervisor = asyncio.create_task(self._supervise())

    async def wait_ready(self, timeout: float) -> None:
        """Wait for the first start to come to an end.

        Args:
            timeout: seconds.

        Raises:
            EngineFailed: unavailable: it failed, or takes longer; ``detail`` says why. The engine
                goes on trying.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._attempted.wait(), timeout)
        if self._engine() is None:
            raise EngineFailed("unavailable", self._detail)

    async def stop(self) -> None:
        """End calls in flight and the engine core; no process stays behind."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor])
        await asyncio.gather(*(call.abort() for call in set(self._calls)))
        self._detail = "stopped"
        await self._discard()

    async def send(self, request: EngineRequest) -> AsgiReply:
        """Hand a call to vLLM's application; returns once the reply's status is known.

        Raises:
            EngineFailed: unavailable while the engine (re)starts; died or timeout before a status.
        """
        vllm = self._engine()
        if vllm is None:
            raise EngineFailed("unavailable", self._detail)
        work = Work(vllm.engine, chat=request.path != COMPLETIONS)
        request.tally.read = work.counts
        request.tally.queued = work.queue_time
        request.tally.server = LOCAL
        token = CURRENT.set(work)
        try:
            reply = AsgiReply(vllm.app, request, work, *self._timeouts)
        finally:
            CURRENT.reset(token)
        self._calls.add(reply)
        reply.on_end(self._calls.discard)
        await reply.begin()
        return reply

    def state(self) -> EngineState:
        """See ``Engine``."""
        ready = self._engine() is not None
        detail = "" if ready else self._detail
        multimodal = self._vllm is not None and self._vllm.multimodal
        starting = not self._attempted.is_set()
        return EngineState("local", ready, self.models(), detail, multimodal, starting=starting)

    def models(self) -> tuple[str, ...]:
        """Names served now; empty while the engine is not ready."""
        vllm = self._engine()
        return vllm.models() if vllm is not None else ()

    def memory(self) -> tuple[int, int]:
        """Bytes in memory of this process and its children, and used bytes of the engine's GPUs.
        It blocks for some milliseconds."""
        vllm = self._vllm
        footprint = vllm.footprint if vllm is not None else self._footprint
        return footprint.resident(), footprint.gpu()

    def watch(self, metrics: Watcher) -> None:
        """Whether it takes calls, and how often it didn't."""
        metrics.watch(
            "gateway_engine_ready", "1 while an engine accepts calls.", lambda: bool(self.models())
        )
        metrics.watch(
            "gateway_engine_deaths_total",
            "Times that the running engine has died; it is started again each time.",
            lambda: self.deaths,
        )
        metrics.watch(
            "gateway_engine_failed_starts_total",
            "Engine starts that failed.",
            lambda: self.failed_starts,
        )

    def max_model_len(self, model: str) -> int | None:
        """Of all its names; None while the engine is not ready."""
        vllm = self._engine()
        return vllm.max_model_len if vllm is not None else None

    def modalities(self, model: str) -> frozenset[str] | None:
        """Of all its names; None while the engine is not ready."""
        vllm = self._engine()
        return vllm.modalities if vllm is not None else None

    def control_tokens(self) -> frozenset[str]:
        """Those of the model's own tokenizer; none while the engine is not ready."""
        vllm = self._engine()
        return vllm.control_tokens if vllm is not None else NONE_TOLD

    def serves(self, model: str) -> bool:
        """Whether the engine serves this name; true while it is not ready."""
        served = self.models()
        return not served or model in served

    def known(self, model: str) -> bool:
        """See ``Engine``; true for the model's own name while the engine starts again."""
        return model == self.options.served_model_name or model in self.models()

    def _engine(self) -> VllmApp | None:
        return self._vllm if self._vllm is not None and not self._vllm.dead else None

    async def _supervise(self) -> None:
        """Start the engine, watch it, and start it again when it has died."""
        pause = FIRST_PAUSE
        while True:
            try:
                self._vllm = await VllmApp.build(self.options)
            except Exception as error:  # of any kind: told to the operator, and tried again
                self.failed_starts += 1
                self._detail = explain(error, self.options.model)
                log.error("engine: %s; next try in %.0f s", self._detail, pause)
                self._attempted.set()
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            log.info("engine: %s is ready", self.options.served_model_name)
            self._detail = DIED  # told from the moment it is dead
            self._attempted.set()
            pause = FIRST_PAUSE
            await self._vllm.died()
            self.deaths += 1
            log.error("engine: %s", DIED)
            for call in set(self._calls):
                call.fail(EngineFailed("died", "the engine core died"))
            await self._discard()

    async def _discard(self) -> None:
        vllm, self._vllm = self._vllm, None
        if vllm is not None:
            with suppress(Exception):  # what is dead may fail to shut down
                await vllm.shutdown()
