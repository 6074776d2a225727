import type { JSX } from "preact";
import type { Point, Quantiles, Series } from "../../api/types";
import { compact, count, duration } from "../../lib/format";
import { type Line, Plot } from "../../ui/plot";

const GROUP = "dashboard";
const EACH: Record<number, string> = { 60: "a minute", 3600: "an hour" };
const PERCENTILES = [
  ["p50", "good", undefined],
  ["p95", "second", [7, 4]],
  ["p99", "third", [2, 3]],
] as const;

/** What happened over the range, in six plots with one cursor. */
export function Plots({ series }: { series: Series }): JSX.Element {
  const { points, step_seconds: step } = series;
  const times = points.map((point) => Date.parse(point.time) / 1000);
  const each = EACH[step] ?? `in ${step / 60} minutes`;
  const line = (label: string, tone: string, value: (point: Point) => number): Line => ({
    label,
    tone,
    values: points.map(value),
  });
  const requests = [
    line("ok", "good", (point) => point.ok),
    line("refused", "warn", (point) => point.refused),
    line("disconnected", "idle", (point) => point.client_closed),
    line("failed", "bad", (point) => point.failed),
  ];
  const decisions = [
    line("limited", "warn", (point) => point.limited),
    line("filtered", "third", (point) => point.filtered),
  ];
  const tokens = [
    line("out", "good", (point) => point.output_tokens),
    line("in", "second", (point) => point.input_tokens),
  ];
  const errors: Line = {
    label: "failed",
    tone: "bad",
    values: points.map(({ ok, failed }) => (ok + failed === 0 ? null : failed / (ok + failed))),
  };
  const common = { times, group: GROUP };
  return (
    <section class="plots" aria-label="Plots">
      <Plot
        {...common}
        title={`Requests ${each}`}
        lines={requests}
        format={count}
        whole
        summary={totals(requests)}
        stacked
      />
      <Plot
        {...common}
        title="Response time"
        lines={percentiles(points, (point) => point.response_time)}
        format={duration}
        summary={highest(points, (point) => point.response_time)}
      />
      <Plot
        {...common}
        title="Time to first token"
        lines={percentiles(points, (point) => point.time_to_first_token)}
        format={duration}
        summary={highest(points, (point) => point.time_to_first_token)}
      />
      <Plot
        {...common}
        title={`Tokens ${each}`}
        lines={tokens}
        format={compact}
        whole
        summary={totals(tokens)}
      />
      <Plot
        {...common}
        title="Failed, share of calls not refused"
        lines={[errors]}
        format={percent}
        summary={totals([requests[3] as Line])}
      />
      <Plot
        {...common}
        title={`Limiter and filter ${each}`}
        lines={decisions}
        format={count}
        whole
        summary={totals(decisions)}
        stacked
      />
    </section>
  );
}

function percent(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : `${Math.round(value * 1000) / 10}%`;
}

function percentiles(points: Point[], of: (point: Point) => Quantiles): Line[] {
  return PERCENTILES.map(([name, tone, dash]) => ({
    label: name,
    tone,
    values: points.map((point) => of(point)[name]),
    ...(dash ? { dash: [...dash] } : {}),
  }));
}

function totals(lines: Line[]): string {
  const parts = lines.map((line) => {
    const total = line.values.reduce<number>((sum, value) => sum + (value ?? 0), 0);
    return `${line.label}: ${count(total)}`;
  });
  return `In the whole range ${parts.join(", ")}.`;
}

function highest(points: Point[], of: (point: Point) => Quantiles): string {
  const values = points.map((point) => of(point).p95).filter((value) => value !== null);
  return values.length === 0
    ? "Nothing was measured."
    : `Highest p95: ${duration(Math.max(...values))}.`;
}
