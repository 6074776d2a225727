"""What is kept of a finished call: the row that monitoring, alerts and exports are made of."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta


class FinishedCall(msgspec.Struct, frozen=True):
    """Which call it was, and whose: the columns that everything kept of a call begins with.

    A field's description goes from here to the API's document, docs/monitoring.md and the console's
    types. No field can be added here: records are arrays, see ``Record``.
    """

    time: Annotated[float, Meta(description="End of the call, seconds since the epoch")]
    id: Annotated[str, Meta(description="The engine's id for it; the answer's own id ends with it")]
    request_id: Annotated[str, Meta(description="The header x-request-id")]
    key_id: Annotated[str, Meta(description="Id of the caller's key")]
    tier: Annotated[str, Meta(description="The caller's tier")]
    route: Annotated[str, Meta(description="Path, such as /v1/chat/completions")]
    model: Annotated[str, Meta(description="A served model's name, or other")]

    def columns(self) -> dict[str, Any]:
        """These columns alone, by name."""
        return {name: getattr(self, name) for name in FinishedCall.__struct_fields__}


class Record(FinishedCall, frozen=True, array_like=True, gc=False):
    """One call to a generating route, once it is over. Never content, never a secret.

    It is written as an array: new fields go to the end, with a default, so that gateways of two
    versions read each other's records during a rollout.
    """

    stream: Annotated[bool, Meta(description="Whether a stream was requested")]
    status: Annotated[
        int,
        Meta(
            description=(
                "HTTP status; 499: the client left; of a broken stream, the status of its error"
            )
        ),
    ]
    outcome: Annotated[str, Meta(description="ok, client_closed, or an error code")]
    response_time: Annotated[
        float, Meta(description="Seconds from the request's head to the last byte")
    ]
    time_to_first_token: Annotated[
        float | None, Meta(description="Seconds; null: nothing was streamed")
    ] = None
    queue_time: Annotated[
        float | None,
        Meta(
            description=(
                "Seconds that it waited inside the engine; null: the engine doesn't report it"
            )
        ),
    ] = None
    input_tokens: Annotated[int, Meta(description="Of the prompt")] = 0
    output_tokens: Annotated[int, Meta(description="Generated")] = 0
    cached_tokens: Annotated[
        int, Meta(description="Of the prompt, found in the engine's prefix cache")
    ] = 0
    reasoning_tokens: Annotated[int, Meta(description="Of the output")] = 0
    usage_estimated: Annotated[
        bool,
        Meta(description="The engine was cut off before it reported a count: tokens are estimated"),
    ] = False
    finish_reason: Annotated[
        str,
        Meta(
            description="The engine's own word, such as stop or end_turn; content_filter: the "
            "policy cut the answer; empty: it didn't end"
        ),
    ] = ""
    input_length: Annotated[int, Meta(description="Characters of the messages' texts")] = 0
    upstream: Annotated[
        str,
        Meta(
            description=(
                "host:port of the server that handled it last; local: the engine in process; "
                "empty: none did"
            )
        ),
    ] = ""
    memory_mb: Annotated[
        float, Meta(description="MB, resident memory of the gateway and an engine in process")
    ] = 0.0
    gpu_memory_mb: Annotated[
        float,
        Meta(description="MB, used memory of the GPUs of an engine in process; 0 without one"),
    ] = 0.0

    refused_field: Annotated[
        str,
        Meta(
            description=(
                "The request's field at fault, and the place in it, such as messages.3; empty: none"
            )
        ),
    ] = ""
    changes: Annotated[
        str,
        Meta(
            description="Where and how the gateway changed the request, as the answer's header "
            "x-gateway-changed says it; empty: nowhere"
        ),
    ] = ""
    flagged: Annotated[
        str,
        Meta(
            description="What the content policy noted and let pass, such as input:harm; "
            "empty: nothing"
        ),
    ] = ""
    images: Annotated[int, Meta(description="Pictures in the request")] = 0

    prompt_id: Annotated[
        str, Meta(description="The preset that its prompt named; empty: none did")
    ] = ""
    prompt_version: Annotated[str, Meta(description="Of that preset; empty: none was named")] = ""
    audio_seconds: Annotated[float, Meta(description="Of the sounds in the request")] = 0.0

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
