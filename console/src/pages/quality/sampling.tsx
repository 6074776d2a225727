import type { JSX } from "preact";
import { share } from "../../lib/format";
import { Notice } from "../../ui/notice";

const EXAMPLE = `tiers:
  default:
    quality_sample: 0.02   # 2% of the calls`;

/** Which calls are judged, and how to have others judged. */
export function SamplingNote({ tiers }: { tiers: Record<string, number> }): JSX.Element {
  const all = Object.entries(tiers);
  const on = all.filter(([, part]) => part > 0);
  const off = all.filter(([, part]) => part === 0).map(([name]) => name);
  if (on.length > 0) {
    return (
      <p class="sampling muted">
        Sampling judges{" "}
        {on.map(([name, part]) => `${share(part)} of the calls of tier ${name}`).join(", ")}
        {off.length > 0 && `, none of ${off.join(", ")}`}: see <code>quality_sample</code> of each
        tier.
      </p>
    );
  }
  return (
    <Notice tone="info" title="Sampling is off: no answer is judged.">
      <p>
        To judge some, give a tier ({off.join(", ")}) a <code>quality_sample</code> in{" "}
        <code>gateway.yaml</code>, and restart the gateway:
      </p>
      <pre>
        <code>{EXAMPLE}</code>
      </pre>
      <p>
        It reads what callers and model say, and keeps only the scores. Feedback that callers send
        to <code>POST /v1/feedback</code> is shown here in any case.
      </p>
    </Notice>
  );
}
