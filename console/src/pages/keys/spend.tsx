import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { ask, send } from "../../api/client";
import type { Usage, UsageRow } from "../../api/types";
import { useAction } from "../../lib/action";
import { compact, count, money, shortId, UNKNOWN } from "../../lib/format";
import { usePoll } from "../../lib/poll";
import { save } from "../../lib/save";
import { Columns } from "../../ui/columns";
import { Icon } from "../../ui/icons";
import { ErrorNotice } from "../../ui/notice";
import { type Line, Plot } from "../../ui/plot";
import { Segmented } from "../../ui/segmented";
import { TableFrame } from "../../ui/table-frame";

type Days = "7" | "30";
const DAYS = [
  ["7", "7 days"],
  ["30", "30 days"],
] as const;
const TONES = ["good", "second", "third", "warn", "bad"];
const NAMED = 4; // keys with a colour of their own; all others share one

interface Sums {
  calls: number;
  input_tokens: number;
  output_tokens: number;
  cost: number;
}

/** What was used and what it cost, by key and day. */
export function SpendSection(): JSX.Element {
  const days = useSignal<Days>("7");
  const download = useAction();
  const usage = usePoll(
    (signal) => ask<Usage>(`/v1/monitoring/usage?days=${days.value}`, { signal }),
    10,
    [days.value],
  );

  async function saveTable(): Promise<void> {
    const answer = await send(`/v1/monitoring/usage?days=${days.peek()}&format=csv`);
    save(`usage-${days.peek()}-days.csv`, await answer.blob());
  }

  return (
    <section class="section" aria-label="Usage and spend">
      <header class="section-head">
        <h2>Usage and spend</h2>
        <div class="page-tools">
          <Segmented
            label="Days"
            options={DAYS}
            value={days.value}
            onChange={(chosen) => {
              days.value = chosen;
            }}
          />
          <button
            type="button"
            class="button"
            disabled={download.busy}
            onClick={() => void download.run(saveTable)}
          >
            <Icon name="download" />
            <span>CSV</span>
          </button>
        </div>
      </header>
      {usage.error !== null && <ErrorNotice error={usage.error} doing="Loading the usage" />}
      {download.error !== null && <ErrorNotice error={download.error} doing="The download" />}
      {usage.data && (
        <>
          <SpendPlot table={usage.data} days={Number(days.value)} />
          <SpendTable table={usage.data} />
          {usage.data.unpriced_models.length > 0 && (
            <p class="help">
              Without a price in the setting <code>prices</code>:{" "}
              {usage.data.unpriced_models.join(", ")}.
            </p>
          )}
        </>
      )}
    </section>
  );
}

/** The rows added up by a field or two. */
function grouped(rows: UsageRow[], by: (row: UsageRow) => string): Map<string, Sums> {
  const found = new Map<string, Sums>();
  for (const row of rows) {
    const sums = found.get(by(row)) ?? { calls: 0, input_tokens: 0, output_tokens: 0, cost: 0 };
    sums.calls += row.calls;
    sums.input_tokens += row.input_tokens;
    sums.output_tokens += row.output_tokens;
    sums.cost += row.cost ?? 0;
    found.set(by(row), sums);
  }
  return found;
}

function SpendPlot({ table, days }: { table: Usage; days: number }): JSX.Element {
  const priced = table.totals.cost !== null;
  const value = (sums: Sums | undefined): number =>
    sums === undefined ? 0 : priced ? sums.cost : sums.input_tokens + sums.output_tokens;
  const byKey = [...grouped(table.data, (row) => row.key_id)].sort(
    (a, b) => value(b[1]) - value(a[1]),
  );
  const named = byKey.slice(0, NAMED).map(([id]) => id);
  const slot = (id: string): string => (named.includes(id) ? id : "");
  const cells = grouped(table.data, (row) => `${row.day}/${slot(row.key_id)}`);
  const calendar = lastDays(days);
  const name = (id: string): string =>
    table.data.find((row) => row.key_id === id)?.name || shortId(id);
  const lines: Line[] = [...named, ...(byKey.length > NAMED ? [""] : [])].map((id, place) => ({
    label: id ? name(id) : "all others",
    tone: TONES[place] ?? "idle",
    values: calendar.map((day) => value(cells.get(`${day}/${id}`))),
  }));
  const { cost, input_tokens, output_tokens } = table.totals;
  const total = cost ?? input_tokens + output_tokens;
  const format = (amount: number | null | undefined): string =>
    priced ? money(amount, "") : compact(amount);
  return (
    <div class="plots single">
      <Plot
        title={priced ? `Spend a day, ${table.currency}` : "Tokens a day"}
        times={calendar.map((day) => Date.parse(day) / 1000)}
        lines={lines.length > 0 ? lines : [{ label: "none", tone: "idle", values: [] }]}
        format={format}
        whole={!priced}
        summary={`In ${days} days ${format(total)} in all.`}
        daily
        stacked
      />
    </div>
  );
}

/** The UTC days up to today, oldest first. */
function lastDays(days: number): string[] {
  const today = Date.now();
  return Array.from({ length: days }, (_, place) =>
    new Date(today - (days - 1 - place) * 86_400_000).toISOString().slice(0, 10),
  );
}

function SpendTable({ table }: { table: Usage }): JSX.Element {
  const rows = [...grouped(table.data, (row) => `${row.key_id}/${row.model}`)].map(
    ([place, sums]) => {
      const first = table.data.find((row) => `${row.key_id}/${row.model}` === place);
      return { place, sums, name: first?.name || shortId(place), model: first?.model ?? "" };
    },
  );
  const priced = (model: string): boolean => !table.unpriced_models.includes(model);
  rows.sort((a, b) => b.sums.cost - a.sums.cost || b.sums.calls - a.sums.calls);
  if (rows.length === 0) return <p class="muted">No call was made on these days.</p>;
  return (
    <TableFrame label="Spend, table">
      <table>
        <Columns texts={["Key", "Model"]} numbers={["Calls", "Tokens in", "Tokens out", "Cost"]} />
        <tbody>
          {rows.map(({ place, name, model, sums }) => (
            <tr key={place}>
              <th scope="row">{name}</th>
              <td>{model}</td>
              <td class="number">{count(sums.calls)}</td>
              <td class="number">{count(sums.input_tokens)}</td>
              <td class="number">{count(sums.output_tokens)}</td>
              <td class="number">{priced(model) ? money(sums.cost, table.currency) : UNKNOWN}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </TableFrame>
  );
}
