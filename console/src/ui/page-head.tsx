import type { ComponentChildren, JSX } from "preact";

/** A page's title, and what works on the whole page beside it. */
export function PageHead(props: {
  title: string;
  about?: string;
  children?: ComponentChildren;
}): JSX.Element {
  return (
    <header class="page-head">
      <div>
        <h1 tabIndex={-1}>{props.title}</h1>
        {props.about && <p class="muted">{props.about}</p>}
      </div>
      {props.children && <div class="page-tools">{props.children}</div>}
    </header>
  );
}
