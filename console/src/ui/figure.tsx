import type { ComponentChildren, JSX } from "preact";

/** One number, large, with what it is above and what belongs to it below. */
export function Figure(props: {
  label: string;
  value: string;
  tone?: "good" | "warn" | "bad" | undefined;
  children?: ComponentChildren;
}): JSX.Element {
  return (
    <div class="figure">
      <dt>{props.label}</dt>
      <dd class={props.tone}>{props.value}</dd>
      {props.children && <dd class="figure-note">{props.children}</dd>}
    </div>
  );
}
