// What the gateway's routes take and answer. Times are ISO 8601 in UTC; durations are seconds.

export type Scope = "operator";

export interface Period {
  calls: number;
  total_tokens: number;
}

export interface Spend extends Period {
  /** null: no model that was used has a price. */
  cost: number | null;
}

export interface Window {
  limit: number;
  seconds: number;
}

/** A key as its owner and operators see it: never the secret. */
export interface KeyView {
  id: string;
  name: string;
  tier: string;
  models: string[];
  scopes: Scope[];
  created: string | null;
  expires: string | null;
  source: "settings" | "store";
  windows: Window[] | null;
  state: "active" | "expired" | "revoked";
  /** null: the store is away. */
  usage: { today: Spend; all_time: Spend } | null;
}

/** The answer that shows a secret, once. */
export interface NewKey extends KeyView {
  key: string;
}

export interface TierView {
  windows: Window[];
  max_tokens_cap: number;
}

export interface KeyList {
  data: KeyView[];
  /** `after` of the next page; null: this is the last. */
  cursor: string | null;
  tiers: Record<string, TierView>;
}

export interface KeyDraft {
  name: string;
  tier: string;
  models: string[];
  scopes: Scope[];
  expires: string | null;
  windows: Window[] | null;
}

export interface ModelList {
  data: { id: string }[];
}

export interface Tokens extends Period {
  prompt_tokens: number;
  completion_tokens: number;
  cached_tokens: number;
}

export interface OwnUsage {
  requests_last_hour: number;
  remaining_requests: number;
  reset_time: string | null;
  windows: { limit: number; seconds: number; remaining: number; reset_seconds: number }[];
  today: Tokens & { models: Record<string, Tokens> };
  all_time: Tokens & { models: Record<string, Tokens> };
  degraded: boolean;
}

/** p50, p95 and p99 in seconds; null where nothing was measured. */
export interface Percentiles {
  p50: number | null;
  p95: number | null;
  p99: number | null;
}

export interface Point {
  time: string;
  requests: number;
  ok: number;
  failed: number;
  refused: number;
  client_closed: number;
  limited: number;
  filtered: number;
  input_tokens: number;
  output_tokens: number;
  response_time: Percentiles;
  time_to_first_token: Percentiles;
}

export type Range = "1h" | "6h" | "24h" | "7d";

export interface Totals {
  requests: number;
  ok: number;
  failed: number;
  output_tokens: number;
}

export interface Series {
  range: Range;
  step_seconds: number;
  points: Point[];
  by_model: Record<string, Totals>;
  by_route: Record<string, Totals>;
  by_outcome: Record<string, number>;
}

export interface Summary {
  total: number;
  successful: number;
  failed: number;
  refused: number;
  client_closed: number;
  success_rate: number | null;
  error_rate: number | null;
  average_response_time: number | null;
  p95_response_time: number | null;
  average_time_to_first_token: number | null;
  p95_time_to_first_token: number | null;
  average_tokens_per_second: number | null;
  total_tokens: number;
}

export interface Performance {
  summary: Summary;
}

export interface State {
  status: string;
  version: string;
  models: string[];
  store: { status: "available" | "away"; failures: number; outages: number };
  engine: { kind: "local" | "upstream"; ready: boolean };
  upstreams: { upstream: string; available: boolean; in_flight: number }[];
  in_flight: number;
  in_flight_limit: number;
  memory_mb: number;
  event_loop_lag_seconds: number | null;
  alerts_firing: number;
}

export interface Alert {
  id: string;
  rule: string;
  severity: string;
  state: "firing" | "resolved";
  message: string;
  value: number;
  threshold: number;
  labels: Record<string, string>;
  started_at: string;
  resolved_at: string | null;
  silenced_until: string | null;
}

export interface Rule {
  name: string;
  severity: string;
  expression: string;
  state: "off" | "inactive" | "pending" | "firing";
}

export interface Silence {
  id: string;
  rule: string;
  comment: string;
  created_by: string;
  created_at: string;
  ends_at: string;
}

export interface Alerts {
  data: Alert[];
  rules: Rule[];
}

/** One finished call, without content. */
export interface CallRecord {
  time: string;
  id: string;
  request_id: string;
  key_id: string;
  tier: string;
  route: string;
  model: string;
  stream: boolean;
  status: number;
  outcome: string;
  response_time: number;
  time_to_first_token: number | null;
  queue_time: number | null;
  input_tokens: number;
  output_tokens: number;
  cached_tokens: number;
  reasoning_tokens: number;
  usage_estimated: boolean;
  finish_reason: string;
  input_length: number;
  upstream: string;
  memory_mb: number;
  gpu_memory_mb: number;
}

/** Newest first. */
export interface CallPage {
  data: CallRecord[];
  /** Empty while the store is away. */
  cursor: string;
}

export interface UsageRow {
  key_id: string;
  name: string;
  model: string;
  day: string;
  calls: number;
  input_tokens: number;
  output_tokens: number;
  cached_tokens: number;
  /** null: the model has no price. */
  cost: number | null;
}

export interface UsageTable {
  currency: string;
  data: UsageRow[];
  totals: { calls: number; input_tokens: number; output_tokens: number; cost: number | null };
  unpriced_models: string[];
}

export interface ErrorBody {
  error: { message: string; code: string; param: string | null };
}

export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string;
}

export interface ChatRequest {
  model: string;
  messages: ChatMessage[];
  temperature: number;
  top_p: number;
  max_tokens: number;
  stream: true;
  stream_options: { include_usage: true };
}

/** One event of a streamed chat answer, or the error that ends it. */
export interface ChatChunk extends Partial<ErrorBody> {
  choices?: {
    delta: { content?: string | null; reasoning?: string | null };
    finish_reason: string | null;
  }[];
  usage?: { prompt_tokens: number; completion_tokens: number } | null;
}
