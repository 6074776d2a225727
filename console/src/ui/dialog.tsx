import type { ComponentChildren, JSX } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { Icon } from "./icons";

interface Props {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
  wide?: boolean;
  /** Whether Escape and the cross may close it now; none: they may. */
  mayClose?: () => boolean;
}

// What one came for: a form's first field, what is to be copied, or the first of the buttons below.
const FIRST = "form input, form select, form textarea, .secret button, .dialog-foot button";

/** A modal over the page. The browser's own element keeps the focus inside, closes on Escape, and
 * gives the focus back. */
export function Dialog(props: Props): JSX.Element {
  const { title, onClose, children, wide = false, mayClose = () => true } = props;
  const element = useRef<HTMLDialogElement>(null);
  const heading = useId();

  useEffect(() => {
    const before = document.activeElement;
    element.current?.showModal();
    element.current?.querySelector<HTMLElement>(FIRST)?.focus();
    return () => {
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);

  return (
    <dialog
      ref={element}
      class={wide ? "wide" : undefined}
      aria-labelledby={heading}
      onClose={onClose}
      onCancel={(event) => {
        if (!mayClose()) event.preventDefault();
      }}
    >
      <header class="dialog-head">
        <h2 id={heading}>{title}</h2>
        <button
          type="button"
          class="button quiet icon-only"
          onClick={() => {
            if (mayClose()) onClose();
          }}
          aria-label="Close"
        >
          <Icon name="close" />
        </button>
      </header>
      {children}
    </dialog>
  );
}
