import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { useAction } from "../../lib/action";
import { usePoll } from "../../lib/poll";
import { Icon } from "../../ui/icons";
import { ErrorNotice } from "../../ui/notice";
import { PageHead } from "../../ui/page-head";
import { Segmented } from "../../ui/segmented";
import { EMPTY, type Feed, type Kind, longer, readBack, readOn, type Wanted } from "./feed";
import { CallTable } from "./table";

const KINDS = [
  ["all", "All"],
  ["ok", "OK"],
  ["refused", "Refused"],
  ["failed", "Failed"],
] as const;
const PACE = 1.5; // seconds between two looks
const TYPING = 300; // ms without a key after which a text is looked for

export function CallsPage(): JSX.Element {
  const feed = useRef<Feed>(EMPTY);
  const paused = useSignal(false);
  const typed = useSignal("");
  const wanted = useSignal<Wanted>({ text: "", kind: "all", end: "" });
  const back = useAction();
  const now = wanted.value;
  const still = paused.value || now.end !== "";
  const polled = usePoll(
    async (signal) => {
      if (!still || feed.current === EMPTY) {
        const before = feed.current;
        const read = await readOn(before, now, signal);
        if (feed.current === before) feed.current = read; // else it reads on at the next turn
      }
      return feed.current;
    },
    still ? 0 : PACE,
    [now],
  );

  function look(part: Partial<Wanted>): void {
    feed.current = EMPTY;
    wanted.value = { ...wanted.peek(), ...part };
  }

  useEffect(() => {
    const timer = setTimeout(() => {
      if (typed.value !== wanted.peek().text) look({ text: typed.value });
    }, TYPING);
    return () => clearTimeout(timer);
  }, [typed.value]);

  async function readOlder(): Promise<void> {
    const page = await readBack(feed.current, now);
    if (wanted.peek() !== now) return; // something else is looked for by now
    feed.current = longer(feed.current, page);
    polled.again();
  }

  const { calls, more } = polled.data ?? EMPTY;
  const filtered = now.text !== "" || now.kind !== "all" || now.end !== "";
  const state = paused.value ? "Paused" : now.end ? "Past calls" : "Live";
  return (
    <>
      <PageHead title="Calls" about="Every call as it ends, without its content.">
        <button
          type="button"
          class="button"
          aria-pressed={paused.value}
          onClick={() => {
            paused.value = !paused.value;
          }}
        >
          <Icon name={paused.value ? "play" : "pause"} />
          <span>{paused.value ? "Resume" : "Pause"}</span>
        </button>
      </PageHead>
      <div class="filters">
        <Segmented
          label="Outcome"
          options={KINDS}
          value={now.kind}
          onChange={(kind: Kind) => look({ kind })}
        />
        <label class="search">
          <span class="visually-hidden">Search by key, model, route or request id</span>
          <Icon name="filter" />
          <input
            type="search"
            maxLength={200}
            placeholder="Key, model, route, request id"
            value={typed.value}
            onInput={(event) => {
              typed.value = event.currentTarget.value;
            }}
          />
        </label>
        <label class="until">
          <span>Before</span>
          <input
            type="datetime-local"
            value={now.end}
            onChange={(event) => look({ end: event.currentTarget.value })}
          />
        </label>
        <p class="muted" role="status">
          {state}, {calls.length} shown
        </p>
      </div>
      {polled.error !== null && <ErrorNotice error={polled.error} doing="Loading the calls" />}
      {polled.data !== null && <CallTable calls={calls} filtered={filtered} />}
      {back.error !== null && <ErrorNotice error={back.error} doing="Loading older calls" />}
      {more && (
        <button
          type="button"
          class="button more"
          disabled={back.busy}
          onClick={() => void back.run(readOlder)}
        >
          Older calls
        </button>
      )}
    </>
  );
}
