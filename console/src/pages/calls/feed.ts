// The log of calls: the newest that fit, kept up by a cursor, and older ones a page at a time.

import { ask } from "../../api/client";
import type { Calls, CallView } from "../../api/types";

const KEPT = 200; // calls that the page holds while nobody asks for older ones
const PAGE = 200; // calls in one answer
const MOST_PAGES = 5; // answers read in one turn; what lies before them is passed over

export type Kind = "all" | "ok" | "refused" | "failed";

/** What calls are wanted: words that stand in their names and ids, what their outcome amounts to, and
 * before when they ended (empty: until now). */
export interface Wanted {
  text: string;
  kind: Kind;
  end: string;
}

/** What was read so far: newest first, where to read on, and whether there may be older ones. */
export interface Feed {
  calls: readonly CallView[];
  cursor: string;
  more: boolean;
}

export const EMPTY: Feed = { calls: [], cursor: "", more: false };

/** The feed with all calls that have ended since.
 *
 * @throws ApiError, Away.
 */
export async function readOn(feed: Feed, wanted: Wanted, signal: AbortSignal): Promise<Feed> {
  if (feed.cursor === "") {
    const { data, cursor } = await ask<Calls>(path(wanted), { signal });
    return { calls: data, cursor, more: data.length === PAGE };
  }
  let { calls, cursor, more } = feed;
  const kept = Math.max(KEPT, calls.length);
  for (let turn = 0; turn < MOST_PAGES; turn++) {
    const next = await ask<Calls>(path(wanted, cursor), { signal });
    calls = [...next.data, ...calls];
    const end = next.cursor === cursor || next.cursor === "";
    cursor = next.cursor;
    if (end) break;
  }
  more ||= calls.length > kept;
  return { calls: calls.slice(0, kept), cursor, more };
}

/** A page of calls that ended before the last one of a feed, or with it.
 *
 * @throws ApiError, Away.
 */
export async function readBack(feed: Feed, wanted: Wanted): Promise<readonly CallView[]> {
  const last = feed.calls.at(-1);
  if (last === undefined) return [];
  // Times are told to the millisecond: others of that one may be missing yet.
  const end = new Date(Date.parse(last.time) + 1).toISOString();
  return (await ask<Calls>(path({ ...wanted, end }))).data;
}

/** The feed with such a page, whatever came to it meanwhile. */
export function longer(feed: Feed, page: readonly CallView[]): Feed {
  const known = new Set(feed.calls.map((call) => call.id));
  const older = page.filter((call) => !known.has(call.id));
  return { ...feed, calls: [...feed.calls, ...older], more: older.length > 0 };
}

function path({ text, kind, end }: Wanted, after = ""): string {
  const query = new URLSearchParams({ limit: String(PAGE), kind });
  if (text.trim()) query.set("search", text.trim());
  if (end) query.set("end", new Date(end).toISOString());
  if (after) query.set("after", after);
  return `/v1/monitoring/calls?${query}`;
}

/** What a call's outcome amounts to. */
export function kind(call: CallView): "ok" | "refused" | "failed" | "left" {
  if (call.outcome === "ok") return "ok";
  if (["client_closed", "CLIENT_DEADLINE"].includes(call.outcome)) return "left";
  return call.status >= 500 ? "failed" : "refused";
}
