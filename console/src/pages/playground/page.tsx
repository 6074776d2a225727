import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { ask } from "../../api/client";
import type { ModelList } from "../../api/types";
import { useDrop } from "../../lib/drop";
import { usePoll } from "../../lib/poll";
import { Dialog } from "../../ui/dialog";
import { Icon } from "../../ui/icons";
import { ErrorNotice, Notice } from "../../ui/notice";
import { PageHead } from "../../ui/page-head";
import { Segmented } from "../../ui/segmented";
import { attach } from "./attached";
import { CodeBlock } from "./code-block";
import { Composer } from "./composer";
import { carried, clear, parameters, request, say, stop, turns } from "./conversation";
import { PresetDialog } from "./presets";
import { Settings } from "./settings";
import { LANGUAGES, type Language, snippet } from "./snippets";
import { TurnView } from "./turn";

const SAMPLES = [
  "Explain in two sentences why the sea is salty.",
  "Write a Python function that reverses a list.",
  "Make a table of three rivers and their lengths.",
];

export function PlaygroundPage(): JSX.Element {
  const draft = useSignal("");
  const shown = useSignal(false); // the dialog with the call's source text
  const choosing = useSignal(false); // the dialog with the presets
  const models = usePoll((signal) => ask<ModelList>("/v1/models", { signal }), 30, []);
  const served = models.data?.data ?? [];
  const names = served.map((model) => model.id);
  const chosen = served.find((model) => model.id === parameters.value.model);
  const drop = useDrop((files) => void attach(files));

  useEffect(() => {
    const now = parameters.peek();
    const first = names[0];
    if (first !== undefined && !names.includes(now.model)) {
      parameters.value = { ...now, model: first };
    }
  });

  useEffect(() => {
    const key = (event: KeyboardEvent): void => {
      if (event.key === "Escape" && document.querySelector("dialog[open]") === null) stop();
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, []);

  return (
    <div class={drop.over ? "playground over" : "playground"} {...drop.handlers}>
      <PageHead title="Playground" about={chosen?.description ?? ""}>
        <button
          type="button"
          class="button"
          onClick={() => {
            choosing.value = true;
          }}
        >
          <Icon name="preset" />
          <span>Presets</span>
        </button>
        <button
          type="button"
          class="button"
          onClick={() => {
            shown.value = true;
          }}
        >
          <Icon name="code" />
          <span>Copy as code</span>
        </button>
        <button type="button" class="button" onClick={clear} disabled={turns.value.length === 0}>
          <Icon name="plus" />
          <span>New chat</span>
        </button>
      </PageHead>
      <section class="chat" aria-label="Conversation">
        {models.error !== null && <ErrorNotice error={models.error} doing="Loading the models" />}
        {models.data !== null && names.length === 0 && (
          <Notice tone="warn" title="No model is served now.">
            <p>The engine may still be loading; this page checks again by itself.</p>
          </Notice>
        )}
        <Thread onSample={(text) => void say(text)} ready={names.length > 0} />
        <Composer draft={draft} model={chosen} />
      </section>
      <aside class="settings" aria-label="Settings of the call">
        <details open={matchMedia("(min-width: 900px)").matches}>
          <summary>
            <Icon name="sliders" />
            <span>Settings</span>
            <span class="muted">{parameters.value.model}</span>
          </summary>
          <div class="settings-body">
            <Settings models={names} />
          </div>
        </details>
      </aside>
      {choosing.value && (
        <PresetDialog
          draft={draft}
          onClose={() => {
            choosing.value = false;
          }}
        />
      )}
      {shown.value && (
        <SourceDialog
          draft={draft.value}
          onClose={() => {
            shown.value = false;
          }}
        />
      )}
    </div>
  );
}

interface ThreadProps {
  onSample: (text: string) => void;
  ready: boolean;
}

/** What was said so far; it goes to each new turn, and follows the text while its end is in view. */
function Thread({ onSample, ready }: ThreadProps): JSX.Element {
  const element = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const all = turns.value;
  const last = all.at(-1);

  useEffect(() => {
    const thread = element.current;
    if (thread === null) return;
    const look = (): void => {
      atEnd.current = thread.scrollHeight - thread.scrollTop - thread.clientHeight < 60;
    };
    const follow = new MutationObserver(() => {
      if (atEnd.current) thread.scrollTop = thread.scrollHeight;
    });
    follow.observe(thread, { childList: true, subtree: true, characterData: true });
    thread.addEventListener("scroll", look, { passive: true });
    return () => {
      follow.disconnect();
      thread.removeEventListener("scroll", look);
    };
  }, []);

  // Whoever says something wants to see it, wherever they were reading.
  useEffect(() => {
    const thread = element.current;
    if (thread === null) return;
    atEnd.current = true;
    thread.scrollTop = thread.scrollHeight;
  }, [last?.id]);

  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, by keyboard too
    <div class="thread" ref={element} role="log" aria-label="Messages" tabIndex={0}>
      {all.map((turn) => (
        <TurnView key={turn.id} turn={turn} last={turn === last} />
      ))}
      {all.length === 0 && (
        <div class="thread-empty">
          <p>Say something, or try one of these.</p>
          <ul>
            {SAMPLES.map((text) => (
              <li key={text}>
                <button
                  type="button"
                  class="sample"
                  disabled={!ready}
                  onClick={() => onSample(text)}
                >
                  {text}
                </button>
              </li>
            ))}
          </ul>
        </div>
      )}
    </div>
  );
}

function SourceDialog({ draft, onClose }: { draft: string; onClose: () => void }): JSX.Element {
  const language = useSignal<Language>("curl");
  const call = request(draft);
  while (call.messages.at(-1)?.role === "assistant") call.messages.pop(); // it was no call's
  if (!call.messages.some((message) => message.role === "user")) {
    call.messages.push({ role: "user", content: SAMPLES[0] ?? "" });
  }
  const files = carried();
  const text = snippet(language.value, call, files);
  return (
    <Dialog title="This call as code" onClose={onClose} wide>
      <Segmented
        label="Language"
        options={LANGUAGES}
        value={language.value}
        onChange={(chosen) => {
          language.value = chosen;
        }}
      />
      <CodeBlock code={text} language={language.value === "curl" ? "bash" : language.value} />
      <footer class="dialog-foot">
        <p class="help">
          Put the key in the variable <code>GATEWAY_API_KEY</code>; it isn't part of this text.
          {files.length > 0 && " Attachments are read from files of their names."}
        </p>
      </footer>
    </Dialog>
  );
}
