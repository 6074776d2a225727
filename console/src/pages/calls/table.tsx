import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { Fragment } from "preact";
import type { CallView } from "../../api/types";
import { clock, count, duration, shortId, UNKNOWN, words } from "../../lib/format";
import { Columns } from "../../ui/columns";
import { Icon } from "../../ui/icons";
import { TableFrame } from "../../ui/table-frame";
import { Details } from "./details";
import { kind } from "./feed";

const TONES = { ok: "good", refused: "warn", failed: "bad", left: "idle" } as const;

interface Props {
  calls: readonly CallView[];
  /** Whether calls are hidden by the filter. */
  filtered: boolean;
}

export function CallTable({ calls, filtered }: Props): JSX.Element {
  const opened = useSignal("");
  if (calls.length === 0) {
    return (
      <p class="empty">
        {filtered ? "No call matches this filter." : "No call yet. The next one appears here."}
      </p>
    );
  }
  return (
    <TableFrame label="Calls, table">
      <table class="calls">
        <Columns
          texts={["Time", "Outcome", "Key", "Model", "Route"]}
          numbers={["First token", "Response", "Tokens in", "Out"]}
        />
        <tbody>
          {calls.map((call) => (
            <Row
              key={call.id}
              call={call}
              open={opened.value === call.id}
              onToggle={() => {
                opened.value = opened.value === call.id ? "" : call.id;
              }}
            />
          ))}
        </tbody>
      </table>
    </TableFrame>
  );
}

function Row(props: { call: CallView; open: boolean; onToggle: () => void }): JSX.Element {
  const { call, open, onToggle } = props;
  return (
    <Fragment>
      <tr>
        <th scope="row">
          <button type="button" class="disclosure" aria-expanded={open} onClick={onToggle}>
            <Icon name="chevron" />
            <time dateTime={call.time}>{clock(call.time)}</time>
          </button>
        </th>
        <td>
          <span class={`chip ${TONES[kind(call)]}`}>{words(call.outcome)}</span>
        </td>
        <td>
          {call.key_name || UNKNOWN} <code>{shortId(call.key_id)}</code>
        </td>
        <td>{call.model}</td>
        <td>{call.route}</td>
        <td class="number">{duration(call.time_to_first_token)}</td>
        <td class="number">{duration(call.response_time)}</td>
        <td class="number">{count(call.input_tokens)}</td>
        <td class="number">{count(call.output_tokens)}</td>
      </tr>
      {open && (
        <tr class="details">
          <td colSpan={9}>
            <Details call={call} />
          </td>
        </tr>
      )}
    </Fragment>
  );
}
