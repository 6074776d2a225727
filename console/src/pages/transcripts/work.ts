// The transcript of this tab: kept in memory while one looks at other pages, and nowhere else.

import { batch, effect, signal } from "@preact/signals";
import { aborted } from "../../api/errors";
import { type Transcript, type TranscriptRequest, transcribe } from "../../api/transcribe";
import { noticeRefusal, self } from "../../state/session";

export type Form = Omit<TranscriptRequest, "file"> & { file: File | null };

export type Progress =
  | { kind: "idle" }
  | { kind: "running" }
  | { kind: "stopped" }
  | { kind: "failed"; error: unknown }
  | { kind: "finished"; seconds: number };

const USUAL: Form = {
  file: null,
  model: "",
  task: "transcriptions",
  language: "",
  prompt: "",
  format: "json",
  stream: true,
};

export const form = signal(USUAL);
export const progress = signal<Progress>({ kind: "idle" });

/** The text as far as it has come; null: none yet. */
export const partial = signal<string | null>(null);
export const transcript = signal<Transcript | null>(null);

let stopper: AbortController | null = null;

export function change(part: Partial<Form>): void {
  form.value = { ...form.peek(), ...part };
}

/** Ask for the transcript of the chosen file. */
export async function start(): Promise<void> {
  const { file, ...rest } = form.peek();
  if (file === null || stopper !== null) return;
  const stopping = new AbortController();
  const began = performance.now();
  stopper = stopping;
  show({ kind: "running" }, null, null);
  try {
    const done = await transcribe({ ...rest, file }, stopping.signal, (text) => {
      if (stopper === stopping) partial.value = text;
    });
    if (stopper !== stopping) return;
    const seconds = (performance.now() - began) / 1000;
    show({ kind: "finished", seconds }, done.text, done);
  } catch (error) {
    if (stopper !== stopping) return;
    noticeRefusal(error);
    progress.value = aborted(error) ? { kind: "stopped" } : { kind: "failed", error };
  } finally {
    if (stopper === stopping) stopper = null;
  }
}

/** Give it up. */
export function stop(): void {
  stopper?.abort();
}

// Whoever signs in next in this tab sees nothing of it.
effect(() => {
  if (self.value !== null) return;
  stop();
  stopper = null;
  form.value = USUAL;
  show({ kind: "idle" }, null, null);
});

function show(now: Progress, text: string | null, whole: Transcript | null): void {
  batch(() => {
    progress.value = now;
    partial.value = text;
    transcript.value = whole;
  });
}
