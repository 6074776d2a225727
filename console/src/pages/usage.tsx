import type { JSX } from "preact";
import { ask } from "../api/client";
import type { KeyView, Tokens, UsageReport, WindowUsage } from "../api/types";
import { compact, count, date, duration, stretch } from "../lib/format";
import { usePoll } from "../lib/poll";
import { self } from "../state/session";
import { Columns } from "../ui/columns";
import { Figure } from "../ui/figure";
import { ErrorNotice } from "../ui/notice";
import { PageHead } from "../ui/page-head";
import { TableFrame } from "../ui/table-frame";

/** What the signed-in key has used and may still use. */
export function UsagePage(): JSX.Element {
  const usage = usePoll((signal) => ask<UsageReport>("/v1/usage", { signal }), 4, []);
  const key = self.value;
  const now = usage.data;
  return (
    <>
      <PageHead title="My usage" about={key ? about(key) : ""} />
      {usage.error !== null && <ErrorNotice error={usage.error} doing="Loading the usage" />}
      {now && (
        <>
          <section class="section" aria-label="Limits">
            <h2>Limits</h2>
            <ul class="meters">
              {now.windows.map((window) => (
                <Meter key={window.seconds} of="requests" window={window} />
              ))}
              {now.audio_windows.map((window) => (
                <Meter key={`audio ${window.seconds}`} of="seconds of audio" window={window} />
              ))}
            </ul>
          </section>
          <section class="section" aria-label="Used">
            <h2>Used</h2>
            <dl class="figures">
              <Figure
                label="Requests, last hour (refused ones too)"
                value={count(now.requests_last_hour)}
              />
              <Figure label="Calls today" value={count(now.today.calls)} />
              <Figure label="Tokens today" value={compact(now.today.total_tokens)}>
                {compact(now.today.prompt_tokens)} in, {compact(now.today.completion_tokens)} out
              </Figure>
              <Figure label="All calls" value={compact(now.all_time.calls)} />
              <Figure label="All tokens" value={compact(now.all_time.total_tokens)}>
                {compact(now.all_time.prompt_tokens)} in, {compact(now.all_time.completion_tokens)}{" "}
                out
              </Figure>
            </dl>
          </section>
          <ByModel models={now.all_time.models} />
        </>
      )}
    </>
  );
}

function about(key: KeyView): string {
  const models = key.models.length > 0 ? key.models.join(", ") : "all models";
  const until = key.expires ? `, until ${date(key.expires)}` : "";
  return `Key ${key.name}, tier ${key.tier}, ${models}${until}. Days are counted in UTC.`;
}

function Meter({ of, window }: { of: string; window: WindowUsage }): JSX.Element {
  const used = window.limit - window.remaining;
  return (
    <li>
      <p>
        <strong>{count(window.remaining)}</strong> of {count(window.limit)} {of} left in any{" "}
        {stretch(window.seconds)}
      </p>
      <meter min={0} max={window.limit} value={used} high={window.limit * 0.9}>
        {used} used
      </meter>
      <p class="muted small">
        {window.reset_seconds > 0
          ? `The first of them is free again in ${duration(window.reset_seconds)}`
          : "None used"}
      </p>
    </li>
  );
}

function ByModel({ models }: { models: Record<string, Tokens> }): JSX.Element | null {
  const rows = Object.entries(models).filter(([name]) => name !== "");
  if (rows.length === 0) return null;
  return (
    <section class="section" aria-label="By model">
      <h2>By model</h2>
      <TableFrame label="By model, table">
        <table>
          <Columns texts={["Model"]} numbers={["Calls", "Tokens in", "From cache", "Tokens out"]} />
          <tbody>
            {rows.map(([name, tokens]) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td class="number">{count(tokens.calls)}</td>
                <td class="number">{count(tokens.prompt_tokens)}</td>
                <td class="number">{count(tokens.cached_tokens)}</td>
                <td class="number">{count(tokens.completion_tokens)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableFrame>
    </section>
  );
}
