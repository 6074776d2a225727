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
from gemma_gateway.core.errors import GatewayError, quoted
from gemma_gateway.core.heavy import Heavy
from gemma_gateway.core.stage import End, Waiting
from gemma_gateway.media.check import Refused
from gemma_gateway.media.fetch import Fetcher
from gemma_gateway.media.holdings import Holdings
from gemma_gateway.media.message import Answer
from gemma_gateway.media.workers import Workers
from gemma_gateway.settings import MediaSettings
from gemma_gateway.wire import media as wire
from gemma_gateway.wire.openai.openai import invalid
from gemma_gateway.wire.place import place

IMAGE, AUDIO = "image", "audio"
CHECKED = frozenset({IMAGE, AUDIO})
FILE = "file"  # of a form


class CheckMedia:
    """Checks the images and sounds of a call, fetches images that lie elsewhere, and puts what an
    engine may be given in their places; a ``Stage``, and an ``Observer``. Texts pass at once.

    Args:
        settings: what images and sounds may be.
        engine: knows what its models read.
        heavy: where large bodies are written.
        write: makes an engine's body of a document.
        observe: told of each: its kind, how its check ended, and seconds.
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
        self.holdings = Holdings(settings.media_held_bytes)

    async def start(self) -> None:
        """See ``Part``."""
        await self.workers.start()

    async def stop(self) -> None:
        """See ``Part``."""
        await self.workers.stop()
        await self.fetcher.stop()

    def enter(self, call: Call, client: Client) -> Waiting:
        """See ``Stage``; raises VALIDATION_ERROR with ``param`` naming the image or sound."""
        request = call.request
        if request.attachment:
            return self._check_attachment(call)
        if not request.media:
            return None
        request.media_length = sum([len(each.data) for each in request.media])
        checked = [each for each in request.media if each.kind in CHECKED]
        return self._check(call, checked) if checked else None

    def settle(self, call: Call, end: End) -> None:
        """See ``Observer``."""
        if call.request.images or call.request.audio_seconds:
            self.holdings.give_back(call)

    async def _check_attachment(self, call: Call) -> None:
        """The file of a form."""
        call.enter("media")
        request = call.request
        file = Media({FILE: ""}, FILE, FILE, AUDIO)
        self._admit(call, [file])
        read, request.attachment = request.attachment, b""
        _, request.attachment = await self._look(call, file, lambda: read, plain=True)

    async def _check(self, call: Call, media: list[Media]) -> None:
        call.enter("media")
        self._admit(call, media)
        fetched = await self._fetched(call, media)
        changed = False
        for number, each in enumerate(media):
            data, fetched[number] = fetched[number], None
            changed |= await self._checked(call, each, data)
        request = call.request
        request.media = ()  # nobody needs them any more
        if changed:
            request.data = await self._heavy.run(call.caller, partial(self._write, request.body))

    def _admit(self, call: Call, media: list[Media]) -> None:
        """What is told without a look at the files themselves."""
        request, principal = call.request, call.principal
        assert principal is not None  # the first stage knows
        tier, name = principal.tier, principal.tier_name
        read = self._engine.modalities(request.model)
        for each in media:
            if read is not None and each.kind not in read:
                takes = ", ".join(sorted(read))
                raise self._refusal(
                    each, "modality", f"The model {quoted(request.model)} takes {takes} only."
                )
        images = [each for each in media if each.kind == IMAGE]
        request.images = len(images)
        if len(images) > tier.max_images:
            raise self._refusal(
                images[tier.max_images],
                "count",
                f"A call has at most {tier.max_images} images, not {len(images)} (max_images of "
                f"tier {name}).",
            )
        if not tier.max_audio_seconds and len(images) < len(media):
            sound = next(each for each in media if each.kind == AUDIO)
            raise self._refusal(
                sound, "count", f"No audio is taken (max_audio_seconds of tier {name})."
            )
        if request.route is not None:
            request.route.keep(partial(self._reads, frozenset(each.kind for each in media)))

    def _reads(self, kinds: frozenset[str], model: str) -> bool:
        read = self._engine.modalities(model)
        return read is None or kinds <= read

    async def _fetched(self, call: Call, media: list[Media]) -> list[bytes | None]:
        """The files that lie elsewhere, some at a time; None for those that came along."""
        tasks: dict[int, asyncio.Task[bytes]] = {}
        try:
            tasks = {
                number: asyncio.create_task(self._fetch(call, each))
                for number, each in enumerate(media)
                if wire.is_remote(each.data)
            }
            return [await tasks[n] if n in tasks else None for n in range(len(media))]
        finally:
            for task in tasks.values():
                task.cancel()
            # Nobody asks for what else went wrong.
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def _fetch(self, call: Call, image: Media) -> bytes:
        began = time.perf_counter()
        try:
            return await self.fetcher.fetch(
                call.caller, image.data, partial(self.holdings.take, call)
            )
        except Refused as refused:
            raise self._refusal(image, refused.outcome, refused.text, began) from None

    async def _checked(self, call: Call, media: Media, fetched: bytes | None) -> bool:
        """Check one file, and put in its place what may go on; whether that is something else."""
        told, begin = self._head(media) if fetched is None else ("", 0)
        answer, coded = await self._look(
            call, media, lambda: media.data[begin:] if fetched is None else fetched
        )
        if answer.outcome == "cleaned":
            call.request.changes.append(Change(place(media.where), "stripped"))
        changed = bool(coded) or told != answer.media_type
        if changed:
            wire.put(media, answer.media_type, coded.decode("ascii") or media.data[begin:])
        return changed

    async def _look(
        self, call: Call, media: Media, read: Callable[[], bytes | str], *, plain: bool = False
    ) -> tuple[Answer, bytes]:
        """Have one file checked, as ``Workers.check`` does, and count it."""
        request, began = call.request, time.perf_counter()
        try:
            answer, data = await self.workers.check(call.caller, media.kind, read, plain=plain)
        except Refused as refused:
            raise self._refusal(media, refused.outcome, refused.text, began) from None
        if media.kind == AUDIO:
            self.holdings.take(call, len(data))
        request.audio_seconds += answer.seconds
        assert call.principal is not None  # the first stage knows
        most = call.principal.tier.max_audio_seconds
        if request.audio_seconds > most and media.kind == AUDIO:
            raise self._refusal(
                media,
                "seconds",
                f"The audio of a call may be {most} seconds long (max_audio_seconds of tier "
                f"{call.principal.tier_name}).",
                began,
            )
        self._observe(media.kind, answer.outcome, time.perf_counter() - began)
        return answer, data

    def _head(self, media: Media) -> tuple[str, int]:
        try:
            return wire.head(media)
        except GatewayError:
            self._observe(media.kind, "base64", 0.0)
            raise

    def _refusal(
        self, media: Media, outcome: str, text: str, began: float | None = None
    ) -> GatewayError:
        seconds = 0.0 if began is None else time.perf_counter() - began
        self._observe(media.kind, outcome, seconds)
        return invalid(text, place(media.where))
