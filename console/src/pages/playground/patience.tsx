import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { duration } from "../../lib/format";
import { AgainButton } from "./again-button";

/** Counts down the gateway's retry-after, then offers another try. */
export function Patience({ seconds }: { seconds: number }): JSX.Element {
  const left = useSignal(seconds);

  useEffect(() => {
    const end = performance.now() + seconds * 1000;
    const timer = setInterval(() => {
      left.value = Math.max(0, Math.ceil((end - performance.now()) / 1000));
      if (left.value === 0) clearInterval(timer);
    }, 250);
    return () => clearInterval(timer);
  }, [seconds, left]);

  if (left.value === 0) return <AgainButton word="Try again" />;
  return <p class="turn-note">There is room again in {duration(left.value)}.</p>;
}
