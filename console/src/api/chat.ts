// A streamed chat completion, event by event.

import { EventSourceParserStream } from "eventsource-parser/stream";
import { reachable, send } from "./client";
import { ApiError, Away } from "./errors";
import type { OpenAIError } from "./types";

/** An image, a file or a text inside a message, as the API has them. */
export type ContentPart = Record<string, unknown>;

export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string | ContentPart[];
}

/** What the console asks; the engine takes more. */
export interface ChatRequest {
  model: string;
  messages: ChatMessage[];
  temperature: number;
  top_p: number;
  max_tokens: number;
  stream: true;
  stream_options: { include_usage: true };
}

/** One event of the answer, or the error that ends it. */
export interface ChatChunk extends Partial<OpenAIError> {
  choices?: {
    delta: { content?: string | null; reasoning?: string | null };
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
  if (response.body === null) throw new Away();
  const requestId = response.headers.get("x-request-id") ?? "";
  const events = response.body
    .pipeThrough(new TextDecoderStream())
    .pipeThrough(new EventSourceParserStream())
    .getReader();
  try {
    for (;;) {
      const { done, value } = await events.read();
      if (done) throw new Away(); // a stream ends with [DONE], or it was cut
      if (value.data === "[DONE]") return;
      const chunk = JSON.parse(value.data) as ChatChunk;
      if (chunk.error) {
        const { gateway_code, message, param } = chunk.error;
        throw new ApiError(200, gateway_code, message, param, null, requestId);
      }
      yield chunk;
    }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    reachable.value = false; // the connection broke; the link finds out whether it was but this one
    throw new Away();
  } finally {
    events.cancel().catch(() => undefined); // a broken stream has nothing left to cancel
  }
}
