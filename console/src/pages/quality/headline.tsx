import type { JSX } from "preact";
import type { QualityReport, QualityRow } from "../../api/types";
import { count, score, share, words } from "../../lib/format";
import { Bars } from "../../ui/bars";
import { Figure } from "../../ui/figure";
import { counted, SCORES } from "./scores";

const GOOD = 0.5; // feedback from here on is good

/** The range in a handful of figures. */
export function Headline({ report: { summary, data } }: { report: QualityReport }): JSX.Element {
  const said = data.map((row) => row.user_satisfaction).filter((value) => value !== null);
  const good = said.filter((value) => value >= GOOD).length;
  return (
    <dl class="figures">
      <Figure label="Answers judged" value={count(summary.evaluated)} />
      {SCORES.slice(0, -1).map(([title, , mean, about]) => (
        <Figure key={title} label={title} value={score(summary[mean])}>
          {about}
        </Figure>
      ))}
      <Figure label="Good feedback" value={share(said.length === 0 ? null : good / said.length)}>
        {said.length === 0 ? "none was given" : `${count(good)} of ${count(said.length)} answers`}
      </Figure>
    </dl>
  );
}

const OUTCOMES: Record<string, string> = {
  judged: "judged",
  queue_full: "skipped: too many were waiting",
  engine_busy: "skipped: the engine was busy",
  too_long: "skipped: too long",
  no_text: "skipped: without text",
  failed: "failed: the gateway's log says more",
};

/** Why there are no more scores. */
export function Causes({ report }: { report: QualityReport }): JSX.Element | null {
  const outcomes = Object.entries(report.sampling.outcomes);
  if (outcomes.length === 0 && report.summary.evaluated === 0) return null;
  return (
    <section class="breakdown" aria-label="Judged, skipped and failed">
      <Bars
        title="Sampled answers since this gateway process started"
        bars={outcomes
          .filter(([name, value]) => value > 0 || name === "judged")
          .map(([name, value]) => ({
            name: OUTCOMES[name] ?? words(name),
            value,
            said: count(value),
            tone: name === "judged" ? "good" : name === "failed" ? "bad" : "warn",
          }))}
      />
      <Bars
        title="Judged answers without a score"
        bars={[...counted(report.data.flatMap(reasons))].map(([name, value]) => ({
          name,
          value,
          said: count(value),
          tone: "idle",
        }))}
      />
    </section>
  );
}

function reasons(row: QualityRow): string[] {
  return Object.entries(row.reasons).map(([name, why]) => `${name}: ${why}`);
}
