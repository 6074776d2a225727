import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { copy } from "../lib/copy";
import { Icon } from "./icons";

const SHOWN = 1600; // ms that a button says what came of it

interface Props {
  /** What to copy; a function where it is costly to make. */
  text: string | (() => string);
  label: string;
  /** Without a visible word, for tight places. */
  quiet?: boolean;
  onCopied?: () => void;
}

export function CopyButton({ text, label, quiet = false, onCopied }: Props): JSX.Element {
  const outcome = useSignal<"copied" | "refused" | null>(null);

  async function press(): Promise<void> {
    const done = await copy(typeof text === "string" ? text : text());
    outcome.value = done ? "copied" : "refused";
    if (done) onCopied?.();
    setTimeout(() => {
      outcome.value = null;
    }, SHOWN);
  }

  const word = { copied: "Copied", refused: "Not allowed" }[outcome.value ?? "copied"];
  return (
    <button type="button" class="button quiet small" onClick={press} aria-label={label}>
      <Icon name={outcome.value === "copied" ? "check" : "copy"} />
      {(!quiet || outcome.value) && <span>{outcome.value ? word : "Copy"}</span>}
      <span role="status" class="visually-hidden">
        {outcome.value ? word : ""}
      </span>
    </button>
  );
}
