// The conversation of this tab: kept in memory while one looks at other pages, and nowhere else.

import { batch, computed, effect, type Signal, signal } from "@preact/signals";
import { type ChatMessage, type ChatRequest, chat } from "../../api/chat";
import { ApiError, Away, aborted } from "../../api/errors";
import { join, type Tool, type ToolCall, type ToolChoice } from "../../api/tools";
import type { RenderedMessage } from "../../api/types";
import { noticeRefusal, self } from "../../state/session";
import { attached, detachAll } from "./attached";
import { type Attachment, fromPart } from "./attachments";
import { type Figures, Stopwatch } from "./stopwatch";

/** How an answer stands, and what it took. */
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
  /** What goes with its text. */
  readonly attachments: readonly Attachment[];
  /** What the model calls. */
  readonly calls: Signal<readonly ToolCall[]>;
  /** What each call gave, by its place; it goes along with the next turn. */
  readonly results: Signal<readonly string[]>;
  readonly ending: Signal<Ending>;
}

export interface Parameters {
  model: string;
  system: string;
  temperature: number;
  topP: number;
  maxTokens: number;
  tools: readonly Tool[];
  toolChoice: ToolChoice;
}

export const turns = signal<readonly Turn[]>([]);
export const running = signal(false);

const USUAL: Parameters = {
  model: "",
  system: "",
  temperature: 0.7,
  topP: 0.9,
  maxTokens: 512,
  tools: [],
  toolChoice: "auto",
};

export const parameters = signal(USUAL);

/** The turn whose calls wait for their results; null: none does. */
export const waiting = computed(() => {
  const last = turns.value.at(-1);
  return last && answerable(last) ? last : null;
});

let number = 0;
let stopper: AbortController | null = null;

/** Say something, and let the model answer. */
export function say(text: string): Promise<void> {
  turns.value = [...turns.value, turn("user", text, attached.value)];
  detachAll();
  return answer();
}

/** Let the model go on with what its calls gave. */
export function sendResults(): Promise<void> {
  return answer();
}

/** Put a preset's messages into the conversation: its system text in place of the one that is there,
 * and its last message into what is said next, beside what is attached to it.
 *
 * @returns the text of that message.
 */
export function insert(messages: readonly RenderedMessage[]): string {
  const said = messages.filter((one) => one.role === "user" || one.role === "assistant");
  const system = messages.filter((one) => !said.includes(one)).map((one) => halves(one).text);
  const next = said.at(-1)?.role === "user" ? said.pop() : undefined;
  const { text, held } = next ? halves(next) : { text: "", held: [] };
  batch(() => {
    if (system.length > 0) {
      parameters.value = { ...parameters.value, system: system.join("\n\n") };
    }
    turns.value = [...turns.value, ...said.map(told)];
    attached.value = [...attached.value, ...held];
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
  detachAll();
}

/** What a call now would send, with `draft` as a further turn of the user's. */
export function request(draft = ""): ChatRequest {
  const now = parameters.peek();
  const messages: ChatMessage[] = [];
  if (now.system.trim()) messages.push({ role: "system", content: now.system.trim() });
  for (const one of turns.peek()) {
    // What was refused would be refused again: it goes with its failed answer.
    if (one.role === "assistant" && one.ending.peek().kind === "failed") unsay(messages);
    else messages.push(...messagesOf(one));
  }
  if (draft.trim() || attached.peek().length > 0) {
    messages.push({ role: "user", content: whole(draft.trim(), attached.peek()) });
  }
  return {
    model: now.model,
    messages,
    ...(now.tools.length > 0 && { tools: now.tools, tool_choice: now.toolChoice }),
    temperature: now.temperature,
    top_p: now.topP,
    max_tokens: now.maxTokens,
    stream: true,
    stream_options: { include_usage: true },
  };
}

/** The attachments of what a call now would send. */
export function carried(): Attachment[] {
  const contents = request().messages.map(({ content }) => content);
  const parts = new Set(contents.filter(Array.isArray).flat());
  const all = [...turns.peek().flatMap((one) => one.attachments), ...attached.peek()];
  return all.filter(({ part }) => parts.has(part));
}

// Whoever signs in next in this tab sees nothing of it.
effect(() => {
  if (self.value !== null) return;
  clear();
  parameters.value = USUAL;
});

function turn(role: Turn["role"], text: string, held: readonly Attachment[] = []): Turn {
  return {
    id: ++number,
    role,
    text: signal(text),
    attachments: held,
    calls: signal([]),
    results: signal([]),
    ending: signal<Ending>({ kind: "running" }),
  };
}

/** A message that was not said here. */
function told(message: RenderedMessage): Turn {
  const { text, held } = halves(message);
  const made = turn(message.role === "assistant" ? "assistant" : "user", text, held);
  made.ending.value = { kind: "told" };
  return made;
}

/** The text of a message, and what it holds beside. */
function halves({ content }: RenderedMessage): { text: string; held: Attachment[] } {
  if (typeof content === "string") return { text: content, held: [] };
  const texts = content.filter((part) => part.type === "text").map((part) => String(part.text));
  const held = content.filter((part) => part.type !== "text").map(fromPart);
  return { text: texts.join("\n\n"), held };
}

/** What a turn sends: calls are followed by their results. Nothing, where nothing was said. */
function messagesOf(one: Turn): ChatMessage[] {
  const { role, attachments: held } = one;
  const text = one.text.peek();
  if (answerable(one)) {
    const calls = one.calls.peek();
    const results = calls.map(({ id }, place): ChatMessage => {
      return { role: "tool", tool_call_id: id, content: one.results.peek()[place] ?? "" };
    });
    return [{ role, content: text || null, tool_calls: calls }, ...results];
  }
  return text || held.length > 0 ? [{ role, content: whole(text, held) }] : [];
}

/** Whether a turn has calls that are whole: those of an answer that was cut get no results. */
function answerable({ ending, calls }: Turn): boolean {
  return ending.value.kind === "finished" && calls.value.length > 0;
}

/** Take the user's last message back, and what was called and answered since. */
function unsay(messages: ChatMessage[]): void {
  const last = messages.findLastIndex(({ role }) => role === "user");
  if (last >= 0) messages.length = last;
}

function whole(text: string, held: readonly Attachment[]): ChatMessage["content"] {
  if (held.length === 0) return text;
  const parts = held.map(({ part }) => part);
  return text ? [...parts, { type: "text", text }] : parts;
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

/** Read the stream into the turn. What comes is shown once a frame, however fast it does. */
async function follow(asked: ChatRequest, reply: Turn, signal: AbortSignal): Promise<Ending> {
  const watch = new Stopwatch();
  const calls = new Map<number, ToolCall>();
  let text = "";
  let reason = "";
  let frame = 0;
  const show = (): void => {
    frame = 0;
    batch(() => {
      reply.text.value = text;
      if (calls.size > 0) reply.calls.value = [...calls.values()];
    });
  };
  try {
    for await (const chunk of chat(asked, signal)) {
      if (chunk.usage) watch.count(chunk.usage.prompt_tokens, chunk.usage.completion_tokens);
      const choice = chunk.choices?.[0];
      if (choice === undefined) continue;
      reason = choice.finish_reason ?? reason;
      const { content, tool_calls: pieces } = choice.delta;
      if (!content && !pieces?.length) continue;
      watch.token();
      text += content ?? "";
      join(calls, pieces ?? []);
      frame ||= requestAnimationFrame(show);
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
