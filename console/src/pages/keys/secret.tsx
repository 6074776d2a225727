import type { JSX } from "preact";
import type { KeyWithSecret } from "../../api/types";
import { CopyButton } from "../../ui/copy-button";
import { Dialog } from "../../ui/dialog";

/** The only time that a secret is seen. */
export function SecretDialog({
  made,
  onClose,
}: {
  made: KeyWithSecret;
  onClose: () => void;
}): JSX.Element {
  return (
    <Dialog title={`The key of ${made.name}`} onClose={onClose}>
      <p>Copy it now: the gateway keeps only its digest, and can't show it again.</p>
      <div class="secret">
        <code>{made.key}</code>
        <CopyButton text={made.key} label="Copy the key" />
      </div>
      <footer class="dialog-foot">
        <button type="button" class="button primary" onClick={onClose}>
          Done
        </button>
      </footer>
    </Dialog>
  );
}
