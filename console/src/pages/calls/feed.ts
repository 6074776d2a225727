// The live log: the newest calls, kept up by a cursor.

import { ask } from "../../api/client";
import type { Calls, CallView } from "../../api/types";

const KEPT = 500; // calls that the page holds
const PAGE = 200; // calls in one answer
const MOST_PAGES = 5; // answers read in one turn; what lies before them is passed over

/** What was read so far: newest first, and where to read on. */
export interface Feed {
  calls: readonly CallView[];
  cursor: string;
}

export const EMPTY: Feed = { calls: [], cursor: "" };

/** The feed with all calls that have ended since.
 *
 * @throws ApiError, Away.
 */
export async function readOn(feed: Feed, signal: AbortSignal): Promise<Feed> {
  if (feed.cursor === "") {
    const newest = await ask<Calls>(`/v1/monitoring/calls?limit=${PAGE}`, { signal });
    return { calls: newest.data, cursor: newest.cursor };
  }
  let { calls, cursor } = feed;
  for (let turn = 0; turn < MOST_PAGES; turn++) {
    const path = `/v1/monitoring/calls?limit=${PAGE}&after=${encodeURIComponent(cursor)}`;
    const next = await ask<Calls>(path, { signal });
    calls = [...next.data, ...calls].slice(0, KEPT);
    cursor = next.cursor;
    if (next.data.length < PAGE || cursor === "") break;
  }
  return { calls, cursor };
}

export type Kind = "all" | "ok" | "refused" | "failed";

/** What a call's outcome amounts to. */
export function kind(call: CallView): "ok" | "refused" | "failed" | "left" {
  if (call.outcome === "ok") return "ok";
  if (["client_closed", "CLIENT_DEADLINE"].includes(call.outcome)) return "left";
  return call.status >= 500 ? "failed" : "refused";
}

/** The calls that fit: by kind, and by words that their names contain. */
export function matching(calls: readonly CallView[], wanted: Kind, text: string): CallView[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return calls.filter((call) => {
    if (wanted !== "all" && kind(call) !== wanted) return false;
    const hay = [call.key_id, call.model, call.route, call.tier, call.outcome, call.upstream];
    const said = [...hay, call.request_id, call.id].join(" ").toLowerCase();
    return words.every((word) => said.includes(word));
  });
}
