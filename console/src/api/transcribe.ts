// Speech to text. Source: OpenAI's audio routes.

import { send } from "./client";
import { brokenOff, events } from "./events";

export type Task = "transcriptions" | "translations";
export type Format = "json" | "text" | "verbose_json" | "srt" | "vtt";

export interface TranscriptRequest {
  file: File;
  model: string;
  task: Task;
  /** ISO 639-1; empty: not told. */
  language: string;
  prompt: string;
  format: Format;
  stream: boolean;
}

/** A stretch of the recording. Times are seconds. */
export interface Segment {
  start: number;
  end: number;
  text: string;
}

export interface VerboseTranscript {
  text: string;
  language?: string;
  duration?: number;
  segments?: Segment[];
}

export interface Transcript {
  format: Format;
  /** What was said, or the subtitles. */
  text: string;
  /** The whole answer, where it is JSON. */
  document: VerboseTranscript | null;
}

/** Formats whose text may come piece by piece. */
export const STREAMED: readonly Format[] = ["json", "text"];

interface Event {
  type?: string;
  delta?: string;
  text?: string;
  usage?: unknown;
}

/** The text of a recording.
 *
 * @param onDelta takes the pieces of a streamed one.
 * @throws ApiError also for an error in the middle of the stream, and Away when it was cut.
 */
export async function transcribe(
  asked: TranscriptRequest,
  signal: AbortSignal,
  onDelta: (text: string) => void,
): Promise<Transcript> {
  const response = await send(`/v1/audio/${asked.task}`, {
    method: "POST",
    body: form(asked),
    signal,
    patient: true,
  });
  const { format } = asked;
  if (streams(asked)) return { format, ...(await streamed(response, onDelta)) };
  try {
    if (format !== "json" && format !== "verbose_json") {
      return { format, text: await response.text(), document: null };
    }
    const document = (await response.json()) as VerboseTranscript;
    return { format, text: document.text, document };
  } catch (error) {
    throw brokenOff(error);
  }
}

async function streamed(
  response: Response,
  onDelta: (text: string) => void,
): Promise<Omit<Transcript, "format">> {
  let text = "";
  let document: VerboseTranscript | null = null;
  for await (const { type, ...event } of events<Event>(response)) {
    if (type === "transcript.text.delta" && event.delta) {
      text += event.delta;
      onDelta(text);
    } else if (type === "transcript.text.done") {
      text = event.text ?? text;
      document = { ...event, text };
      break;
    }
  }
  return { text, document };
}

function streams({ format, stream }: TranscriptRequest): boolean {
  return stream && STREAMED.includes(format);
}

function form(asked: TranscriptRequest): FormData {
  const found = new FormData();
  found.set("file", asked.file);
  found.set("model", asked.model);
  found.set("response_format", asked.format);
  if (asked.language.trim()) found.set("language", asked.language.trim());
  if (asked.prompt.trim()) found.set("prompt", asked.prompt.trim());
  if (streams(asked)) found.set("stream", "true");
  return found;
}
