import type { Signal } from "@preact/signals";
import type { JSX } from "preact";

/** Which column a table is sorted by; none: as it came. */
export interface Order {
  by: string;
  down: boolean;
}

interface Props {
  texts: readonly string[];
  numbers?: readonly string[];
  actions?: boolean;
  /** Where the reader may sort the table: the order, and the columns that have one. */
  order?: Signal<Order | null>;
  sortable?: readonly string[];
}

/** A table's head: columns of text, of numbers, and one of buttons, whose name only readers hear. */
export function Columns(props: Props): JSX.Element {
  return (
    <thead>
      <tr>
        {props.texts.map((name) => (
          <Head key={name} name={name} table={props} />
        ))}
        {props.numbers?.map((name) => (
          <Head key={name} name={name} table={props} number />
        ))}
        {props.actions && (
          <th scope="col">
            <span class="visually-hidden">Actions</span>
          </th>
        )}
      </tr>
    </thead>
  );
}

function Head(props: { name: string; table: Props; number?: boolean }): JSX.Element {
  const { name, table, number = false } = props;
  const { order, sortable } = table;
  const kind = number ? "number" : undefined;
  if (order === undefined || !sortable?.includes(name)) {
    return (
      <th scope="col" class={kind}>
        {name}
      </th>
    );
  }
  const now = order.value?.by === name ? order.value : null;
  const ways = now === null ? "none" : now.down ? "descending" : "ascending";
  return (
    <th scope="col" class={kind} aria-sort={ways}>
      <button
        type="button"
        class="sorter"
        onClick={() => {
          order.value = { by: name, down: now === null ? number : !now.down };
        }}
      >
        {name}
        <span aria-hidden="true">{now === null ? "" : now.down ? " ↓" : " ↑"}</span>
      </button>
    </th>
  );
}
