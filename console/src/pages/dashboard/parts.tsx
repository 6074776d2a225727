import type { ComponentChildren, JSX } from "preact";
import { count, decimal, duration } from "../../lib/format";
import { state } from "../../state/link";

/** The engine, the store and this process, as they are now. */
export function Parts(): JSX.Element | null {
  const now = state.value;
  if (now === null) return null;
  const { engine, store, upstreams } = now;
  return (
    <>
      <section class="parts" aria-label="Parts">
        <Part name="Engine" tone={engine.ready ? "good" : "bad"}>
          {engine.ready ? "ready" : "not ready"},{" "}
          {engine.kind === "local" ? "in process" : servers(upstreams.length)}
          {now.models.length > 0 && <small>{now.models.join(", ")}</small>}
        </Part>
        <Part name="Redis" tone={store.status === "available" ? "good" : "warn"}>
          {store.status}
          {store.outages > 0 && (
            <small>
              unavailable {count(store.outages)} {store.outages === 1 ? "time" : "times"} since the
              start
            </small>
          )}
        </Part>
        <Part name="In flight" tone={now.in_flight < now.in_flight_limit ? "good" : "bad"}>
          {count(now.in_flight)} of {count(now.in_flight_limit)}
        </Part>
        <Part name="Process" tone="good">
          {decimal(Math.round(now.memory_mb))} MB
          <small>
            event loop {duration(now.event_loop_lag_seconds)} late, version {now.version}
          </small>
        </Part>
      </section>
      {upstreams.length > 0 && (
        <ul class="upstreams" aria-label="Servers behind the gateway">
          {upstreams.map((one) => (
            <li key={one.upstream}>
              <span class={`dot ${one.available ? "good" : "bad"}`} />
              {one.upstream}
              <span class="muted">
                {one.available ? `${count(one.in_flight)} in flight` : "ejected"}
                {one.trouble && `: ${one.trouble}`}
              </span>
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

function Part(props: { name: string; tone: string; children: ComponentChildren }): JSX.Element {
  return (
    <div class="part">
      <h3>
        <span class={`dot ${props.tone}`} />
        {props.name}
      </h3>
      <p>{props.children}</p>
    </div>
  );
}

function servers(many: number): string {
  return `${many} ${many === 1 ? "server" : "servers"} behind`;
}
