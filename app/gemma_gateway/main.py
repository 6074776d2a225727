"""The composition root: every object is built here, once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, TypeVar

from fastapi import APIRouter, FastAPI

from gemma_gateway import __version__
from gemma_gateway.access.keys import KeyRing, first_key
from gemma_gateway.access.managed import ManagedKeys
from gemma_gateway.access.names import Names
from gemma_gateway.access.repository import KeyRepository
from gemma_gateway.access.service import KeyService
from gemma_gateway.access.stage import Identify
from gemma_gateway.admin import scraped
from gemma_gateway.admin.export import Export
from gemma_gateway.admin.health import Health
from gemma_gateway.admin.keys import KeyAdmin
from gemma_gateway.admin.overview import Overview
from gemma_gateway.admin.own import Own
from gemma_gateway.admin.reload import Reload
from gemma_gateway.alerts.conditions import Conditions
from gemma_gateway.alerts.service import Alerts
from gemma_gateway.alerts.store import MOST_HISTORY
from gemma_gateway.api import schema
from gemma_gateway.api.app import GatewayApp
from gemma_gateway.api.auth import Auth
from gemma_gateway.api.cors import Cors
from gemma_gateway.api.deadlines import Deadlines
from gemma_gateway.api.endpoint import EngineEndpoint
from gemma_gateway.api.errors import ErrorBodies
from gemma_gateway.api.intake import Intake
from gemma_gateway.api.peer import Peers
from gemma_gateway.api.routes import alerts as alert_routes
from gemma_gateway.api.routes import console, feedback, monitoring
from gemma_gateway.api.routes import keys as key_routes
from gemma_gateway.api.routes import prompts as prompt_routes
from gemma_gateway.api.routes import quality as quality_routes
from gemma_gateway.api.routes import service as service_routes
from gemma_gateway.console.site import Site
from gemma_gateway.core.catalogue import Catalogue
from gemma_gateway.core.dialect import Dialect
from gemma_gateway.core.engine import Engine
from gemma_gateway.core.form import FormDialect
from gemma_gateway.core.heavy import Heavy
from gemma_gateway.core.part import Part
from gemma_gateway.core.reload import Reloadable
from gemma_gateway.core.stage import Limit, Observer, Stage, Step, Tap
from gemma_gateway.engines import factory
from gemma_gateway.engines.fallback import Fallback
from gemma_gateway.engines.local import weights
from gemma_gateway.engines.pools import Pools
from gemma_gateway.limits.aside import Aside
from gemma_gateway.limits.ledger import Ledger
from gemma_gateway.limits.limiter import Limiter
from gemma_gateway.limits.places import LogprobsRoom, Places
from gemma_gateway.limits.room import Room
from gemma_gateway.limits.stage import AudioWindows, Limits, ModelWindows, RequestWindows
from gemma_gateway.media.stage import CheckMedia
from gemma_gateway.monitoring.capture import Recorder
from gemma_gateway.monitoring.memory import Memory
from gemma_gateway.monitoring.prices import Prices
from gemma_gateway.monitoring.records import RequestLog
from gemma_gateway.pipeline.body import ReadBody, Steps
from gemma_gateway.pipeline.delivery import Delivery
from gemma_gateway.pipeline.gateway import Gateway
from gemma_gateway.pipeline.routing import Routing
from gemma_gateway.pipeline.speech import Speech
from gemma_gateway.pipeline.token_prompts import TokenPrompts
from gemma_gateway.presets.library import Library
from gemma_gateway.presets.stage import Expand
from gemma_gateway.quality.service import Quality
from gemma_gateway.safety.controls import ControlTokens
from gemma_gateway.safety.filter import Filter, chain
from gemma_gateway.safety.policy import Policy
from gemma_gateway.safety.stage import BreakControlTokens, Judge, Sanitise
from gemma_gateway.settings import Settings
from gemma_gateway.settings.source import Source
from gemma_gateway.storage import Store, embedded
from gemma_gateway.storage.embedded import EmbeddedStore
from gemma_gateway.telemetry import tracing
from gemma_gateway.telemetry.files import OpenFiles
from gemma_gateway.telemetry.log import AccessLog
from gemma_gateway.telemetry.loop_lag import LoopLag
from gemma_gateway.telemetry.meters import Meters
from gemma_gateway.telemetry.metrics import Metrics
from gemma_gateway.telemetry.tracing import Traces
from gemma_gateway.validation.stage import Decode, Decompress, Fit, Validate
from gemma_gateway.wire.anthropic.count_tokens import CountTokens
from gemma_gateway.wire.anthropic.messages import Messages
from gemma_gateway.wire.openai.chat import Chat
from gemma_gateway.wire.openai.completions import Completions
from gemma_gateway.wire.openai.responses import Responses
from gemma_gateway.wire.openai.transcription import Transcriptions, Translations
from gemma_gateway.wire.vllm.tokenize import Detokenize, Tokenize

T = TypeVar("T")
FORM_BYTES = 128 * 1024  # of a form beside its file
Factories = tuple[Callable[["Parts"], T], ...]


class Parts:
    """The parts of one gateway, built but not started.

    Args:
        source: of the settings, to read them again; None: they stay as they are.

    Attributes:
        key_file: file of the generated first key; None when the operator gave keys.
        failed: set when the engine's first start has failed.
        lag: how late the event loop is.
        tracer: None: calls are not traced.
    """

    def __init__(self, settings: Settings, engine: Engine, source: Source | None = None) -> None:
        self.settings = settings
        self.catalogue = Catalogue(settings.engine.models)
        self.pools = engine if isinstance(engine, Pools) else None
        for decorate in DECORATORS:
            engine = decorate(self, engine)
        self.engine = engine
        self.failed = False
        self.key_file: Path | None = None
        self.allowed = frozenset(settings.validation.allow_engine_parameters)
        self.metrics = Metrics()
        self.log = AccessLog() if settings.telemetry.access_log else None
        self.memory = Memory(engine.memory)
        self.tracer = tracing.from_environment()
        self._store_and_keys(settings)
        self._call_path(settings, engine)
        self._operators_view(settings, engine)
        self.reload = Reload(source or Source(lambda: settings), made(RELOADS, self))
        scraped.watch_reload(self.metrics, self.reload)

    def _store_and_keys(self, settings: Settings) -> None:
        data_dir = settings.server.data_dir.absolute()
        further: tuple[str, ...] = ()
        access, store = settings.access, settings.store
        if not (access.api_keys or access.operator_keys or access.keys or access.allow_anonymous):
            self.key_file = data_dir / "api_key"
            further = (first_key(self.key_file),)
        self.embedded = None if store.redis_url else EmbeddedStore(data_dir / "store")
        if self.embedded is None:
            self.store = Store(store.redis_url, store.store_timeout)
        else:
            given = "store_timeout" in store.model_fields_set
            timeout = store.store_timeout if given else embedded.ANSWER_SECONDS
            self.store = Store(self.embedded.url, timeout)
        prefix = store.redis_prefix
        key_repository = self.key_repository = KeyRepository(self.store, prefix)
        self.managed_keys = ManagedKeys(key_repository, settings.limits, access.key_stale_seconds)
        self.keys = KeyRing.from_settings(settings, further, self.managed_keys)
        self.limiter = Limiter(self.store, prefix, store.store_failure)
        self.ledger = Ledger(self.store, self.limiter, prefix)
        self.request_log = RequestLog(
            self.store,
            prefix,
            records_max=settings.monitoring.records_max,
            records_seconds=settings.monitoring.records_days * 86_400,
        )

    def _call_path(self, settings: Settings, engine: Engine) -> None:
        self.policy = Policy.load(settings.safety.policy_file)
        found = made(FILTERS, self)
        self.filters = {
            mode: chain(tuple(policy if each is self.policy else each for each in found))
            for mode, policy in self.policy.modes().items()
        }
        self.library = Library.load(settings.prompts.prompts_file)
        self.controls = ControlTokens(settings.safety.control_tokens, engine.control_tokens)
        self.heavy = Heavy()
        self.places = Places()
        self.room = Room(settings.limits.max_in_flight)
        self.model_windows = ModelWindows(self.limiter, self.catalogue, self.metrics.limits_decided)
        self.routing = Routing(
            engine, self.catalogue, self.model_windows.move, self.metrics.fell_back
        )
        self.quality = Quality(
            settings.quality,
            {name: tier.quality_sample for name, tier in settings.limits.tiers.items()},
            self.store,
            settings.store.redis_prefix,
            settings.monitoring.records_days * 86_400,
            self.request_log,
            self.policy,
            engine,
            self.metrics,
            lambda: self.room.taken,
        )
        self.media = CheckMedia(
            settings.media, engine, self.heavy, self._write, self.metrics.media_checked
        )
        self.limits = made(LIMITS, self)
        self.model_limits = made(MODEL_LIMITS, self)
        self.media_limits = made(MEDIA_LIMITS, self)
        self.gateway = Gateway(
            made(STAGES, self),
            (*self.limits, *self.model_limits, *self.media_limits),
            engine,
            self._write,
            Delivery(self.filters, self.heavy, self.engine.known),
            made(TAPS, self),
            made(OBSERVERS, self),
        )

    def _write(self, document: dict[str, Any]) -> bytes:
        """An engine's body of a document."""
        return self.controls.write(document)[0]

    def _operators_view(self, settings: Settings, engine: Engine) -> None:
        self.health = Health(
            settings.monitoring,
            settings.store.store_failure == "deny",
            engine,
            lambda: self.store.available,
            lambda: self.store.serves_any,
            self.memory,
        )
        scraped.watch(
            self.metrics, self.room, self.store, self.limiter, self.request_log, self.memory, engine
        )
        scraped.watch_keys(self.metrics, self.managed_keys)
        scraped.watch_refused(self.metrics, self.places, self.keys.throttle)
        self.files = OpenFiles()
        scraped.watch_files(self.metrics, self.files)
        self.alerts = Alerts(
            settings.alerts,
            self.store,
            settings.store.redis_prefix,
            self.request_log,
            Conditions(engine, self.memory).now,
        )
        self.alerts.watch(self.metrics)
        self.lag = LoopLag(self.metrics.lag.observe)
        self.auth = Auth(self.keys.identify, Aside().admit)
        self.own = Own(
            self.routing,
            self.catalogue,
            engine,
            self.ledger,
            self.places,
            partial(weights.description, settings.engine),
        )
        names = Names(self.keys, self.key_repository)
        self.overview = Overview(
            self.request_log,
            engine,
            self.room,
            self.memory,
            self.store,
            lambda: self.lag.seconds,
            lambda: self.alerts.firing,
            names,
        )
        prices = Prices(settings.monitoring.prices, settings.monitoring.currency, self.catalogue)
        self.export = Export(self.request_log, self.ledger, names, prices)
        key_service = KeyService(self.key_repository, self.managed_keys, settings.limits)
        self.key_admin = KeyAdmin(
            self.keys,
            self.key_repository,
            self.managed_keys,
            key_service,
            self.ledger,
            prices,
            settings.limits,
        )
        self.export.sections["alerts"] = self._alert_rows
        self.export.sections["quality"] = self.quality.rows

    async def _alert_rows(self) -> AsyncIterator[dict[str, Any]]:
        """The alerts' part of the export."""
        for alert in (await self.alerts.report(MOST_HISTORY)).data:
            yield alert.model_dump()

    def leave(self) -> None:
        """Turn not ready, so that load balancers send new calls elsewhere; all are still taken."""
        self.health.draining = True

    def drain(self) -> int:
        """Take no new calls; those in flight, whose number this returns, go on."""
        self.gateway.draining = self.health.draining = True
        return self.room.taken

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything started, and stopped in reverse order.

        Raises:
            RuntimeError: the embedded store doesn't start; the text says why.
        """
        async with AsyncExitStack() as stack:
            for part in made(PARTS, self):
                await part.start()
                stack.push_async_callback(part.stop)
            yield


# What a call passes, in order: who, how many at once, the body, how much, what.
STAGES: Factories[Stage | None] = (
    lambda p: Identify(p.keys),
    lambda p: p.places,
    lambda p: ReadBody(),
    lambda p: p.room,
    lambda p: Limits(p.limits),
    lambda p: Steps(p.heavy, made(STEPS, p)),
    lambda p: Limits(p.model_limits) if p.model_limits else None,
    lambda p: p.media,
    lambda p: Limits(p.media_limits) if p.media_limits else None,
    lambda p: LogprobsRoom(p.places),
    lambda p: TokenPrompts(p.engine, Judge(p.filters)),
)
# How a body becomes a request for an engine.
STEPS: Factories[Step] = (
    lambda p: Decompress(p.settings.validation.max_body_bytes),
    lambda p: Decode(p.settings.validation.max_json_depth, p.allowed),
    lambda p: Expand(p.library),
    lambda p: Sanitise(),
    lambda p: Validate(p.allowed),
    lambda p: p.routing,
    lambda p: Fit(p.engine.max_model_len),
    lambda p: Judge(p.filters),
    lambda p: BreakControlTokens(p.controls),
)
# What texts pass, of requests and of answers.
FILTERS: Factories[Filter] = (lambda p: p.policy,)
LIMITS: Factories[Limit] = (lambda p: RequestWindows(p.limiter, p.metrics.limits_decided),)
# Those that depend on what a request asks for: the body was read for them, so they cost more.
MODEL_LIMITS: Factories[Limit | None] = (
    lambda p: p.model_windows if p.settings.engine.models else None,
)
# Those that depend on what its media hold, which is known once they were checked.
MEDIA_LIMITS: Factories[Limit | None] = (
    lambda p: (
        AudioWindows(p.limiter, p.metrics.limits_decided)
        if any(tier.audio_windows for tier in p.settings.limits.tiers.values())
        else None
    ),
)
# What stands before the engine, the outermost last.
DECORATORS: tuple[Callable[[Parts, Engine], Engine], ...] = (
    lambda p, engine: Speech(engine),
    lambda p, engine: Fallback(engine) if p.settings.engine.models else engine,
)
TAPS: Factories[Tap | None] = (lambda p: p.quality.sampler,)
OBSERVERS: Factories[Observer | None] = (
    lambda p: p.places,
    lambda p: p.room,
    lambda p: p.media,
    lambda p: Meters(p.metrics),
    lambda p: p.ledger,
    lambda p: Recorder(p.request_log, p.memory),
    lambda p: p.log,
    lambda p: Traces() if p.tracer is not None else None,
)
DIALECTS: tuple[Dialect, ...] = (
    Chat(),
    Completions(),
    Responses(),
    Messages(),
    CountTokens(),
    Tokenize(),
    Detokenize(),
    Transcriptions(),
    Translations(),
)
# What is started, in this order, and stopped in reverse: the tracer sends what all others did, and
# whoever writes to the store needs it until then.
PARTS: Factories[Part | None] = (
    lambda p: p.tracer,
    lambda p: p.lag,
    lambda p: p.files,
    lambda p: p.embedded,
    lambda p: p.store,
    lambda p: p.managed_keys,
    lambda p: p.ledger,
    lambda p: p.memory,
    lambda p: p.request_log,
    lambda p: p.alerts,
    lambda p: p.engine,
    lambda p: p.media,
    lambda p: p.quality,
    lambda p: p.reload,
    lambda p: p.log,
)
# What goes over to new settings while it runs. They are made ready in this order, and nobody takes
# that back where a later one can't: what holds something, such as connections, comes last.
RELOADS: Factories[Reloadable | None] = (
    lambda p: p.library,
    lambda p: p.catalogue,
    lambda p: p.pools,
)
ROUTES: Factories[APIRouter] = (
    lambda p: service_routes.router(p.auth, p.own, p.health, p.metrics.render),
    lambda p: prompt_routes.router(p.auth, p.library, p.heavy),
    lambda p: monitoring.router(p.auth, p.overview, p.export),
    lambda p: quality_routes.router(p.auth, p.quality.view),
    lambda p: feedback.router(p.auth, p.quality.feedback),
    lambda p: alert_routes.router(p.auth, p.alerts),
    lambda p: key_routes.router(p.auth, p.key_admin),
    lambda p: console.router(Site.installed()),
)


def made(factories: Factories[T | None], parts: Parts) -> tuple[T, ...]:
    """What a list stands for; None is left out."""
    return tuple(found for make in factories if (found := make(parts)) is not None)


def assemble(settings: Settings, source: Source | None = None) -> Parts:
    """Choose the engine and build the parts.

    Args:
        source: see :class:`Parts`.

    Raises:
        OSError: the data folder or a file in it can't be used.
        ValueError: two keys are the same, or the policy or a preset can't be used.
        gemma_gateway.engines.local.weights.ModelUnavailable: the model can't be had.
    """
    images = max(tier.max_images for tier in settings.limits.tiers.values())
    engine = factory.engine(settings.engine, settings.server.data_dir.absolute(), images)
    return Parts(settings, engine, source)


def build(
    parts: Parts,
    dialects: Sequence[Dialect] = DIALECTS,
    routes: Factories[APIRouter] = ROUTES,
) -> GatewayApp | Cors:
    """The ASGI application. Its parts are started by ``Parts.running``, around the server.

    Args:
        dialects: of the engine routes.
        routes: all others.
    """
    app = FastAPI(
        title="Gemma gateway",
        version=__version__,
        description="Policy in front of Gemma: keys, limits, filters, metrics.",
        docs_url=None,  # its page loads scripts from elsewhere; ours: api.routes.console
        redoc_url=None,
        redirect_slashes=False,  # it would send the client to what it named as our host
    )
    for router in made(routes, parts):
        app.router.routes += router.routes  # as they are: include_router makes each once more
    errors = ErrorBodies(dialects)
    errors.install(app)
    schema.install(app, dialects)
    deadlines = Deadlines(parts.settings.server.heartbeat_seconds or inf)
    bodies = Intake(parts.settings.validation.max_body_bytes)
    forms = Intake(parts.settings.media.audio_max_bytes + FORM_BYTES, until_over=True)
    timeout = parts.settings.engine.request_timeout
    endpoints = {
        dialect.path: EngineEndpoint(
            parts.gateway,
            dialect,
            deadlines,
            forms if isinstance(dialect, FormDialect) else bodies,
            timeout,
            parts.tracer,
        )
        for dialect in dialects
    }
    server = parts.settings.server
    outer = GatewayApp(app, endpoints, Peers(server.trusted_proxies), deadlines, errors)
    return Cors(outer, server.cors_origins) if server.cors_origins else outer
