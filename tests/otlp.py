"""A receiver of OpenTelemetry traces on a loopback port, with the official protobufs.

``with Receiver() as receiver`` gives ``receiver.endpoint`` for OTEL_EXPORTER_OTLP_ENDPOINT, and
``receiver.tree(trace_id)`` once the trace's last span has come.
"""

from __future__ import annotations

import gzip
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

SERVER, CLIENT = trace_pb2.Span.SPAN_KIND_SERVER, trace_pb2.Span.SPAN_KIND_CLIENT
ERROR = trace_pb2.Status.STATUS_CODE_ERROR


@dataclass
class Span:
    """One span, its protobuf made plain; times in nanoseconds since the epoch."""

    name: str
    trace_id: str
    id: str
    parent: str
    kind: int
    start: int
    end: int
    status: int
    attributes: dict[str, Any]
    resource: dict[str, Any]
    children: list[Span] = field(default_factory=list)

    def __getitem__(self, name: str) -> Span:
        """The one child with a name (or a name's beginning up to its space)."""
        (found,) = (c for c in self.children if name in (c.name, c.name.partition(" ")[0]))
        return found

    @property
    def names(self) -> list[str]:
        """Names of the children, by the time at which they began."""
        return [child.name for child in sorted(self.children, key=lambda c: (c.start, c.end))]


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(v) for v in value.array_value.values]
    return getattr(value, kind)


def _attributes(pairs: list[KeyValue]) -> dict[str, Any]:
    return {pair.key: _plain(pair.value) for pair in pairs}


class Receiver:
    """Listens while inside ``with``.

    Args:
        delay: seconds before each answer.
        status: HTTP status of each answer.
    """

    def __init__(self, delay: float = 0.0, status: int = 200) -> None:
        self.spans: list[Span] = []
        self.raw = b""  # all requests, as they came
        self.requests = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                time.sleep(delay)
                assert self.path == "/v1/traces"
                assert self.headers["content-type"] == "application/x-protobuf"
                receiver._take(body)
                self.send_response(status)
                self.send_header("content-type", "application/x-protobuf")
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _take(self, body: bytes) -> None:
        self.requests += 1
        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = _attributes(list(resource.resource.attributes))
            for scope in resource.scope_spans:
                self.spans.extend(_span(span, about) for span in scope.spans)

    def tree(self, trace_id: str, *more: str, wait: float = 60.0) -> Span:
        """The call's own span, everything else of its trace below it, once all have come.

        Args:
            more: names of spans to wait for beside the call's own, which is the last of the
                gateway's.
            wait: seconds.
        """
        end = time.monotonic() + wait
        while True:
            spans = [span for span in self.spans if span.trace_id == trace_id]
            names = {span.name.partition(" ")[0] for span in spans}
            if names >= {"POST", *more}:
                break
            assert time.monotonic() < end, f"{trace_id}: only {names} of {len(self.spans)} spans"
            time.sleep(0.02)
        by_id = {span.id: span for span in spans}
        assert len(by_id) == len(spans)
        (root,) = (span for span in spans if span.parent not in by_id)
        for span in spans:
            if span is not root:
                by_id[span.parent].children.append(span)
        return root


def _span(span: trace_pb2.Span, resource: dict[str, Any]) -> Span:
    return Span(
        name=span.name,
        trace_id=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        kind=span.kind,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        status=span.status.code,
        attributes=_attributes(list(span.attributes)),
        resource=resource,
    )
