// The conversation of this tab: kept in memory while one looks at other pages, and nowhere else.

import { batch, effect, type Signal, signal } from "@preact/signals";
import { type ChatMessage, type ChatRequest, type ContentPart, chat } from "../../api/chat";
import { ApiError, Away, aborted } from "../../api/errors";
import type { RenderedMessage } from "../../api/types";
import { noticeRefusal, self } from "../../state/session";

/** How an answer stands, and what it took. Times are seconds. */
export interface Figures {
  firstToken: number | null;
  total: number;
  /** Over the whole call, as in its record: tokens may come all at once. */
  tokensPerSecond: number | null;
  inputTokens: number | null;
  outputTokens: number | null;
}

export type Ending =
  | { kind: "running" }
  /** It comes from a preset, not from the model. */
  | { kind: "told" }
  | { kind: "stopped"; figures: Figures }
  | { kind: "finished"; reason: string; figures: Figures }
  | { kind: "failed"; error: ApiError | Away };

export interface Turn {
  readonly id: number;
  readonly role: "user" | "assistant";
  readonly text: Signal<string>;
  /** What it holds beside its text. */
  readonly parts: readonly ContentPart[];
  readonly ending: Signal<Ending>;
}

export interface Parameters {
  model: string;
  system: string;
  temperature: number;
  topP: number;
  maxTokens: number;
}

export const turns = signal<readonly Turn[]>([]);
export const running = signal(false);
/** Images and files that go with what is said next. */
export const attached = signal<readonly ContentPart[]>([]);

const USUAL: Parameters = { model: "", system: "", temperature: 0.7, topP: 0.9, maxTokens: 512 };

export const parameters = signal(USUAL);

let number = 0;
let stopper: AbortController | null = null;

/** Say something, and let the model answer. */
export function say(text: string): Promise<void> {
  turns.value = [...turns.value, turn("user", text, attached.value)];
  attached.value = [];
  return answer();
}

/** Put a preset's messages into the conversation: its system text in place of the one that is there,
 * and its last message into what is said next.
 *
 * @returns the text of that message.
 */
export function insert(messages: readonly RenderedMessage[]): string {
  const said = messages.filter((one) => one.role === "user" || one.role === "assistant");
  const system = messages.filter((one) => !said.includes(one)).map((one) => halves(one).text);
  const next = said.at(-1)?.role === "user" ? said.pop() : undefined;
  const { text, parts } = next ? halves(next) : { text: "", parts: [] };
  batch(() => {
    if (system.length > 0) {
      parameters.value = { ...parameters.value, system: system.join("\n\n") };
    }
    turns.value = [...turns.value, ...said.map(told)];
    attached.value = parts;
  });
  return text;
}

/** Another answer in place of the last one. */
export function regenerate(): Promise<void> {
  const last = turns.value.at(-1);
  if (last?.role === "assistant") turns.value = turns.value.slice(0, -1);
  return answer();
}

/** End the answer that runs; the engine stops too. */
export function stop(): void {
  stopper?.abort();
}

/** Begin anew. */
export function clear(): void {
  stop();
  turns.value = [];
  attached.value = [];
}

/** What a call now would send, with `draft` as a further turn of the user's. */
export function request(draft = ""): ChatRequest {
  const now = parameters.peek();
  const messages: ChatMessage[] = [];
  if (now.system.trim()) messages.push({ role: "system", content: now.system.trim() });
  for (const { role, text, parts, ending } of turns.peek()) {
    // A message that was refused would be refused again: it goes with its failed answer.
    if (role === "assistant" && ending.peek().kind === "failed") messages.pop();
    else if (text.peek()) messages.push({ role, content: whole(text.peek(), parts) });
  }
  if (draft.trim()) {
    messages.push({ role: "user", content: whole(draft.trim(), attached.peek()) });
  }
  return {
    model: now.model,
    messages,
    temperature: now.temperature,
    top_p: now.topP,
    max_tokens: now.maxTokens,
    stream: true,
    stream_options: { include_usage: true },
  };
}

// Whoever signs in next in this tab sees nothing of it.
effect(() => {
  if (self.value !== null) return;
  clear();
  parameters.value = USUAL;
});

function turn(role: Turn["role"], text: string, parts: readonly ContentPart[] = []): Turn {
  const ending = signal<Ending>({ kind: "running" });
  return { id: ++number, role, text: signal(text), parts, ending };
}

/** A message that was not said here. */
function told(message: RenderedMessage): Turn {
  const { text, parts } = halves(message);
  const made = turn(message.role === "assistant" ? "assistant" : "user", text, parts);
  made.ending.value = { kind: "told" };
  return made;
}

/** The text of a message, and what it holds beside. */
function halves({ content }: RenderedMessage): { text: string; parts: ContentPart[] } {
  if (typeof content === "string") return { text: content, parts: [] };
  const texts = content.filter((part) => part.type === "text").map((part) => String(part.text));
  return { text: texts.join("\n\n"), parts: content.filter((part) => part.type !== "text") };
}

function whole(text: string, parts: readonly ContentPart[]): ChatMessage["content"] {
  return parts.length > 0 ? [...parts, { type: "text", text }] : text;
}

async function answer(): Promise<void> {
  stop();
  const asked = request();
  const reply = turn("assistant", "");
  const stopping = new AbortController();
  stopper = stopping;
  batch(() => {
    turns.value = [...turns.value, reply];
    running.value = true;
  });
  const ending = await follow(asked, reply, stopping.signal);
  batch(() => {
    reply.ending.value = ending;
    if (stopper === stopping) {
      stopper = null;
      running.value = false;
    }
  });
}

/** Read the stream into the turn. Text is shown once a frame, however fast it comes. */
async function follow(asked: ChatRequest, reply: Turn, signal: AbortSignal): Promise<Ending> {
  const watch = new Stopwatch();
  let text = "";
  let reason = "";
  let frame = 0;
  const show = (): void => {
    frame = 0;
    reply.text.value = text;
  };
  try {
    for await (const chunk of chat(asked, signal)) {
      if (chunk.usage) watch.count(chunk.usage.prompt_tokens, chunk.usage.completion_tokens);
      const choice = chunk.choices?.[0];
      if (choice === undefined) continue;
      reason = choice.finish_reason ?? reason;
      if (choice.delta.content) {
        watch.token();
        text += choice.delta.content;
        frame ||= requestAnimationFrame(show);
      }
    }
    return { kind: "finished", reason, figures: watch.figures() };
  } catch (error) {
    if (aborted(error)) return { kind: "stopped", figures: watch.figures() };
    noticeRefusal(error);
    const known = error instanceof ApiError || error instanceof Away;
    return { kind: "failed", error: known ? error : new ApiError(0, "UNREADABLE", String(error)) };
  } finally {
    cancelAnimationFrame(frame);
    show();
  }
}

class Stopwatch {
  private readonly started = performance.now();
  private first: number | null = null;
  private input: number | null = null;
  private output: number | null = null;

  token(): void {
    this.first ??= performance.now();
  }

  count(input: number, output: number): void {
    this.input = input;
    this.output = output;
  }

  figures(): Figures {
    const total = (performance.now() - this.started) / 1000;
    return {
      firstToken: this.first === null ? null : (this.first - this.started) / 1000,
      total,
      tokensPerSecond: this.output !== null && total > 0 ? this.output / total : null,
      inputTokens: this.input,
      outputTokens: this.output,
    };
  }
}
