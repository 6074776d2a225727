import { useSignal } from "@preact/signals";
import { noticeRefusal } from "../state/session";

export interface Action {
  busy: boolean;
  /** What the last run ended with; null after a good one. */
  error: unknown;
  run: (work: () => Promise<void>) => Promise<void>;
}

/** Something that changes the gateway: once at a time, its failure kept to be shown. */
export function useAction(): Action {
  const busy = useSignal(false);
  const error = useSignal<unknown>(null);

  async function run(work: () => Promise<void>): Promise<void> {
    if (busy.peek()) return;
    busy.value = true;
    error.value = null;
    try {
      await work();
    } catch (reason) {
      noticeRefusal(reason);
      error.value = reason;
    } finally {
      busy.value = false;
    }
  }

  return { busy: busy.value, error: error.value, run };
}
