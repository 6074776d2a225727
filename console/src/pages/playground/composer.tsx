import type { Signal } from "@preact/signals";
import type { JSX, TargetedClipboardEvent } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { ModelView } from "../../api/types";
import { FileButton } from "../../ui/file-button";
import { Icon } from "../../ui/icons";
import { Notice } from "../../ui/notice";
import { attach, attached, detach, reading, refused } from "./attached";
import { ACCEPT, type Attachment, doubts } from "./attachments";
import { carried, running, say, stop, waiting } from "./conversation";
import { Previews } from "./previews";

interface Props {
  draft: Signal<string>;
  /** The chosen model; none is served yet where there is none. */
  model: ModelView | undefined;
}

/** Where one writes. Enter sends, Shift+Enter breaks the line; files may be chosen or pasted. */
export function Composer({ draft, model }: Props): JSX.Element {
  const field = useRef<HTMLTextAreaElement>(null);
  const empty = draft.value.trim() === "" && attached.value.length === 0;
  const held = empty || reading.value > 0 || waiting.value !== null || model === undefined;

  useEffect(() => {
    const area = field.current;
    if (area === null) return;
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight + 2, 240)}px`;
  }, [draft.value]);

  function send(): void {
    if (held || running.value) return;
    const text = draft.value.trim();
    draft.value = "";
    void say(text);
  }

  function key(event: KeyboardEvent): void {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  }

  function paste(event: TargetedClipboardEvent<HTMLTextAreaElement>): void {
    const files = [...(event.clipboardData?.files ?? [])];
    // Word processors put a picture beside the text that is meant.
    if (files.length === 0 || event.clipboardData?.types.includes("text/plain")) return;
    event.preventDefault();
    void attach(files);
  }

  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <Beside
        model={model}
        onRemove={(one) => {
          detach(one);
          field.current?.focus(); // its button is gone
        }}
      />
      <FileButton
        icon="attach"
        label="Attach images or audio"
        accept={ACCEPT}
        multiple
        quiet
        onFiles={(files) => void attach(files)}
      />
      <textarea
        ref={field}
        rows={1}
        value={draft.value}
        placeholder="Message"
        aria-label="Message"
        onInput={(event) => {
          draft.value = event.currentTarget.value;
        }}
        onKeyDown={key}
        onPaste={paste}
      />
      {running.value ? (
        <button
          type="button"
          class="button"
          onClick={(event) => {
            event.preventDefault(); // it becomes the other one before its click is done
            stop();
          }}
          aria-keyshortcuts="Escape"
        >
          <Icon name="stop" />
          <span>Stop</span>
        </button>
      ) : (
        <button type="submit" class="button primary" disabled={held}>
          <Icon name="send" />
          <span>Send</span>
        </button>
      )}
    </form>
  );
}

interface BesideProps {
  model: ModelView | undefined;
  onRemove: (one: Attachment) => void;
}

/** What goes along, and what is or may be wrong with it; the gateway has the last word. */
function Beside({ model, onRemove }: BesideProps): JSX.Element | null {
  const held = attached.value;
  const wrong = refused.value;
  if (held.length === 0 && wrong.length === 0) return null;
  const found = model ? doubts(carried(), held, model.id, model.input_modalities) : [];
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, by keyboard too
    <section class="beside" aria-label="Beside the message" tabIndex={0}>
      {wrong.length > 0 && <Sentences title="Not attached." tone="bad" all={wrong} />}
      {found.length > 0 && (
        <Sentences title="The gateway may refuse this message." tone="warn" all={found} />
      )}
      <Previews attachments={held} onRemove={onRemove} />
    </section>
  );
}

interface SentencesProps {
  title: string;
  tone: "bad" | "warn";
  all: readonly string[];
}

function Sentences({ title, tone, all }: SentencesProps): JSX.Element {
  return (
    <Notice tone={tone} title={title} urgent>
      {all.map((sentence) => (
        <p key={sentence}>{sentence}</p>
      ))}
    </Notice>
  );
}
