import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import type { KeyWithSecret } from "../../api/types";
import { CopyButton } from "../../ui/copy-button";
import { Dialog } from "../../ui/dialog";
import { Notice } from "../../ui/notice";

/** The only time that a secret is seen. */
export function SecretDialog({
  made,
  onClose,
}: {
  made: KeyWithSecret;
  onClose: () => void;
}): JSX.Element {
  const copied = useSignal(false);
  const asked = useSignal(false); // it was nearly closed without a copy
  const mayClose = (): boolean => {
    const may = copied.peek() || asked.peek();
    asked.value = true;
    return may;
  };
  return (
    <Dialog title={`The key of ${made.name}`} onClose={onClose} mayClose={mayClose}>
      <p>Copy it now: the gateway keeps only its digest, and can't show it again.</p>
      <div class="secret">
        <code>{made.key}</code>
        <CopyButton
          text={made.key}
          label="Copy the key"
          onCopied={() => {
            copied.value = true;
          }}
        />
      </div>
      {asked.value && !copied.value && (
        <Notice tone="warn" title="The key has not been copied yet." urgent>
          <p>Once this is closed, it can't be shown again. Copy it, or close this once more.</p>
        </Notice>
      )}
      <footer class="dialog-foot">
        <button type="button" class="button primary" onClick={onClose}>
          Done
        </button>
      </footer>
    </Dialog>
  );
}
