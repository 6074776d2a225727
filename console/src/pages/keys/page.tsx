import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { ask } from "../../api/client";
import type { KeyList, KeyView, ModelList, NewKey } from "../../api/types";
import { usePoll } from "../../lib/poll";
import { Icon } from "../../ui/icons";
import { ErrorNotice } from "../../ui/notice";
import { PageHead } from "../../ui/page-head";
import { KeyForm } from "./form";
import { RevokeDialog } from "./revoke";
import { RotateDialog } from "./rotate";
import { SecretDialog } from "./secret";
import { SpendSection } from "./spend";
import { KeyTable } from "./table";

type Open =
  | { kind: "create" }
  | { kind: "edit" | "rotate" | "revoke"; key: KeyView }
  | { kind: "secret"; made: NewKey };

export function KeysPage(): JSX.Element {
  const keys = usePoll((signal) => ask<KeyList>("/v1/keys", { signal }), 10, []);
  const models = usePoll((signal) => ask<ModelList>("/v1/models", { signal }), 60, []);
  const open = useSignal<Open | null>(null);

  function close(): void {
    open.value = null;
  }

  function changed(made?: NewKey): void {
    open.value = made ? { kind: "secret", made } : null;
    keys.again();
  }

  const now = open.value;
  const tiers = keys.data?.tiers ?? {};
  const names = models.data?.data.map((model) => model.id) ?? [];
  const form = { tiers, models: names, onClose: close, onDone: changed };
  return (
    <>
      <PageHead title="Keys & usage">
        <button
          type="button"
          class="button primary"
          onClick={() => {
            open.value = { kind: "create" };
          }}
          disabled={keys.data === null}
        >
          <Icon name="plus" />
          <span>New key</span>
        </button>
      </PageHead>
      {keys.error !== null && <ErrorNotice error={keys.error} doing="Reading the keys" />}
      {keys.data && (
        <KeyTable
          keys={keys.data.data}
          tiers={tiers}
          onAct={(kind, key) => {
            open.value = { kind, key };
          }}
        />
      )}
      <SpendSection />
      {now?.kind === "create" && <KeyForm {...form} />}
      {now?.kind === "edit" && <KeyForm {...form} subject={now.key} />}
      {now?.kind === "rotate" && (
        <RotateDialog subject={now.key} onClose={close} onDone={changed} />
      )}
      {now?.kind === "revoke" && (
        <RevokeDialog subject={now.key} onClose={close} onDone={changed} />
      )}
      {now?.kind === "secret" && <SecretDialog made={now.made} onClose={close} />}
    </>
  );
}
