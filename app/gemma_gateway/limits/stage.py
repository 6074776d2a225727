"""The stage of the limits, and those that stand for windows: of requests, and of audio."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from gemma_gateway.core.call import Call, Client
from gemma_gateway.core.catalogue import Catalogue
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.outcomes import LIMITED, UNSPENT
from gemma_gateway.core.stage import End, Limit, Waiting
from gemma_gateway.limits import admission as admissions
from gemma_gateway.limits.admission import UNCOUNTED, Admission, duration
from gemma_gateway.limits.limiter import AUDIO, Group, Limiter
from gemma_gateway.settings import Model

LEAST_WAIT = 0.001  # seconds
FREE = "token counts"
# Outcomes after which a call doesn't count unless it has text: the service failed it, or another
# limit refused it.
GIVEN_BACK = UNSPENT | LIMITED


class Limits:
    """Reserves what a call may need of each limit.

    Args:
        limits: in order.
    """

    name = "limits"

    def __init__(self, limits: tuple[Limit, ...]) -> None:
        self._limits = limits

    def enter(self, call: Call, client: Client) -> Waiting:
        """See ``Stage``; raises what ``Limit.reserve`` raises."""
        return self._limits[0].reserve(call) if len(self._limits) == 1 else self._each(call)

    async def _each(self, call: Call) -> None:
        for limit in self._limits:
            if (waiting := limit.reserve(call)) is not None:
                await waiting


class RequestWindows:
    """A tier's sliding windows of requests. A call counts before it runs, so that no burst gets
    past a limit; what the service itself then fails, before any answer, is taken back. Calls that
    generate nothing have the same windows once more to themselves.

    Args:
        limiter: counts.
        count: told each decision: ``allowed`` or ``denied``, and whether it was made without the
            store.
    """

    def __init__(self, limiter: Limiter, count: Callable[[str, bool], None]) -> None:
        self._limiter = limiter
        self._count = count

    async def reserve(self, call: Call) -> None:
        """See ``Limit``; raises RATE_LIMIT_EXCEEDED, or LIMIT_STORE_UNAVAILABLE where the operator
        wants that while the store is unavailable."""
        assert call.principal is not None  # the first stage knows
        group = _group(call)
        admission = await self._limiter.admit(call.principal, group)
        self._count("allowed" if admission.allowed else "denied", admission.degraded)
        headers = admissions.headers(admission, call.dialect)
        if not admission.allowed:
            of = f"requests of {group.name}" if group else "requests"
            raise _refusal(admission, of, headers=headers)
        call.answer.headers.update(headers)
        call.notes[Admission] = admission

    def settle(self, call: Call, end: End) -> Waiting:
        """See ``Limit``."""
        if end.outcome not in GIVEN_BACK or call.answer.first_token:
            return None
        admission = call.notes.get(Admission)
        return None if admission is None else self._give_back(call, admission)

    async def _give_back(self, call: Call, admission: Admission) -> None:
        assert call.principal is not None  # it was admitted
        now = await self._limiter.give_back(call.principal, admission, _group(call))
        call.answer.headers.update(admissions.headers(now, call.dialect))


@dataclass(frozen=True, slots=True)
class ModelAdmission:
    """The note of a call that counts in the windows of a model.

    Args:
        model: whose.
        admission: what was said of it.
    """

    model: Model
    admission: Admission


class ModelWindows:
    """The windows of requests that a model has for each key, besides those of the key's tier. They
    are asked once the model is known; most models have none, and calls that generate nothing need
    none.

    Args:
        limiter: counts.
        catalogue: knows the models.
        count: see ``RequestWindows``.
    """

    def __init__(
        self, limiter: Limiter, catalogue: Catalogue, count: Callable[[str, bool], None]
    ) -> None:
        self._limiter = limiter
        self._catalogue = catalogue
        self._count = count

    def reserve(self, call: Call) -> Waiting:
        """See ``Limit``; raises as ``RequestWindows.reserve``."""
        model = self._limited(call, call.request.model)
        return None if model is None else self._admit(call, model)

    def _limited(self, call: Call, name: str) -> Model | None:
        """The model of that name where it has windows for the call."""
        model = self._catalogue.find(name) if call.dialect.charged else None
        return model if model is not None and model.windows else None

    async def _admit(self, call: Call, model: Model) -> None:
        assert call.principal is not None  # the first stage knows
        admission = await self._limiter.admit(call.principal, model)
        self._count("allowed" if admission.allowed else "denied", admission.degraded)
        if not admission.allowed:
            headers = admissions.headers(admission, call.dialect)
            raise _refusal(admission, f"requests to {model.name}", "model", headers)
        tier = call.notes.get(Admission, UNCOUNTED)
        both = admission._replace(states=tier.states + admission.states)
        call.answer.headers.update(admissions.headers(both, call.dialect))
        call.notes[ModelAdmission] = ModelAdmission(model, admission)

    async def move(self, call: Call, name: str) -> None:
        """Have a call count with another model instead.

        Args:
            call: that nobody has begun to answer.
            name: of the other model.

        Raises:
            GatewayError: see ``reserve``; it goes on to count where it did.
        """
        assert call.principal is not None  # it was admitted
        model, admission = self._limited(call, name), None
        if model is not None:
            admission = await self._limiter.admit(call.principal, model)
            if not admission.allowed:
                raise GatewayError(Code.RATE_LIMIT_EXCEEDED)
        await self._give_back(call)
        if model is not None and admission is not None:
            call.notes[ModelAdmission] = ModelAdmission(model, admission)

    def settle(self, call: Call, end: End) -> Waiting:
        """See ``Limit``."""
        if end.outcome not in GIVEN_BACK or call.answer.first_token:
            return None
        return self._give_back(call)

    async def _give_back(self, call: Call) -> None:
        note: ModelAdmission | None = call.notes.pop(ModelAdmission, None)
        if note is not None and call.principal is not None:
            await self._limiter.give_back(call.principal, note.admission, note.model)


@dataclass(frozen=True, slots=True)
class AudioAdmission:
    """The note of a call that counts in its tier's windows of audio.

    Args:
        group: where.
        seconds: as what.
        admission: what was said of it.
    """

    group: Group
    seconds: int
    admission: Admission


class AudioWindows:
    """A tier's sliding windows of seconds of audio, which are asked once the sounds of a call are
    known; one that has none passes at once. Begun seconds count as whole ones.

    Args:
        limiter: counts.
        count: see ``RequestWindows``.
    """

    def __init__(self, limiter: Limiter, count: Callable[[str, bool], None]) -> None:
        self._limiter = limiter
        self._count = count

    def reserve(self, call: Call) -> Waiting:
        """See ``Limit``; raises as ``RequestWindows.reserve``, and VALIDATION_ERROR where the
        sounds are longer than a window's whole limit: no waiting would help."""
        if not call.request.audio_seconds:
            return None
        assert call.principal is not None  # the first stage knows
        windows = call.principal.tier.audio_windows
        return self._admit(call, Group(AUDIO, windows)) if windows else None

    async def _admit(self, call: Call, group: Group) -> None:
        principal, seconds = call.principal, ceil(call.request.audio_seconds)
        assert principal is not None  # the first stage knows
        least = min(group.windows, key=lambda window: window.limit)
        if seconds > least.limit:
            raise GatewayError(
                Code.VALIDATION_ERROR,
                f"The audio of this call lasts {seconds} seconds, and tier {principal.tier_name} "
                f"takes at most {least.limit} in {duration(least.seconds)}: it never fits.",
                param="file" if call.request.attachment else None,
            )
        admission = await self._limiter.admit(principal, group, seconds)
        self._count("allowed" if admission.allowed else "denied", admission.degraded)
        if not admission.allowed:
            raise _refusal(admission, "seconds of audio")
        call.notes[AudioAdmission] = AudioAdmission(group, seconds, admission)

    def settle(self, call: Call, end: End) -> Waiting:
        """See ``Limit``."""
        if end.outcome not in GIVEN_BACK or call.answer.first_token:
            return None
        note: AudioAdmission | None = call.notes.get(AudioAdmission)
        return None if note is None else self._give_back(call, note)

    async def _give_back(self, call: Call, note: AudioAdmission) -> None:
        assert call.principal is not None  # it was admitted
        await self._limiter.give_back(call.principal, note.admission, note.group, note.seconds)


def _group(call: Call) -> Group | None:
    """Whom a call counts with; None: with the calls that generate."""
    assert call.principal is not None  # the first stage knows
    return None if call.dialect.charged else Group(FREE, call.principal.tier.windows)


def _refusal(
    admission: Admission,
    of: str,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> GatewayError:
    """What a caller over a limit hears: which window is full, and when it has room again.

    Args:
        of: what is counted.
        param: the field that chose the window.
        headers: that tell of its state.
    """
    window, wait = admission.tightest, max(admission.retry_after, LEAST_WAIT)
    most = f": at most {window.limit} in {duration(window.seconds)}" if window else ""
    text = f"Rate limit on {of} exceeded{most}. Please try again in {duration(wait)}."
    return GatewayError(Code.RATE_LIMIT_EXCEEDED, text, param=param, headers=headers, wait=wait)
