import type { JSX } from "preact";
import type { Series, Totals } from "../../api/types";
import { compact, count, words } from "../../lib/format";
import { Bars } from "../../ui/bars";

/** The range's calls by model, route and outcome. */
export function Breakdown({ series }: { series: Series }): JSX.Element {
  const outcomes = Object.entries(series.by_outcome).map(([name, value]) => ({
    name: words(name),
    value,
    said: count(value),
    tone: name === "ok" ? "good" : "warn",
  }));
  return (
    <section class="breakdown" aria-label="Breakdown">
      <Bars title="By model" bars={bars(series.by_model)} />
      <Bars title="By route" bars={bars(series.by_route)} />
      <Bars title="By outcome" bars={outcomes} />
    </section>
  );
}

function bars(groups: Record<string, Totals>): Parameters<typeof Bars>[0]["bars"] {
  return Object.entries(groups).map(([name, totals]) => ({
    name,
    value: totals.requests,
    said: `${count(totals.requests)} calls, ${compact(totals.output_tokens)} out`,
  }));
}
