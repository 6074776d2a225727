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

const PAGE = 50; // keys that are shown, and again as many each time that more are asked for
const MOST = 10_000; // keys that are searched
const AT_ONCE = 200; // keys in one answer, at most

type Open =
  | { kind: "create" }
  | { kind: "edit" | "rotate" | "revoke"; key: KeyView }
  | { kind: "secret"; made: KeyWithSecret };

export function KeysPage(): JSX.Element {
  const pages = useSignal(1);
  const text = useSignal("");
  const searching = text.value.trim() !== "";
  const keys = usePoll(
    (signal) => (searching ? readKeys(MOST, signal) : readKeys(pages.value * PAGE, signal)),
    10,
    [pages.value, searching],
  );
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
      <div class="filters">
        <label class="search">
          <span class="visually-hidden">Search keys by name, tier, model or id</span>
          <Icon name="filter" />
          <input
            type="search"
            placeholder="Name, tier, model, id"
            value={text.value}
            onInput={(event) => {
              text.value = event.currentTarget.value;
            }}
          />
        </label>
      </div>
      {keys.data && (
        <KeyTable
          keys={matching(keys.data.data, text.value)}
          tiers={tiers}
          onAct={(kind, key) => {
            open.value = { kind, key };
          }}
        />
      )}
      {keys.data?.cursor && !searching && (
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

/** The first so many keys as one list. */
async function readKeys(most: number, signal: AbortSignal): Promise<KeyList> {
  const limit = Math.min(most, AT_ONCE);
  let list = await ask<KeyList>(`/v1/keys?limit=${limit}`, { signal });
  while (list.data.length < most && list.cursor !== null) {
    const next = await ask<KeyList>(`/v1/keys?limit=${limit}&after=${list.cursor}`, { signal });
    list = { ...next, data: [...list.data, ...next.data] };
  }
  return list;
}

/** The keys that every word of a text fits. */
function matching(keys: KeyView[], text: string): KeyView[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return keys.filter((key) => {
    const said = [key.name, key.id, key.tier, key.state, ...key.models, ...key.scopes];
    return words.every((word) => said.join(" ").toLowerCase().includes(word));
  });
}
