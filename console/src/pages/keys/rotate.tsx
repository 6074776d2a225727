import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { ask } from "../../api/client";
import type { KeyView, KeyWithSecret } from "../../api/types";
import { useAction } from "../../lib/action";
import { Dialog } from "../../ui/dialog";
import { ErrorNotice } from "../../ui/notice";

const GRACES = [
  [0, "at once"],
  [600, "in 10 minutes"],
  [3600, "in an hour"],
  [86_400, "in a day"],
] as const;

interface Props {
  subject: KeyView;
  onClose: () => void;
  onDone: (made: KeyWithSecret) => void;
}

/** A new secret for the same key; the old one goes on for a while, so that nobody is cut off. */
export function RotateDialog({ subject, onClose, onDone }: Props): JSX.Element {
  const grace = useSignal(3600);
  const action = useAction();

  async function rotate(): Promise<void> {
    const body = { grace_seconds: grace.peek() };
    onDone(await ask<KeyWithSecret>(`/v1/keys/${subject.id}/rotate`, { method: "POST", body }));
  }

  return (
    <Dialog title={`Rotate ${subject.name}`} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void action.run(rotate);
        }}
      >
        <p>A new secret is made and shown once. Name, limits and usage stay.</p>
        <label class="field">
          <span>The old secret expires</span>
          <select
            value={grace.value}
            onChange={(event) => {
              grace.value = Number(event.currentTarget.value);
            }}
          >
            {GRACES.map(([seconds, text]) => (
              <option key={seconds} value={seconds}>
                {text}
              </option>
            ))}
          </select>
        </label>
        {action.error !== null && <ErrorNotice error={action.error} doing="Rotating" />}
        <footer class="dialog-foot">
          <button type="button" class="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="button primary" disabled={action.busy}>
            Rotate
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
