import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import { usePoll } from "../../lib/poll";
import { Icon } from "../../ui/icons";
import { ErrorNotice } from "../../ui/notice";
import { PageHead } from "../../ui/page-head";
import { Segmented } from "../../ui/segmented";
import { EMPTY, type Feed, type Kind, matching, readOn } from "./feed";
import { CallTable } from "./table";

const KINDS = [
  ["all", "All"],
  ["ok", "OK"],
  ["refused", "Refused"],
  ["failed", "Failed"],
] as const;
const PACE = 1.5; // seconds between two looks

export function CallsPage(): JSX.Element {
  const feed = useRef<Feed>(EMPTY);
  const paused = useSignal(false);
  const wanted = useSignal<Kind>("all");
  const text = useSignal("");
  const polled = usePoll(
    async (signal) => {
      if (!paused.peek()) feed.current = await readOn(feed.current, signal);
      return feed.current;
    },
    paused.value ? 0 : PACE,
    [],
  );
  const all = polled.data?.calls ?? [];
  const seen = matching(all, wanted.value, text.value);

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
          value={wanted.value}
          onChange={(chosen) => {
            wanted.value = chosen;
          }}
        />
        <label class="search">
          <span class="visually-hidden">Filter by key, model, route or request id</span>
          <Icon name="filter" />
          <input
            type="search"
            placeholder="Key, model, route, request id"
            value={text.value}
            onInput={(event) => {
              text.value = event.currentTarget.value;
            }}
          />
        </label>
        <p class="muted" role="status">
          {paused.value ? "Paused" : "Live"}, {seen.length} of {all.length}
        </p>
      </div>
      {polled.error !== null && <ErrorNotice error={polled.error} doing="Loading the calls" />}
      {polled.data !== null && <CallTable calls={seen} filtered={seen.length < all.length} />}
    </>
  );
}
