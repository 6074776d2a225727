"""Tool calls for servers that know none: tools are told as text, and calls found in the answers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from gemma_gateway.core.dialect import Json
from gemma_gateway.core.engine import EngineReply, EngineRequest
from gemma_gateway.engines.tools import messages, responses
from gemma_gateway.engines.tools.answer import Answer
from gemma_gateway.engines.tools.messages_teller import MessagesTeller
from gemma_gateway.engines.tools.reply import (
    BROKEN,
    ChatTeller,
    Refusal,
    Stream,
    Teller,
    Whole,
    aside,
)
from gemma_gateway.engines.tools.request import Asked, Invalid, concerns_tools, without_tools
from gemma_gateway.engines.tools.responses_teller import ResponsesTeller
from gemma_gateway.engines.wrapper import WrapperEngine

CHAT = "/v1/chat/completions"


class Route(NamedTuple):
    """A route whose calls may have tools.

    Args:
        chat: its request as one of chat completions.
        teller: makes what tells an answer to such a request; None: the answer stays.
        back: the chat request, once its tools are text, as one of the route; None: the server gets
            it as a chat.
    """

    chat: Callable[[Json], Json]
    teller: Callable[[Json], Teller] | None
    back: Callable[[Json, Json], Json] | None = None


ROUTES = {
    CHAT: Route(lambda document: document, lambda document: ChatTeller()),
    "/v1/responses": Route(responses.chat, ResponsesTeller),
    "/v1/messages": Route(messages.chat, lambda document: MessagesTeller()),
    "/v1/messages/count_tokens": Route(messages.chat, None, messages.prompt),
    "/tokenize": Route(lambda document: document, None, lambda document, told: told),
}


@dataclass(frozen=True, slots=True)
class _Call:
    """A call as the server gets it.

    Args:
        request: for the server.
        asked: what the caller asked of tools.
        teller: of the answer; None: it stays as it is.
    """

    request: EngineRequest
    asked: Asked
    teller: Teller | None


class ToolCalls(WrapperEngine):
    """Lets calls with tools reach the engine behind it as chats without any, and brings the answers
    back as the caller's protocol has them. Other calls pass as they are."""

    def send(self, request: EngineRequest) -> Coroutine[Any, Any, EngineReply]:
        """See ``Engine``."""
        route = ROUTES.get(request.path)
        if route is None or not ("messages" in request.document or "input" in request.document):
            return self.inner.send(request)
        return self._send(request, route)

    async def _send(self, request: EngineRequest, route: Route) -> EngineReply:
        try:
            call = await aside(len(request.body), partial(_call, request, route))
        except Invalid as error:
            return Refusal(error)
        except BROKEN:  # a server would find it wrong, too
            return Refusal(Invalid("The messages or tools are not as this route has them."))
        if call is None:
            return await self.inner.send(request)
        reply = await self.inner.send(call.request)
        if reply.status != 200 or call.teller is None:
            return reply
        if reply.content_type.startswith("text/event-stream"):
            return Stream(reply, Answer(call.asked), call.teller)
        return Whole(reply, Answer(call.asked), call.teller)


def _call(request: EngineRequest, route: Route) -> _Call | None:
    """The call as the server gets it; None: it has nothing to do with tools.

    Raises:
        Invalid: it can't be answered.
    """
    document = request.document
    chat = route.chat(document)
    if not concerns_tools(chat):
        return None
    told, asked = without_tools(chat)
    path, teller = CHAT, None
    if route.back is not None:
        path, told = request.path, route.back(document, told)
    elif route.teller is not None and (asked.tools or request.path != CHAT):
        teller = route.teller(document)
    sent = replace(request, path=path, document=told, body=request.write(told))
    return _Call(sent, asked, teller)
