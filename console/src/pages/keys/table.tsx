import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import type { KeyView, TierView } from "../../api/types";
import { compact, count, date, shortId, stretch } from "../../lib/format";
import { self } from "../../state/session";
import { Columns, type Order } from "../../ui/columns";
import { TableFrame } from "../../ui/table-frame";

type Act = "edit" | "rotate" | "revoke";

interface Props {
  keys: KeyView[];
  tiers: Record<string, TierView>;
  onAct: (act: Act, key: KeyView) => void;
}

const SORTED: Record<string, (key: KeyView) => string | number> = {
  Key: (key) => key.name.toLowerCase(),
  State: (key) => key.state,
  "Calls today": (key) => key.usage?.today.calls ?? 0,
  "Tokens today": (key) => key.usage?.today.total_tokens ?? 0,
  "All calls": (key) => key.usage?.all_time.calls ?? 0,
};
const TONES = { active: "good", expired: "warn", revoked: "idle" } as const;

export function KeyTable({ keys, tiers, onAct }: Props): JSX.Element {
  const order = useSignal<Order | null>(null);
  const windows = (key: KeyView): string => {
    const own = key.windows ?? tiers[key.tier]?.windows ?? [];
    return own.map(({ limit, seconds }) => `${count(limit)} per ${stretch(seconds)}`).join(", ");
  };
  return (
    <section class="section" aria-label="Keys">
      <TableFrame label="Keys, table">
        <table class="stack">
          <Columns
            texts={["Key", "State", "Limits"]}
            numbers={["Calls today", "Tokens today", "All calls"]}
            actions
            order={order}
            sortable={Object.keys(SORTED)}
          />
          <tbody>
            {sorted(keys, order.value).map((key) => (
              <tr key={key.id} class={key.state === "active" ? undefined : "faded"}>
                <th scope="row">
                  <span class="key-name">{key.name}</span>
                  <small>
                    <code>{shortId(key.id)}</code>
                    {key.scopes.includes("operator") && <span class="chip good">operator</span>}
                    {key.id === self.value?.id && <span class="chip idle">this session</span>}
                  </small>
                </th>
                <td data-label="State">
                  <span class={`chip ${TONES[key.state]}`}>{key.state}</span>
                  {key.expires && <small>until {date(key.expires)}</small>}
                </td>
                <td data-label="Limits" class="wrap">
                  {windows(key)}
                  <small>
                    tier {key.tier}
                    {key.windows && ", own limits"}
                    {key.models.length > 0 && `; ${key.models.join(", ")}`}
                  </small>
                </td>
                <td data-label="Calls today" class="number">
                  {count(key.usage?.today.calls)}
                </td>
                <td data-label="Tokens today" class="number">
                  {compact(key.usage?.today.total_tokens)}
                </td>
                <td data-label="All calls" class="number">
                  {compact(key.usage?.all_time.calls)}
                </td>
                <td class="row-actions">
                  <Actions subject={key} onAct={onAct} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableFrame>
    </section>
  );
}

function sorted(keys: KeyView[], order: Order | null): KeyView[] {
  const value = order === null ? undefined : SORTED[order.by];
  if (order === null || value === undefined) return keys;
  const way = order.down ? -1 : 1;
  return keys.toSorted((a, b) => (value(a) < value(b) ? -way : value(a) > value(b) ? way : 0));
}

function Actions({
  subject,
  onAct,
}: {
  subject: KeyView;
  onAct: Props["onAct"];
}): JSX.Element | null {
  if (subject.source === "settings") return <span class="muted small">from the settings</span>;
  if (subject.state === "revoked") return null;
  const button = (act: Act, word: string): JSX.Element => (
    <button
      type="button"
      class="button quiet small"
      aria-label={`${word} ${subject.name}`}
      onClick={() => onAct(act, subject)}
    >
      {word}
    </button>
  );
  return (
    <>
      {button("edit", "Edit")}
      {button("rotate", "Rotate")}
      {button("revoke", "Revoke")}
    </>
  );
}
