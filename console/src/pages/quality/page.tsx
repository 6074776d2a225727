import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { ask } from "../../api/client";
import type { QualityReport } from "../../api/types";
import { usePoll } from "../../lib/poll";
import { ErrorNotice } from "../../ui/notice";
import { PageHead } from "../../ui/page-head";
import { Segmented } from "../../ui/segmented";
import { Comments } from "./comments";
import { Causes, Headline } from "./headline";
import { ByModel } from "./models";
import { Plots } from "./plots";
import { SamplingNote } from "./sampling";

type Range = "1h" | "24h" | "7d";

const RANGES = [
  ["1h", "1 hour"],
  ["24h", "24 hours"],
  ["7d", "7 days"],
] as const;

const ABOUT =
  "Scores go from 0 (bad) to 1 (good). docs/quality.md says how far each of them can be trusted.";

/** Seconds of the range, and of a step in its plots. */
const LENGTH: Record<Range, readonly [number, number]> = {
  "1h": [3600, 300],
  "24h": [86_400, 3600],
  "7d": [604_800, 21_600],
};

/** What is known of how good the answers are: judged samples, and what callers say. */
export function QualityPage(): JSX.Element {
  const range = useSignal<Range>("24h");
  const [length, step] = LENGTH[range.value];
  const quality = usePoll(
    (signal) => {
      const start = Math.floor(Date.now() / 1000) - length;
      return ask<QualityReport>(`/v1/monitoring/quality?start=${start}`, { signal });
    },
    20,
    [length],
  );
  const report = quality.data;
  return (
    <>
      <PageHead title="Answer quality" about={ABOUT}>
        <Segmented
          label="Range"
          options={RANGES}
          value={range.value}
          onChange={(next) => {
            range.value = next;
          }}
        />
      </PageHead>
      {quality.error !== null && <ErrorNotice error={quality.error} doing="Loading the scores" />}
      {report && (
        <>
          <SamplingNote tiers={report.sampling.tiers} />
          <Headline report={report} />
          {report.data.length === 0 ? (
            <p class="empty">No answer was judged in this time, and no feedback was given.</p>
          ) : (
            <>
              <Plots report={report} length={length} step={step} />
              <ByModel models={report.models} />
            </>
          )}
          <Causes report={report} />
          <Comments rows={report.data} />
        </>
      )}
    </>
  );
}
