import type { JSX } from "preact";
import { ask } from "../../api/client";
import type { KeyView } from "../../api/types";
import { useAction } from "../../lib/action";
import { self } from "../../state/session";
import { Dialog } from "../../ui/dialog";
import { ErrorNotice } from "../../ui/notice";

interface Props {
  subject: KeyView;
  onClose: () => void;
  onDone: () => void;
}

/** The question before a key ends for good. */
export function RevokeDialog({ subject, onClose, onDone }: Props): JSX.Element {
  const action = useAction();

  async function revoke(): Promise<void> {
    await ask(`/v1/keys/${subject.id}`, { method: "DELETE" });
    onDone();
  }

  return (
    <Dialog title={`Revoke ${subject.name}?`} onClose={onClose}>
      <p>
        Every call with this key is refused from now on. This can't be undone; what it has used
        stays in the figures.
      </p>
      {subject.id === self.value?.id && (
        <p>
          <strong>You are signed in with this key.</strong>
        </p>
      )}
      {action.error !== null && <ErrorNotice error={action.error} doing="Revoking" />}
      <footer class="dialog-foot">
        <button type="button" class="button" onClick={onClose}>
          Cancel
        </button>
        <button
          type="button"
          class="button danger"
          disabled={action.busy}
          onClick={() => void action.run(revoke)}
        >
          Revoke
        </button>
      </footer>
    </Dialog>
  );
}
