// A streamed chat completion, event by event.

import { send } from "./client";
import { events } from "./events";
import type { CallDelta, Tool, ToolCall, ToolChoice } from "./tools";

/** An image, a sound, a file or a text inside a message, as the API has them. */
export type ContentPart = Record<string, unknown>;

export interface ChatMessage {
  role: "system" | "user" | "assistant" | "tool";
  content: string | ContentPart[] | null;
  tool_calls?: readonly ToolCall[];
  /** The call whose result this is. */
  tool_call_id?: string;
}

/** What the console asks; the engine takes more. */
export interface ChatRequest {
  model: string;
  messages: ChatMessage[];
  tools?: readonly Tool[];
  tool_choice?: ToolChoice;
  temperature: number;
  top_p: number;
  max_tokens: number;
  stream: true;
  stream_options: { include_usage: true };
}

/** One event of the answer. */
export interface ChatChunk {
  choices?: {
    delta: { content?: string | null; reasoning?: string | null; tool_calls?: CallDelta[] };
    finish_reason: string | null;
  }[];
  usage?: { prompt_tokens: number; completion_tokens: number } | null;
}

/** The events of one answer.
 *
 * @throws ApiError also for an error in the middle of the stream, and Away when it was cut.
 */
export async function* chat(request: ChatRequest, signal: AbortSignal): AsyncGenerator<ChatChunk> {
  const response = await send("/v1/chat/completions", {
    method: "POST",
    body: request,
    signal,
    patient: true,
  });
  yield* events<ChatChunk>(response);
}
