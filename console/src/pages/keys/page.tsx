import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { ask } from "../../api/client";
import type { KeyList, KeyView, KeyWithSecret, ModelList } from "../../api/types";
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
  | { kind: "secret"; made: KeyWithSecret };

export function KeysPage(): JSX.Element {
  const pages = useSignal(1);
  const keys = usePoll((signal) => readKeys(pages.value, signal), 10, [pages.value]);
  const models = usePoll((signal) => ask<ModelList>("/v1/models", { signal }), 60, []);
  const open = useSignal<Open | null>(null);

  function close(): void {
    open.value = null;
  }

  function changed(made?: KeyWithSecret): void {
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
      {keys.error !== null && <ErrorNotice error={keys.error} doing="Loading the keys" />}
      {keys.data && (
        <KeyTable
          keys={keys.data.data}
          tiers={tiers}
          onAct={(kind, key) => {
            open.value = { kind, key };
          }}
        />
      )}
      {keys.data?.cursor && (
        <button
          type="button"
          class="button more"
          onClick={() => {
            pages.value++;
          }}
        >
          More keys
        </button>
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

/** The first so many pages of keys as one list. */
async function readKeys(pages: number, signal: AbortSignal): Promise<KeyList> {
  let list = await ask<KeyList>("/v1/keys", { signal });
  for (let page = 1; page < pages && list.cursor !== null; page++) {
    const next = await ask<KeyList>(`/v1/keys?after=${list.cursor}`, { signal });
    list = { ...next, data: [...list.data, ...next.data] };
  }
  return list;
}
