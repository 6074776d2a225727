import type { ComponentChildren, JSX } from "preact";
import { ApiError, Away, sentence } from "../api/errors";

type Tone = "bad" | "warn" | "info";

interface Props {
  tone: Tone;
  title: string;
  children?: ComponentChildren;
  /** Read out at once by screen readers. */
  urgent?: boolean;
}

export function Notice({ tone, title, children, urgent = false }: Props): JSX.Element {
  return (
    <div class={`notice ${tone}`} role={urgent ? "alert" : undefined}>
      <p class="notice-title">{title}</p>
      {children}
    </div>
  );
}

/** What went wrong with a request, in the gateway's own words. */
export function ErrorNotice({ error, doing }: { error: unknown; doing: string }): JSX.Element {
  if (error instanceof Away) {
    return (
      <Notice tone="bad" title={`${doing} failed: the gateway doesn't answer.`} urgent>
        <p>Try again once it is back.</p>
      </Notice>
    );
  }
  return (
    <Notice tone="bad" title={`${doing} failed.`} urgent>
      <p>
        {sentence(error)}
        {error instanceof ApiError && <Particulars error={error} />}
      </p>
    </Notice>
  );
}

/** Code and request id: what support asks for. */
export function Particulars({ error }: { error: ApiError }): JSX.Element {
  return (
    <span class="particulars">
      {error.code}
      {error.requestId && ` · ${error.requestId}`}
    </span>
  );
}
