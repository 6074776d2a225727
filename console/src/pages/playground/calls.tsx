// What the model calls, and where one answers in the function's place.

import type { JSX } from "preact";
import { useId } from "preact/hooks";
import type { ToolCall } from "../../api/tools";
import { Icon } from "../../ui/icons";
import { CodeBlock } from "./code-block";
import { running, sendResults, type Turn, waiting } from "./conversation";

/** The calls of a turn, each with its result or a field for it. */
export function Calls({ turn }: { turn: Turn }): JSX.Element | null {
  const calls = turn.calls.value;
  if (calls.length === 0) return null;
  const open = waiting.value === turn && !running.value;
  const results = turn.results.value;
  const missing = calls.filter((_, place) => !results[place]?.trim()).length;

  function put(place: number, text: string): void {
    turn.results.value = calls.map((_, other) => (other === place ? text : (results[other] ?? "")));
  }

  return (
    <form
      class="tool-calls"
      aria-label="Calls"
      onSubmit={(event) => {
        event.preventDefault();
        if (!open || missing > 0) return;
        event.currentTarget.closest<HTMLElement>("[role=log]")?.focus(); // the button will be gone
        void sendResults();
      }}
    >
      {calls.map((call, place) => (
        <CallCard
          key={`${place} ${call.id}`}
          call={call}
          label={label(calls, place)}
          result={results[place] ?? ""}
          onChange={open ? (text) => put(place, text) : undefined}
        />
      ))}
      {open && (
        <footer>
          <button type="submit" class="button primary" disabled={missing > 0}>
            <Icon name="send" />
            <span>Send results</span>
          </button>
          <p class="help">
            {missing > 0
              ? "Answer each call in the function's place."
              : "The model goes on with them."}
          </p>
        </footer>
      )}
    </form>
  );
}

interface CardProps {
  call: ToolCall;
  label: string;
  result: string;
  /** None: it isn't to be answered, or not any more. */
  onChange?: ((text: string) => void) | undefined;
}

function CallCard({ call, label, result, onChange }: CardProps): JSX.Element {
  const heading = useId();
  return (
    <section class="tool-call" aria-labelledby={heading}>
      <p class="tool-name" id={heading}>
        <Icon name="tool" />
        <code>{label}</code>
      </p>
      <CodeBlock {...shown(call.function.arguments)} />
      {onChange ? (
        <label class="field">
          <span>Result of {label}</span>
          <textarea
            rows={2}
            value={result}
            placeholder="JSON or text"
            onInput={(event) => onChange(event.currentTarget.value)}
          />
        </label>
      ) : (
        result && (
          <>
            <p class="tool-result">Result</p>
            <CodeBlock {...shown(result)} />
          </>
        )
      )}
    </section>
  );
}

/** The function's name, with a number where it is called several times. */
function label(calls: readonly ToolCall[], place: number): string {
  const name = calls[place]?.function.name ?? "";
  const same = calls.filter((call) => call.function.name === name);
  const number = same.indexOf(calls[place] as ToolCall) + 1;
  return same.length > 1 ? `${name} (${number})` : name;
}

/** JSON with its lines broken; anything else, an argument that is still being written too, as it is. */
function shown(text: string): { code: string; language: string } {
  try {
    return { code: JSON.stringify(JSON.parse(text), null, 2), language: "json" };
  } catch {
    return { code: text, language: "" };
  }
}
