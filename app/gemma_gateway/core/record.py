"""What is kept of a finished call: the row that monitoring, alerts and exports are made of."""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One call to a generating route, once it is over. Never content, never a secret.

    It is written as an array: new fields go to the end, with a default, so that gateways of two
    versions read each other's records during a rollout.

    Args:
        time: end of the call, seconds since the epoch.
        id: the engine's id of the call; the answer's own ``id`` ends with it.
        request_id: ``x-request-id``.
        key_id: of the caller.
        tier: of the caller.
        route: path, such as ``/v1/chat/completions``.
        model: a served model's name, or ``other``.
        stream: whether a stream was asked for.
        status: HTTP status; 499 when the client left, and for a stream that broke off the status
            that its error has.
        outcome: ``ok``, ``client_closed``, or a name of ``core.errors.Code``.
        response_time: seconds from the request's head to the last byte.
        time_to_first_token: seconds; None where nothing was streamed.
        queue_time: seconds that the call waited inside the engine; None where it isn't told.
        input_tokens: of the prompt.
        output_tokens: generated.
        cached_tokens: of the prompt, found in the engine's prefix cache.
        reasoning_tokens: of the output.
        usage_estimated: the engine told no count.
        finish_reason: as the engine's protocol says it, ``content_filter`` where the policy cut the
            answer; empty when it didn't end.
        input_length: characters of the messages' texts.
        upstream: ``host:port`` of the server that took it last; ``local`` for the engine in
            process; empty when none did.
        memory_mb: resident memory of the gateway and an engine in process, MB.
        gpu_memory_mb: used memory of the GPUs of an engine in process, MB; 0 without one.
    """

    time: float
    id: str
    request_id: str
    key_id: str
    tier: str
    route: str
    model: str
    stream: bool
    status: int
    outcome: str
    response_time: float
    time_to_first_token: float | None = None
    queue_time: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    usage_estimated: bool = False
    finish_reason: str = ""
    input_length: int = 0
    upstream: str = ""
    memory_mb: float = 0.0
    gpu_memory_mb: float = 0.0

    @property
    def success(self) -> bool:
        """Whether the caller got the whole answer."""
        return self.outcome == "ok"

    @property
    def failed(self) -> bool:
        """Whether the service failed it; a refusal, a limit or a client that left is none."""
        return self.status >= 500

    @property
    def tokens_per_second(self) -> float:
        """Output tokens over the response time."""
        return self.output_tokens / self.response_time if self.response_time > 0 else 0.0
