import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import { Icon, type IconName } from "./icons";

interface Props {
  icon: IconName;
  label: string;
  /** As a file input has it. */
  accept: string;
  multiple?: boolean;
  /** Without a visible word, for tight places. */
  quiet?: boolean;
  onFiles: (files: File[]) => void;
}

/** A button that lets one choose files. */
export function FileButton(props: Props): JSX.Element {
  const { icon, label, accept, multiple = false, quiet = false, onFiles } = props;
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <button
        type="button"
        class={quiet ? "button quiet icon-only" : "button"}
        aria-label={label}
        title={quiet ? label : undefined}
        onClick={() => input.current?.click()}
      >
        <Icon name={icon} />
        {!quiet && <span>{label}</span>}
      </button>
      <input
        ref={input}
        type="file"
        hidden
        {...{ accept, multiple }}
        onChange={(event) => {
          const files = [...(event.currentTarget.files ?? [])];
          event.currentTarget.value = ""; // the same file may be chosen again
          if (files.length > 0) onFiles(files);
        }}
      />
    </>
  );
}
