import type { JSX } from "preact";
import { ApiError, sentence } from "../../api/errors";
import { count, decimal, duration } from "../../lib/format";
import { CopyButton } from "../../ui/copy-button";
import { Notice, Particulars } from "../../ui/notice";
import { AgainButton } from "./again-button";
import { Calls } from "./calls";
import { running, type Turn } from "./conversation";
import { Markdown } from "./markdown";
import { Patience } from "./patience";
import { Previews } from "./previews";
import type { Figures } from "./stopwatch";

/** What one side said. */
export function TurnView({ turn, last }: { turn: Turn; last: boolean }): JSX.Element {
  if (turn.role === "user") {
    return (
      <article class="turn user" aria-label="You">
        <Previews attachments={turn.attachments} />
        {turn.text.value && <p>{turn.text.value}</p>}
      </article>
    );
  }
  const ending = turn.ending.value;
  const text = turn.text.value;
  const called = turn.calls.value.length > 0;
  return (
    <article class="turn assistant" aria-label="Model" aria-busy={ending.kind === "running"}>
      {text && <Markdown text={text} />}
      <Calls turn={turn} />
      {ending.kind === "running" && (
        <span class="writing">{text || called ? "" : "Waiting for the model"}</span>
      )}
      <EndingNotice turn={turn} />
      {ending.kind !== "running" && (
        <footer>
          {"figures" in ending && <FigureLine figures={ending.figures} />}
          <span class="turn-buttons">
            {text && <CopyButton text={text} label="Copy this answer" quiet />}
            {last && !running.value && ending.kind !== "failed" && (
              <AgainButton word="Regenerate" />
            )}
          </span>
        </footer>
      )}
    </article>
  );
}

function FigureLine({ figures }: { figures: Figures }): JSX.Element {
  const { firstToken, tokensPerSecond, inputTokens, outputTokens, total } = figures;
  return (
    <dl class="turn-figures">
      <div>
        <dt>First token</dt>
        <dd>{duration(firstToken)}</dd>
      </div>
      {tokensPerSecond !== null && (
        <div>
          <dt>Tokens per second</dt>
          <dd>{decimal(tokensPerSecond)}</dd>
        </div>
      )}
      {outputTokens !== null && (
        <div>
          <dt>Tokens in, out</dt>
          <dd>
            {count(inputTokens)}, {count(outputTokens)}
          </dd>
        </div>
      )}
      <div>
        <dt>Total</dt>
        <dd>{duration(total)}</dd>
      </div>
    </dl>
  );
}

/** How an answer ended, where that isn't simply at its end. */
function EndingNotice({ turn }: { turn: Turn }): JSX.Element | null {
  const ending = turn.ending.value;
  if (ending.kind === "told") return <p class="turn-note">From the preset.</p>;
  if (ending.kind === "stopped") return <p class="turn-note">Stopped by you.</p>;
  if (ending.kind === "finished") {
    if (ending.reason === "content_filter") {
      return (
        <Notice tone="warn" title="The content policy ended this answer." urgent>
          <p>The model wrote a term that this gateway blocks; what came before it is shown.</p>
        </Notice>
      );
    }
    if (ending.reason === "length") {
      return <p class="turn-note">Cut at the token limit; raise the limit to read on.</p>;
    }
    const said = turn.text.value || turn.calls.value.length > 0;
    return said ? null : <p class="turn-note">The model returned an empty answer.</p>;
  }
  if (ending.kind !== "failed") return null;
  const { error } = ending;
  if (!(error instanceof ApiError)) {
    return (
      <Notice tone="bad" title="The connection to the gateway broke." urgent>
        <p>{turn.text.value ? "The answer is incomplete." : sentence(error)}</p>
        <AgainButton word="Try again" />
      </Notice>
    );
  }
  return (
    <Notice
      tone={error.code === "CONTENT_FILTERED" ? "warn" : "bad"}
      title={headline(error)}
      urgent
    >
      <p>
        {sentence(error)} <Particulars error={error} />
      </p>
      {error.retryAfter === null ? (
        error.code !== "CONTENT_FILTERED" && <AgainButton word="Try again" />
      ) : (
        <Patience seconds={error.retryAfter} />
      )}
    </Notice>
  );
}

const HEADLINES: Record<string, string> = {
  CONTENT_FILTERED: "The content policy blocked your message.",
  RATE_LIMIT_EXCEEDED: "This key has used up its requests for now.",
  VALIDATION_ERROR: "The gateway can't accept this request.",
  REQUEST_TOO_LARGE: "This message is too large.",
  CONTEXT_LENGTH_EXCEEDED: "This conversation is too long for the model.",
  MODEL_NOT_FOUND: "This model isn't served.",
  MODEL_NOT_ALLOWED: "This key may not use this model.",
  ENGINE_UNAVAILABLE: "No engine is ready.",
  ENGINE_OVERLOADED: "All capacity is in use.",
  ENGINE_TIMEOUT: "The model took too long.",
  GENERATION_ERROR: "The model could not complete the answer.",
};

function headline(error: ApiError): string {
  return HEADLINES[error.code] ?? "The gateway refused this request.";
}
