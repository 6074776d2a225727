import type { JSX } from "preact";
import type { Window } from "../../api/types";
import { Icon } from "../../ui/icons";

const UNITS = [
  [60, "minute"],
  [3600, "hour"],
  [86_400, "day"],
] as const;
const MOST = 8; // windows that a key may have

interface Props {
  /** The key's own limits; null: its tier's. */
  value: Window[] | null;
  /** The tier's, to begin with. */
  standard: Window[];
  onChange: (value: Window[] | null) => void;
}

/** Limits of a key's own, each so many requests in any stretch of that length. */
export function WindowsField({ value, standard, onChange }: Props): JSX.Element {
  const rows = value ?? [];

  function put(place: number, part: Partial<Window>): void {
    onChange(rows.map((row, index) => (index === place ? { ...row, ...part } : row)));
  }

  return (
    <fieldset class="field">
      <legend>Limits</legend>
      <label class="check">
        <input
          type="checkbox"
          checked={value !== null}
          onChange={(event) =>
            onChange(
              event.currentTarget.checked
                ? standard.length > 0
                  ? [...standard]
                  : [{ limit: 100, seconds: 3600 }]
                : null,
            )
          }
        />
        <span>Own limits instead of the tier's</span>
      </label>
      {rows.map((row, place) => (
        // Rows have no other identity than their place.
        <div class="window-row" key={place}>
          <input
            type="number"
            required
            min={1}
            max={1_000_000}
            value={row.limit}
            aria-label="Requests"
            onInput={(event) => put(place, { limit: event.currentTarget.valueAsNumber })}
          />
          <span>in any</span>
          <select
            value={row.seconds}
            aria-label="Time span"
            onChange={(event) => put(place, { seconds: Number(event.currentTarget.value) })}
          >
            {UNITS.map(([seconds, name]) => (
              <option key={seconds} value={seconds}>
                {name}
              </option>
            ))}
            {!UNITS.some(([seconds]) => seconds === row.seconds) && (
              <option value={row.seconds}>{row.seconds} seconds</option>
            )}
          </select>
          <button
            type="button"
            class="button quiet icon-only"
            aria-label="Remove this limit"
            disabled={rows.length === 1}
            onClick={() => onChange(rows.filter((_, index) => index !== place))}
          >
            <Icon name="close" />
          </button>
        </div>
      ))}
      {value !== null && rows.length < MOST && (
        <button
          type="button"
          class="button quiet small"
          onClick={() => onChange([...rows, { limit: 10, seconds: 60 }])}
        >
          <Icon name="plus" />
          <span>Another limit</span>
        </button>
      )}
    </fieldset>
  );
}
