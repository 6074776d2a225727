"""Gemma 3's tool calls for vLLM in process, through vLLM's interface for parsers.

Imported by vLLM alone, once ``adjustments.add_parsers`` has named it. The interface is that of vLLM
0.32's ``tool_parsers.abstract_tool_parser``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vllm.entrypoints.generate.base.protocol import (
    DeltaFunctionCall,
    DeltaMessage,
    DeltaToolCall,
    ExtractedToolCallInformation,
    FunctionCall,
    ToolCall,
)
from vllm.renderers.chat_utils import make_tool_call_id
from vllm.tool_parsers.abstract_tool_parser import ToolParser
from vllm.tool_parsers.utils import get_function_tools

from gemma_gateway.toolcalls.call import Call
from gemma_gateway.toolcalls.parser import Parser, parse
from gemma_gateway.toolcalls.tool import read_tools


class GemmaToolParser(ToolParser):  # type: ignore[misc]  # vLLM has no types where they are checked
    """The parser of one answer."""

    def __init__(self, tokenizer: Any, tools: list[Any] | None = None) -> None:
        super().__init__(tokenizer, tools)
        declared = get_function_tools(tools or [])
        self._tools = read_tools([tool.model_dump() for tool in declared])
        self._parser = Parser(self._tools)

    def extract_tool_calls(self, model_output: str, request: Any) -> ExtractedToolCallInformation:
        """The calls of a whole answer."""
        calls, content = parse(model_output, self._tools)
        return ExtractedToolCallInformation(
            tools_called=bool(calls),
            tool_calls=[
                ToolCall(function=FunctionCall(name=call.name, arguments=call.arguments_json()))
                for call in calls
            ],
            content=content or None,
        )

    def extract_tool_calls_streaming(
        self,
        previous_text: str,
        current_text: str,
        delta_text: str,
        previous_token_ids: Sequence[int],
        current_token_ids: Sequence[int],
        delta_token_ids: Sequence[int],
        request: Any,
    ) -> DeltaMessage | None:
        """What a piece of an answer tells; None: nothing yet."""
        # vLLM asks a parser that says so for what it holds back, at the end. It looks at the class
        # before a stream, too, and would then keep no text for tool_choice "required": so it is
        # said here, of this one answer.
        self.engine_based_streaming = True
        return self._delta(self._parser.feed(delta_text))

    def finish_streaming(self) -> DeltaMessage | None:
        """What was held back, when the answer has ended."""
        return self._delta(self._parser.finish())

    def _delta(self, told: list[str | Call]) -> DeltaMessage | None:
        if not told:
            return None
        calls = []
        for call in told:
            if isinstance(call, str):
                continue
            arguments = call.arguments_json()
            function = DeltaFunctionCall(name=call.name, arguments=arguments)
            index = len(self.prev_tool_call_arr)
            calls.append(
                DeltaToolCall(
                    index=index, type="function", id=make_tool_call_id(), function=function
                )
            )
            # By these vLLM knows that there were calls, and that nothing of them is left to send.
            self.prev_tool_call_arr.append({"name": call.name, "arguments": arguments})
            self.streamed_args_for_tool.append(arguments)
        content = "".join(each for each in told if isinstance(each, str))
        return DeltaMessage(content=content or None, tool_calls=calls)
