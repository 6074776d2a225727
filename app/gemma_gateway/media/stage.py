"""The stage that looks at what a call holds beside texts, before an engine does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from gemma_gateway.core.call import Call, Change, Client
from gemma_gateway.core.dialect import Media
from gemma_gateway.core.engine import Engine
from gemma_gateway.core.errors import Code, GatewayError, quoted
from gemma_gateway.core.heavy import Heavy
from gemma_gateway.core.stage import End, Waiting
from gemma_gateway.media.check import Refused
from gemma_gateway.media.fetch import Fetcher
from gemma_gateway.media.workers import Workers
from gemma_gateway.settings import MediaSettings
from gemma_gateway.wire import media as wire
from gemma_gateway.wire.openai.openai import invalid
from gemma_gateway.wire.place import place

IMAGE = "image"


class Fetched:
    """What a call holds of other servers' files; a note of the call.

    Args:
        size: bytes.
    """

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0


class CheckMedia:
    """Checks the images of a call, fetches those that lie elsewhere, and puts what an engine may be
    given in their places; a ``Stage``, and an ``Observer``. Texts pass at once.

    Args:
        settings: what images may be.
        engine: knows what its models read.
        heavy: where large bodies are written.
        write: makes an engine's body of a document.
        observe: told of each image: its kind, how its check ended, and seconds.
        fetcher: fetches images; None: one as the settings say.
    """

    name = "safety"  # of texts, which have nothing to wait for here; see ``_check``

    def __init__(
        self,
        settings: MediaSettings,
        engine: Engine,
        heavy: Heavy,
        write: Callable[[dict[str, Any]], bytes],
        observe: Callable[[str, str, float], None],
        fetcher: Fetcher | None = None,
    ) -> None:
        self._engine = engine
        self._heavy = heavy
        self._write = write
        self._observe = observe
        self.workers = Workers(settings)
        self.fetcher = fetcher or Fetcher(settings)
        self._most_held = settings.media_fetched_bytes
        self.held = 0

    async def start(self) -> None:
        """See ``Part``."""
        await self.workers.start()

    async def stop(self) -> None:
        """See ``Part``."""
        await self.workers.stop()
        await self.fetcher.stop()

    def enter(self, call: Call, client: Client) -> Waiting:
        """See ``Stage``; raises VALIDATION_ERROR with ``param`` naming the image."""
        request = call.request
        if not request.media:
            return None
        request.media_length = sum([len(each.data) for each in request.media])
        images = [each for each in request.media if each.kind == IMAGE]
        if not images:
            return None
        request.images = len(images)
        return self._check(call, images)

    def settle(self, call: Call, end: End) -> None:
        """See ``Observer``."""
        if call.request.images and (fetched := call.notes.pop(Fetched, None)) is not None:
            self.held -= fetched.size

    async def _check(self, call: Call, images: list[Media]) -> None:
        call.enter("media")
        self._admit(call, images)
        fetched = await self._fetched(call, images)
        changed = False
        for number, each in enumerate(images):
            data, fetched[number] = fetched[number], None
            changed |= await self._checked(call, each, data)
        request = call.request
        request.media = ()  # nobody needs them any more
        if changed:
            request.data = await self._heavy.run(call.caller, partial(self._write, request.body))

    def _admit(self, call: Call, images: list[Media]) -> None:
        """What is told without a look at the images themselves."""
        request, principal = call.request, call.principal
        assert principal is not None  # the first stage knows
        read = self._engine.modalities(request.model)
        if read is not None and IMAGE not in read:
            raise self._refusal(
                images[0], "modality", f"The model {quoted(request.model)} takes text only."
            )
        most = principal.tier.max_images
        if len(images) > most:
            raise self._refusal(
                images[most],
                "count",
                f"A call has at most {most} images, not {len(images)} (max_images of tier "
                f"{principal.tier_name}).",
            )
        if request.route is not None:
            request.route.keep(self._reads_images)

    def _reads_images(self, model: str) -> bool:
        read = self._engine.modalities(model)
        return read is None or IMAGE in read

    async def _fetched(self, call: Call, images: list[Media]) -> list[bytes | None]:
        """The files that lie elsewhere, some at a time; None for those that came along."""
        tasks: dict[int, asyncio.Task[bytes]] = {}
        try:
            tasks = {
                number: asyncio.create_task(self._fetch(call, each))
                for number, each in enumerate(images)
                if wire.is_remote(each.data)
            }
            return [await tasks[n] if n in tasks else None for n in range(len(images))]
        finally:
            for task in tasks.values():
                task.cancel()
            # Nobody asks for what else went wrong.
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def _fetch(self, call: Call, image: Media) -> bytes:
        began = time.perf_counter()
        try:
            return await self.fetcher.fetch(call.caller, image.data, partial(self._hold, call))
        except Refused as refused:
            raise self._refusal(image, refused.outcome, refused.text, began) from None

    def _hold(self, call: Call, size: int) -> None:
        if self.held + size > self._most_held:
            raise GatewayError(Code.ENGINE_OVERLOADED)
        self.held += size
        call.notes.setdefault(Fetched, Fetched()).size += size

    async def _checked(self, call: Call, image: Media, fetched: bytes | None) -> bool:
        """Check one image, and put in its place what may go on; whether that is something else."""
        told, begin = self._head(image) if fetched is None else ("", 0)
        began = time.perf_counter()
        try:
            answer, coded = await self.workers.check(
                call.caller,
                image.kind,
                lambda: image.data[begin:] if fetched is None else fetched,
            )
        except Refused as refused:
            raise self._refusal(image, refused.outcome, refused.text, began) from None
        self._observe(image.kind, answer.outcome, time.perf_counter() - began)
        if answer.outcome == "cleaned":
            call.request.changes.append(Change(place(image.where), "stripped"))
        changed = bool(coded) or told != answer.media_type
        if changed:
            wire.put(image, answer.media_type, coded or image.data[begin:])
        return changed

    def _head(self, image: Media) -> tuple[str, int]:
        try:
            return wire.head(image)
        except GatewayError:
            self._observe(image.kind, "base64", 0.0)
            raise

    def _refusal(
        self, image: Media, outcome: str, text: str, began: float | None = None
    ) -> GatewayError:
        seconds = 0.0 if began is None else time.perf_counter() - began
        self._observe(image.kind, outcome, seconds)
        return invalid(text, place(image.where))
