import type { JSX } from "preact";
import type { Point, Series, Summary } from "../../api/types";
import { compact, count, duration, share } from "../../lib/format";
import { Figure } from "../../ui/figure";

type Counted = "requests" | "failed" | "limited" | "filtered" | "input_tokens" | "output_tokens";

function sum(points: Point[], field: Counted): number {
  return points.reduce((total, point) => total + point[field], 0);
}

/** The range in a handful of figures. */
export function Headline(props: {
  series: Series | null;
  summary: Summary | null;
}): JSX.Element | null {
  const { series, summary } = props;
  if (series === null) return null;
  const of = (field: Counted): number => sum(series.points, field);
  const rate = summary?.success_rate;
  return (
    <dl class="figures">
      <Figure label="Requests" value={compact(of("requests"))}>
        {count(of("failed"))} failed
      </Figure>
      <Figure
        label="Success"
        value={share(rate)}
        tone={rate === null || rate === undefined ? undefined : rate < 0.95 ? "bad" : "good"}
      >
        of calls not refused
      </Figure>
      <Figure label="Response time" value={duration(summary?.average_response_time)}>
        p95 {duration(summary?.p95_response_time)}
      </Figure>
      <Figure label="First token" value={duration(summary?.average_time_to_first_token)}>
        p95 {duration(summary?.p95_time_to_first_token)}
      </Figure>
      <Figure label="Tokens out" value={compact(of("output_tokens"))}>
        {compact(of("input_tokens"))} in
      </Figure>
      <Figure label="Limited" value={compact(of("limited"))}>
        over a key's limit
      </Figure>
      <Figure label="Filtered" value={compact(of("filtered"))}>
        by the policy
      </Figure>
    </dl>
  );
}
