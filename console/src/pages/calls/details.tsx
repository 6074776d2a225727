import type { JSX } from "preact";
import type { CallView } from "../../api/types";
import { count, decimal, duration, moment, UNKNOWN } from "../../lib/format";

/** All that is known of a call. */
export function Details({ call }: { call: CallView }): JSX.Element {
  const facts: [string, string][] = [
    ["Ended", moment(call.time)],
    ["Status", `${call.status} ${call.outcome}`],
    ["Field at fault", call.refused_field || UNKNOWN],
    ["Request id", call.request_id],
    ["Engine request id", call.id],
    ["Tier", call.tier],
    ["Stream", call.stream ? "yes" : "no"],
    ["Finish reason", call.finish_reason || UNKNOWN],
    ["Answered by", call.upstream || UNKNOWN],
    ["Queue time", duration(call.queue_time)],
    ["Tokens per second", call.tokens_per_second ? decimal(call.tokens_per_second) : UNKNOWN],
    ["Cached tokens", count(call.cached_tokens)],
    ["Reasoning tokens", count(call.reasoning_tokens)],
    ["Input characters", count(call.input_length)],
    ["Changed", call.changes || UNKNOWN],
    ["Policy noted", call.flagged || UNKNOWN],
    ["Preset", call.prompt_id ? `${call.prompt_id}, version ${call.prompt_version}` : UNKNOWN],
    ["Token counts", call.usage_estimated ? "estimated" : "from the engine"],
    ["Memory", `${count(call.memory_mb)} MB`],
    ["GPU memory", call.gpu_memory_mb ? `${count(call.gpu_memory_mb)} MB` : UNKNOWN],
  ];
  return (
    <dl class="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
