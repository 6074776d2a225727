import type { ComponentChildren, JSX } from "preact";

/** Around a table that may be wider than the page: it scrolls, by keyboard too. */
export function TableFrame(props: { label: string; children: ComponentChildren }): JSX.Element {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable
    <section class="table-wrap" tabIndex={0} aria-label={props.label}>
      {props.children}
    </section>
  );
}
