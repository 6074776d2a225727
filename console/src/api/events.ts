// The events of a streamed answer, as both kinds of answers have them.

import { EventSourceParserStream } from "eventsource-parser/stream";
import { reachable } from "./client";
import { ApiError, Away } from "./errors";
import type { OpenAIError } from "./types";

/** Each event of a stream, up to [DONE].
 *
 * @throws ApiError for an error in the middle of the stream, and Away when it was cut.
 */
export async function* events<T extends object>(response: Response): AsyncGenerator<T> {
  if (response.body === null) throw new Away();
  const requestId = response.headers.get("x-request-id") ?? "";
  const reader = response.body
    .pipeThrough(new TextDecoderStream())
    .pipeThrough(new EventSourceParserStream())
    .getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) throw new Away(); // a stream ends in its own way, or it was cut
      if (value.data === "[DONE]") return;
      const event = JSON.parse(value.data) as T & Partial<OpenAIError>;
      if (event.error) {
        const { gateway_code, message, param } = event.error;
        throw new ApiError(200, gateway_code, message, param, null, requestId);
      }
      yield event as Awaited<T>;
    }
  } catch (error) {
    throw brokenOff(error);
  } finally {
    reader.cancel().catch(() => undefined); // a broken stream has nothing left to cancel
  }
}

/** What a reader of an answer's body threw: Away where the connection broke. */
export function brokenOff(error: unknown): unknown {
  if (!(error instanceof TypeError)) return error;
  reachable.value = false; // the link finds out whether it was but this one
  return new Away();
}
