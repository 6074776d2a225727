import type { Signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Icon } from "../../ui/icons";
import { attached, running, say, stop } from "./conversation";
import { attachment } from "./turn";

/** Where one writes. Enter sends, Shift+Enter breaks the line. */
export function Composer({ draft, ready }: { draft: Signal<string>; ready: boolean }): JSX.Element {
  const field = useRef<HTMLTextAreaElement>(null);
  const empty = draft.value.trim() === "";

  useEffect(() => {
    const area = field.current;
    if (area === null) return;
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight + 2, 240)}px`;
  }, [draft.value]);

  function send(): void {
    if (empty || running.value || !ready) return;
    const text = draft.value.trim();
    draft.value = "";
    void say(text);
  }

  function key(event: KeyboardEvent): void {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  }

  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      {attached.value.length > 0 && (
        <p class="attached">
          <span>{attachment(attached.value.length)}</span>
          <button
            type="button"
            class="button quiet icon-only"
            aria-label="Leave the attachments out"
            onClick={() => {
              attached.value = [];
            }}
          >
            <Icon name="close" />
          </button>
        </p>
      )}
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
      />
      {running.value ? (
        <button type="button" class="button" onClick={stop} aria-keyshortcuts="Escape">
          <Icon name="stop" />
          <span>Stop</span>
        </button>
      ) : (
        <button type="submit" class="button primary" disabled={empty || !ready}>
          <Icon name="send" />
          <span>Send</span>
        </button>
      )}
    </form>
  );
}
