import type { JSX } from "preact";
import { Icon } from "../../ui/icons";
import { regenerate } from "./conversation";

/** Another answer in place of the last one. */
export function AgainButton({ word }: { word: string }): JSX.Element {
  return (
    <button type="button" class="button quiet small" onClick={() => void regenerate()}>
      <Icon name="again" />
      <span>{word}</span>
    </button>
  );
}
