// The page that is shown: the part of the address after #/.

import { computed, signal } from "@preact/signals";
import { isOperator } from "./session";

export type Page =
  | "playground"
  | "transcripts"
  | "dashboard"
  | "keys"
  | "calls"
  | "quality"
  | "usage";

export const TITLES: Record<Page, string> = {
  playground: "Playground",
  transcripts: "Transcripts",
  dashboard: "Dashboard",
  keys: "Keys & usage",
  calls: "Calls",
  quality: "Answer quality",
  usage: "My usage",
};

const FOR_OPERATORS = Object.keys(TITLES) as Page[];
const FOR_ALL: Page[] = ["playground", "transcripts", "usage"];

const wanted = signal(read());

function read(): string {
  return location.hash.replace(/^#\/?/, "");
}

addEventListener("hashchange", () => {
  wanted.value = read();
});

/** Pages that the signed-in key may see. */
export const pages = computed<Page[]>(() => (isOperator.value ? FOR_OPERATORS : FOR_ALL));

/** The page now; the playground for an address that names none of this key's. */
export const page = computed<Page>(
  () => pages.value.find((name) => name === wanted.value) ?? "playground",
);
