import type { JSX } from "preact";

/** A table's head: columns of text, of numbers, and one of buttons, whose name only readers hear. */
export function Columns(props: {
  texts: readonly string[];
  numbers?: readonly string[];
  actions?: boolean;
}): JSX.Element {
  return (
    <thead>
      <tr>
        {props.texts.map((name) => (
          <th key={name} scope="col">
            {name}
          </th>
        ))}
        {props.numbers?.map((name) => (
          <th key={name} scope="col" class="number">
            {name}
          </th>
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
