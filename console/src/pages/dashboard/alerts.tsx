import type { JSX } from "preact";
import { ask } from "../../api/client";
import type { AlertsReport, AlertView, RuleView, SilenceView } from "../../api/types";
import { useAction } from "../../lib/action";
import { ago, moment, words } from "../../lib/format";
import { usePoll } from "../../lib/poll";
import { Columns } from "../../ui/columns";
import { ErrorNotice } from "../../ui/notice";
import { TableFrame } from "../../ui/table-frame";

const SILENCES = [
  [3600, "1 hour"],
  [8 * 3600, "8 hours"],
  [24 * 3600, "1 day"],
] as const;
const PAST = 8; // resolved alerts that are listed

/** What is wrong now, to stand above everything else. */
export function Firing({
  alerts,
  changed,
}: {
  alerts: AlertsReport;
  changed: () => void;
}): JSX.Element {
  const firing = alerts.data.filter((alert) => alert.state === "firing");
  return (
    <ul class="alert-list firing" aria-label="Firing alerts">
      {firing.map((alert) => (
        <AlertItem key={alert.id} alert={alert} changed={changed} />
      ))}
    </ul>
  );
}

/** What fired before, and every rule in plain words. */
export function AlertHistory({ alerts }: { alerts: AlertsReport }): JSX.Element {
  const past = alerts.data.filter((alert) => alert.state === "resolved").slice(0, PAST);
  const fires = alerts.data.some((alert) => alert.state === "firing");
  return (
    <section class="alerts" aria-label="Alerts">
      <h2>Alerts</h2>
      <p>
        <span class={`dot ${fires ? "bad" : "good"}`} />{" "}
        {fires ? "Some are firing: see above." : "No alert is firing."}
      </p>
      <ul class="alert-list past" aria-label="Past alerts">
        {past.map((alert) => (
          <AlertItem key={alert.id} alert={alert} />
        ))}
      </ul>
      <Silences
        fires={alerts.data.map((alert) => alert.silenced_until).join()}
        rules={alerts.rules}
      />
      <Rules rules={alerts.rules} />
    </section>
  );
}

function AlertItem({ alert, changed }: { alert: AlertView; changed?: () => void }): JSX.Element {
  const firing = alert.state === "firing";
  const labels = Object.entries(alert.labels).map(([name, value]) => `${name} ${value}`);
  return (
    <li class={alert.severity}>
      <div>
        <p>
          <span class={`chip ${firing ? tone(alert.severity) : "idle"}`}>
            {firing ? alert.severity : "resolved"}
          </span>{" "}
          <strong>{alert.title}</strong>
          {labels.length > 0 && <span class="muted"> {labels.join(", ")}</span>}
        </p>
        <p>{alert.message}</p>
        <p class="muted small">
          Since {moment(alert.started_at)}
          {alert.resolved_at
            ? `, until ${moment(alert.resolved_at)}`
            : `, ${ago(alert.started_at)}`}
          {alert.silenced_until && `, silenced until ${moment(alert.silenced_until)}`}
        </p>
      </div>
      {changed && !alert.silenced_until && <SilenceMenu alert={alert} changed={changed} />}
    </li>
  );
}

function tone(severity: string): string {
  return severity === "high" ? "bad" : "warn";
}

function SilenceMenu({
  alert: { rule, title },
  changed,
}: {
  alert: AlertView;
  changed: () => void;
}): JSX.Element {
  const action = useAction();

  async function silence(seconds: number): Promise<void> {
    const body = { rule, seconds, comment: "from the console" };
    await ask("/v1/monitoring/alerts/silences", { method: "POST", body });
    changed();
  }

  return (
    <div class="silence">
      <label>
        <span class="visually-hidden">Silence “{title}” for</span>
        <select
          class="small"
          value=""
          onChange={({ currentTarget: { value } }) => void action.run(() => silence(Number(value)))}
        >
          <option value="">Silence for</option>
          {SILENCES.map(([seconds, text]) => (
            <option key={seconds} value={seconds}>
              {text}
            </option>
          ))}
        </select>
      </label>
      {action.error !== null && <ErrorNotice error={action.error} doing="Silencing" />}
    </div>
  );
}

/** Silences that hold, to be ended early; read again when the alerts' own `silenced_until` change. */
function Silences({ fires, rules }: { fires: string; rules: RuleView[] }): JSX.Element | null {
  const ending = useAction();
  const read = usePoll(
    (signal) => ask<{ data: SilenceView[] }>("/v1/monitoring/alerts/silences", { signal }),
    30,
    [fires],
  );
  const silences = read.data?.data ?? [];
  const titles = new Map(rules.map((rule) => [rule.name, rule.title]));
  const title = (one: SilenceView): string => titles.get(one.rule) ?? words(one.rule);

  async function end(id: string): Promise<void> {
    await ask(`/v1/monitoring/alerts/silences/${encodeURIComponent(id)}`, { method: "DELETE" });
    read.again();
  }

  if (silences.length === 0) return null;
  return (
    <>
      <h3>Silences</h3>
      <ul class="silences" aria-label="Silences">
        {silences.map((one) => (
          <li key={one.id}>
            <span>
              {title(one)} until {moment(one.ends_at)}
              <span class="muted">
                {" "}
                by {one.created_by}
                {one.comment && `, ${one.comment}`}
              </span>
            </span>
            <button
              type="button"
              class="button small"
              aria-label={`End the silence of “${title(one)}”`}
              onClick={() => void ending.run(() => end(one.id))}
            >
              End
            </button>
          </li>
        ))}
      </ul>
      {ending.error !== null && <ErrorNotice error={ending.error} doing="Ending the silence" />}
    </>
  );
}

function Rules({ rules }: { rules: RuleView[] }): JSX.Element {
  return (
    <details class="rules">
      <summary>All {rules.length} rules</summary>
      <TableFrame label="Alert rules">
        <table>
          <Columns texts={["Rule", "Severity", "Fires when", "State"]} />
          <tbody>
            {rules.map((rule) => (
              <tr key={rule.name}>
                <td>{rule.title}</td>
                <td>{rule.severity}</td>
                <td class="wrap">{rule.expression}</td>
                <td>{rule.state}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableFrame>
    </details>
  );
}
