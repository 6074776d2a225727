import { useSignal } from "@preact/signals";
import { useCallback, useEffect, useRef } from "preact/hooks";
import { reachable } from "../api/client";
import { Away, aborted } from "../api/errors";
import { returns } from "../state/link";
import { noticeRefusal } from "../state/session";

export interface Polled<T> {
  /** The last good answer; it stays while later ones fail. */
  data: T | null;
  /** What the last try ended with; null after a good one, and while nobody answers, which the banner
   * tells for every page. */
  error: unknown;
  again: () => void;
}

/** Reads now, every so often while the page is seen, and again when the gateway is back.
 *
 * @param read asks the gateway; a new function (a changed dependency) is asked at once.
 * @param seconds between the end of one answer and the next question; 0: never by itself.
 */
export function usePoll<T>(
  read: (signal: AbortSignal) => Promise<T>,
  seconds: number,
  dependencies: readonly unknown[],
): Polled<T> {
  const data = useSignal<T | null>(null);
  const error = useSignal<unknown>(null);
  const start = useRef<() => void>(() => undefined);
  const back = returns.value;

  // `read` is a new function on every rendering; `dependencies` say when it asks something else.
  useEffect(() => {
    const leaving = new AbortController();
    let timer: number | undefined;
    let asking = false;

    async function ask(): Promise<void> {
      clearTimeout(timer);
      if (asking || leaving.signal.aborted || document.hidden) return;
      asking = true;
      try {
        const found = await read(leaving.signal);
        if (leaving.signal.aborted) return;
        data.value = found;
        error.value = null;
      } catch (reason) {
        if (leaving.signal.aborted || aborted(reason)) return;
        noticeRefusal(reason);
        error.value = reason instanceof Away ? null : reason;
      } finally {
        asking = false;
      }
      // While nobody answers, the link looks out; its return starts this effect anew.
      if (seconds > 0 && reachable.peek()) timer = setTimeout(ask, seconds * 1000);
    }

    start.current = () => void ask();
    document.addEventListener("visibilitychange", start.current);
    const listener = start.current;
    void ask();
    return () => {
      leaving.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", listener);
    };
  }, [...dependencies, seconds, back]);

  const again = useCallback(() => start.current(), []);
  return { data: data.value, error: error.value, again };
}
