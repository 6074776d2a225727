import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { ApiError, Away, keyRefused } from "../api/errors";
import { ThemeButton } from "../shell";
import { farewell, signIn } from "../state/session";
import { Mark } from "../ui/icons";

function explain(error: unknown): string {
  if (error instanceof Away) {
    return "The gateway doesn't answer. Check that it is running, then try again.";
  }
  if (keyRefused(error) && error.code === "API_KEY_EXPIRED") return error.message;
  if (keyRefused(error)) {
    return "This key isn't known here. Check that all of it was copied, and that it belongs to this gateway.";
  }
  return error instanceof ApiError ? error.message : String(error);
}

export function SignInPage(): JSX.Element {
  const key = useSignal("");
  const seen = useSignal(false);
  const busy = useSignal(false);
  const problem = useSignal("");
  const field = useRef<HTMLInputElement>(null);

  useEffect(() => field.current?.focus(), []);

  async function submit(event: Event): Promise<void> {
    event.preventDefault();
    busy.value = true;
    problem.value = "";
    try {
      await signIn(key.value.trim());
    } catch (error) {
      problem.value = explain(error);
      field.current?.focus();
    } finally {
      busy.value = false;
    }
  }

  const said = problem.value || farewell.value;
  return (
    <main class="sign-in">
      <div class="sign-in-theme">
        <ThemeButton />
      </div>
      <form onSubmit={submit}>
        <Mark />
        <h1>Gemma gateway</h1>
        <p class="muted">Sign in with an API key of this gateway.</p>
        <div class="field">
          <label for="key">
            <span>API key</span>
          </label>
          <span class="with-button">
            <input
              id="key"
              ref={field}
              type={(seen.value ? "text" : "password") as "password"} // the types tell them apart
              value={key.value}
              onInput={(event) => {
                key.value = event.currentTarget.value;
              }}
              autocomplete="off"
              autocapitalize="off"
              spellcheck={false}
              aria-invalid={problem.value !== ""}
              aria-describedby="key-problem key-help"
            />
            <button
              type="button"
              class="button quiet small"
              aria-pressed={seen.value}
              aria-label="Show the key"
              onClick={() => {
                seen.value = !seen.value;
              }}
            >
              {seen.value ? "Hide" : "Show"}
            </button>
          </span>
        </div>
        <p id="key-problem" class="field-problem" role="alert">
          {said}
        </p>
        <button type="submit" class="button primary" disabled={busy.value}>
          {busy.value ? "Signing in" : "Sign in"}
        </button>
        <p id="key-help" class="help">
          The key stays in this browser tab: a reload keeps it, closing the tab forgets it. The
          first key of a new gateway is in <code>.gateway/api_key</code>. Leave the field empty
          where the gateway needs no key.
        </p>
      </form>
    </main>
  );
}
