import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { ask } from "../../api/client";
import type { AlertsReport, Performance, Series } from "../../api/types";
import { usePoll } from "../../lib/poll";
import { ErrorNotice } from "../../ui/notice";
import { PageHead } from "../../ui/page-head";
import { Segmented } from "../../ui/segmented";
import { AlertHistory, Firing } from "./alerts";
import { Breakdown } from "./breakdown";
import { Headline } from "./headline";
import { Parts } from "./parts";
import { Plots } from "./plots";

type Range = Series["range"];

const RANGES = [
  ["1h", "1 hour"],
  ["6h", "6 hours"],
  ["24h", "24 hours"],
  ["7d", "7 days"],
] as const;

const LENGTH: Record<Range, number> = { "1h": 3600, "6h": 21_600, "24h": 86_400, "7d": 604_800 };

/** Seconds between two looks: a day's plot doesn't change by the second. */
const PACE: Record<Range, number> = { "1h": 4, "6h": 10, "24h": 20, "7d": 60 };

export function DashboardPage(): JSX.Element {
  const range = useSignal<Range>("1h");
  const chosen = range.value;
  const series = usePoll(
    (signal) => ask<Series>(`/v1/monitoring/series?range=${chosen}`, { signal }),
    PACE[chosen],
    [chosen],
  );
  const performance = usePoll(
    (signal) => {
      const start = Math.floor(Date.now() / 1000) - LENGTH[chosen];
      return ask<Performance>(`/v1/monitoring/performance?start=${start}`, { signal });
    },
    PACE[chosen],
    [chosen],
  );

  const alerts = usePoll((signal) => ask<AlertsReport>("/v1/monitoring/alerts", { signal }), 5, []);

  return (
    <>
      <PageHead title="Dashboard">
        <Segmented
          label="Range"
          options={RANGES}
          value={chosen}
          onChange={(next) => {
            range.value = next;
          }}
        />
      </PageHead>
      <Parts />
      {alerts.error !== null && <ErrorNotice error={alerts.error} doing="Loading the alerts" />}
      {alerts.data && <Firing alerts={alerts.data} changed={alerts.again} />}
      {series.error !== null && <ErrorNotice error={series.error} doing="Loading the figures" />}
      <Headline series={series.data} summary={performance.data?.summary ?? null} />
      {series.data && <Plots series={series.data} />}
      {alerts.data && <AlertHistory alerts={alerts.data} />}
      {series.data && <Breakdown series={series.data} />}
    </>
  );
}
