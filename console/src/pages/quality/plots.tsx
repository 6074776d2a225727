import type { JSX } from "preact";
import type { QualityReport } from "../../api/types";
import { count, score, stretch } from "../../lib/format";
import { type Line, Plot } from "../../ui/plot";
import { counted, type Field, means, SCORES, steps } from "./scores";

const LOOKS = [
  ["good", undefined],
  ["second", [7, 4]],
  ["third", [2, 3]],
  ["warn", [10, 3, 2, 3]],
  ["bad", [1, 4]],
] as const;
const LISTED = 1000; // answers at most in a report

/** Each score that was given over time, a line for each model; those of the most answers where there are many. */
export function Plots(props: { report: QualityReport; length: number; step: number }): JSX.Element {
  const { report, length, step } = props;
  const rows = report.data;
  const times = steps(length, step);
  const models = [...counted(rows.map((row) => row.model))]
    .sort((a, b) => b[1] - a[1])
    .map(([name]) => name)
    .slice(0, LOOKS.length);
  const lines = (field: Field): Line[] =>
    models.map((name, place) => {
      const [tone, dash] = LOOKS[place] ?? LOOKS[0];
      const own = rows.filter((row) => row.model === name);
      const line = { label: name, tone, values: means(own, field, times, step) };
      return dash ? { ...line, dash: [...dash] } : line;
    });
  return (
    <section class="section" aria-label="Over time">
      <h2>Over time</h2>
      <p class="muted">
        Means of each {stretch(step)}, by model
        {models.length < Object.keys(report.models).length &&
          `, the ${models.length} with most answers`}
        .{rows.length >= LISTED && ` Only the newest ${count(rows.length)} answers are drawn.`}
      </p>
      <div class="plots">
        {SCORES.filter(([, , mean]) => report.summary[mean] !== null).map(
          ([title, field, mean]) => (
            <Plot
              key={title}
              title={title}
              times={times}
              lines={lines(field)}
              format={score}
              scores
              group="quality"
              summary={`Mean in the whole range: ${score(report.summary[mean])}.`}
            />
          ),
        )}
      </div>
    </section>
  );
}
