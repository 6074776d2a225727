// The pulse: is the gateway there, is its store there, is an engine ready? Polled while the page is
// seen; pages that show figures wait while nobody answers, and read again as soon as somebody does.

import { computed, effect, signal } from "@preact/signals";
import { ask, reachable } from "../api/client";
import type { State, UsageReport } from "../api/types";
import { isOperator, noticeRefusal, self } from "./session";

const CALM = 5_000; // ms between two looks
const RETRIES = [1_000, 1_000, 2_000, 3_000, 5_000]; // ms between tries, the last for all further

/** The gateway's state, as operators may see it. */
export const state = signal<State | null>(null);

/** Whether the store (Redis) answers the gateway. */
export const storeAway = signal(false);

/** Tries since the gateway stopped answering. */
export const tries = signal(0);

/** Counts the returns of the gateway. */
export const returns = signal(0);

/** Operators only: calls are refused because no engine is ready. */
export const engineAway = computed(() => state.value !== null && !state.value.engine.ready);

let timer: number | undefined;
let running = false;

async function look(): Promise<void> {
  if (running || document.hidden || self.peek() === null) return;
  running = true;
  clearTimeout(timer);
  try {
    if (isOperator.peek()) {
      state.value = await ask<State>("/v1/monitoring/state");
      storeAway.value = state.value.store.status !== "available";
    } else {
      storeAway.value = (await ask<UsageReport>("/v1/usage")).degraded;
    }
  } catch (error) {
    noticeRefusal(error);
  }
  running = false;
  if (self.peek() === null) return;
  if (reachable.peek()) {
    tries.value = 0;
    timer = setTimeout(look, CALM);
  } else {
    timer = setTimeout(look, RETRIES[Math.min(tries.peek(), RETRIES.length - 1)]);
    tries.value++;
  }
}

/** Look now instead of at the next turn. */
export function lookNow(): void {
  void look();
}

/** Begin to look, for as long as somebody is signed in. */
export function startLink(): void {
  effect(() => {
    if (self.value !== null) void look();
    else state.value = null;
  });
  let wasAway = false;
  effect(() => {
    if (reachable.value && wasAway) returns.value = returns.peek() + 1;
    wasAway = !reachable.value;
    if (wasAway) lookNow();
  });
  document.addEventListener("visibilitychange", lookNow);
}
