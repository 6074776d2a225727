import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { ask } from "../../api/client";
import type { Alert, Alerts, Rule } from "../../api/types";
import { ago, moment, words } from "../../lib/format";
import { noticeRefusal } from "../../state/session";
import { ErrorNotice } from "../../ui/notice";
import { TableFrame } from "../../ui/table-frame";

const SILENCES = [
  [3600, "1 hour"],
  [8 * 3600, "8 hours"],
  [24 * 3600, "1 day"],
] as const;
const PAST = 8; // resolved alerts that are listed

/** What is wrong now, to stand above everything else. */
export function Firing({ alerts, changed }: { alerts: Alerts; changed: () => void }): JSX.Element {
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
export function AlertHistory({ alerts }: { alerts: Alerts }): JSX.Element {
  const past = alerts.data.filter((alert) => alert.state === "resolved").slice(0, PAST);
  const fires = alerts.data.some((alert) => alert.state === "firing");
  return (
    <section class="alerts" aria-label="Alerts">
      <h2>Alerts</h2>
      <p>
        <span class={`dot ${fires ? "bad" : "good"}`} />{" "}
        {fires ? "Some fire: see above." : "Nothing fires."}
      </p>
      <ul class="alert-list past" aria-label="Past alerts">
        {past.map((alert) => (
          <AlertItem key={alert.id} alert={alert} />
        ))}
      </ul>
      <Rules rules={alerts.rules} />
    </section>
  );
}

function AlertItem({ alert, changed }: { alert: Alert; changed?: () => void }): JSX.Element {
  const firing = alert.state === "firing";
  const labels = Object.entries(alert.labels).map(([name, value]) => `${name} ${value}`);
  return (
    <li class={alert.severity}>
      <div>
        <p>
          <span class={`chip ${firing ? tone(alert.severity) : "idle"}`}>
            {firing ? alert.severity : "resolved"}
          </span>{" "}
          <strong>{words(alert.rule)}</strong>
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
      {changed && !alert.silenced_until && <Silence rule={alert.rule} changed={changed} />}
    </li>
  );
}

function tone(severity: string): string {
  return severity === "critical" || severity === "error" ? "bad" : "warn";
}

function Silence({ rule, changed }: { rule: string; changed: () => void }): JSX.Element {
  const problem = useSignal<unknown>(null);

  async function silence(seconds: number): Promise<void> {
    try {
      const body = { rule, seconds, comment: "from the console" };
      await ask("/v1/monitoring/alerts/silences", { method: "POST", body });
      changed();
    } catch (error) {
      noticeRefusal(error);
      problem.value = error;
    }
  }

  return (
    <div class="silence">
      <label>
        <span class="visually-hidden">Silence {words(rule)} for</span>
        <select
          class="small"
          value=""
          onChange={(event) => void silence(Number(event.currentTarget.value))}
        >
          <option value="">Silence for</option>
          {SILENCES.map(([seconds, text]) => (
            <option key={seconds} value={seconds}>
              {text}
            </option>
          ))}
        </select>
      </label>
      {problem.value !== null && <ErrorNotice error={problem.value} doing="Silencing" />}
    </div>
  );
}

function Rules({ rules }: { rules: Rule[] }): JSX.Element {
  return (
    <details class="rules">
      <summary>All {rules.length} rules</summary>
      <TableFrame label="Alert rules">
        <table>
          <thead>
            <tr>
              <th scope="col">Rule</th>
              <th scope="col">Severity</th>
              <th scope="col">Fires when</th>
              <th scope="col">State</th>
            </tr>
          </thead>
          <tbody>
            {rules.map((rule) => (
              <tr key={rule.name}>
                <td>{words(rule.name)}</td>
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
