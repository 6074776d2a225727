import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useId } from "preact/hooks";
import { ask } from "../../api/client";
import type { KeyChange, KeyView, KeyWithSecret, TierView, Window } from "../../api/types";
import { useAction } from "../../lib/action";
import { count, stretch } from "../../lib/format";
import { Dialog } from "../../ui/dialog";
import { ErrorNotice } from "../../ui/notice";
import { WindowsField } from "./windows";

interface Props {
  tiers: Record<string, TierView>;
  models: string[];
  /** The key to edit; none: a new one. */
  subject?: KeyView;
  onClose: () => void;
  onDone: (made?: KeyWithSecret) => void;
}

/** What may be set of a key. */
type KeyDraft = Pick<KeyView, keyof KeyChange & keyof KeyView>;

function initial(subject: KeyView | undefined, tiers: Props["tiers"]): KeyDraft {
  if (subject) {
    const { name, tier, models, scopes, expires, windows } = subject;
    return { name, tier, models, scopes, expires, windows };
  }
  const tier = "default" in tiers ? "default" : (Object.keys(tiers)[0] ?? "default");
  return { name: "", tier, models: [], scopes: [], expires: null, windows: null };
}

/** Make a key, or change what one may do. */
export function KeyForm({ tiers, models, subject, onClose, onDone }: Props): JSX.Element {
  const draft = useSignal<KeyDraft>(initial(subject, tiers));
  const action = useAction();
  const now = draft.value;

  function change(part: Partial<KeyDraft>): void {
    draft.value = { ...draft.peek(), ...part };
  }

  async function save(): Promise<void> {
    const body = { ...draft.peek(), name: draft.peek().name.trim() };
    if (subject) {
      await ask(`/v1/keys/${subject.id}`, { method: "PATCH", body });
      onDone();
    } else {
      onDone(await ask<KeyWithSecret>("/v1/keys", { method: "POST", body }));
    }
  }

  const tierWindows = tiers[now.tier]?.windows ?? [];
  return (
    <Dialog title={subject ? `Edit ${subject.name}` : "New key"} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void action.run(save);
        }}
      >
        <label class="field">
          <span>Name</span>
          <input
            required
            maxLength={64}
            value={now.name}
            placeholder="Who or what will use it"
            onInput={(event) => change({ name: event.currentTarget.value })}
          />
        </label>
        <label class="field">
          <span>Tier</span>
          <select
            value={now.tier}
            onChange={(event) => change({ tier: event.currentTarget.value })}
          >
            {Object.keys(tiers).map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <WindowsField
          value={now.windows}
          standard={tierWindows}
          onChange={(windows: Window[] | null) => change({ windows })}
        />
        {now.windows === null && (
          <p class="help">
            The tier allows{" "}
            {tierWindows
              .map((w) => `${count(w.limit)} requests per ${stretch(w.seconds)}`)
              .join(" and ")}
            .
          </p>
        )}
        <ModelsField
          models={models}
          chosen={now.models}
          onChange={(chosen) => change({ models: chosen })}
        />
        <ExpiryField value={now.expires} onChange={(expires) => change({ expires })} />
        <label class="check">
          <input
            type="checkbox"
            checked={now.scopes.includes("operator")}
            onChange={(event) =>
              change({ scopes: event.currentTarget.checked ? ["operator"] : [] })
            }
          />
          <span>Operator: may see everybody's figures and manage keys</span>
        </label>
        {action.error !== null && (
          <ErrorNotice error={action.error} doing={subject ? "Saving" : "Making the key"} />
        )}
        <footer class="dialog-foot">
          <button type="button" class="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="button primary" disabled={action.busy}>
            {subject ? "Save" : "Make key"}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

function ModelsField(props: {
  models: string[];
  chosen: string[];
  onChange: (chosen: string[]) => void;
}): JSX.Element {
  const all = [...new Set([...props.models, ...props.chosen])];
  const toggle = (name: string, on: boolean): void =>
    props.onChange(on ? [...props.chosen, name] : props.chosen.filter((other) => other !== name));
  return (
    <fieldset class="field">
      <legend>Models</legend>
      {all.map((name) => (
        <label key={name} class="check">
          <input
            type="checkbox"
            checked={props.chosen.includes(name)}
            onChange={(event) => toggle(name, event.currentTarget.checked)}
          />
          <span>{name}</span>
        </label>
      ))}
      <p class="help">None chosen: the key may use all.</p>
    </fieldset>
  );
}

/** A day, at the end of which the key ends. */
function ExpiryField(props: {
  value: string | null;
  onChange: (expires: string | null) => void;
}): JSX.Element {
  const help = useId();
  return (
    <div class="field">
      <label>
        <span>Expires</span>
        <input
          type="date"
          value={props.value?.slice(0, 10) ?? ""}
          min={new Date().toISOString().slice(0, 10)}
          aria-describedby={help}
          onInput={(event) => {
            const day = event.currentTarget.value;
            props.onChange(day ? `${day}T23:59:59Z` : null);
          }}
        />
      </label>
      <p class="help" id={help}>
        At the end of that day, UTC; empty: never.
      </p>
    </div>
  );
}
