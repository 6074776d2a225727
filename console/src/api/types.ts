// What the gateway's own routes take and answer. Times are ISO 8601 in UTC; durations are seconds.
// Generated from its OpenAPI document: don't edit it, run 'make generated'.

/** One alert. */
export interface AlertView {
  /** Unique to this alert; the rule's next one has another id */
  id: string;
  rule: string;
  /** What is wrong while it fires, in a few words */
  title: string;
  /** What the rule measures */
  type:
    | "response_time"
    | "memory"
    | "token_rate"
    | "success_rate"
    | "no_success"
    | "upstream_errors"
    | "limited"
    | "filtered"
    | "queue_time"
    | "store_away"
    | "no_engine"
    | "upstream_ejected"
    | "memory_share";
  severity: "low" | "medium" | "high";
  state: "firing" | "resolved";
  /** What is wrong; once it is resolved: what is right again */
  message: string;
  /** Last value that was out of bounds; shares go from 0 to 1 */
  value: number;
  threshold: number;
  /** upstream: the server it is about */
  labels: Record<string, string>;
  started_at: string;
  resolved_at: string | null;
  silenced_until: string | null;
}

/** All alerts and rules. */
export interface AlertsReport {
  /** Firing alerts, then those that have ended, latest first */
  data: AlertView[];
  rules: RuleView[];
  /** Redis is unavailable: what this gateway saw last, without ended alerts */
  degraded: boolean;
}

/** One finished call, without its content. */
export interface CallView {
  /** End of the call */
  time: string;
  /** The engine's id for it; the answer's own id ends with it */
  id: string;
  /** The header x-request-id */
  request_id: string;
  /** First 8 digits of the key's id */
  key_id: string;
  /** The caller's tier */
  tier: string;
  /** Path, such as /v1/chat/completions */
  route: string;
  /** A served model's name, or other */
  model: string;
  /** Whether a stream was requested */
  stream: boolean;
  /** HTTP status; 499: the client left; of a broken stream, the status of its error */
  status: number;
  /** ok, client_closed, or an error code */
  outcome: string;
  /** Seconds from the request's head to the last byte */
  response_time: number;
  /** Seconds; null: nothing was streamed */
  time_to_first_token: number | null;
  /** Seconds that it waited inside the engine; null: the engine doesn't report it */
  queue_time: number | null;
  /** Of the prompt */
  input_tokens: number;
  /** Generated */
  output_tokens: number;
  /** Of the prompt, found in the engine's prefix cache */
  cached_tokens: number;
  /** Of the output */
  reasoning_tokens: number;
  /** The engine was cut off before it reported a count: tokens are estimated */
  usage_estimated: boolean;
  /**
   * The engine's own word, such as stop or end_turn; content_filter: the policy cut the answer;
   * empty: it didn't end
   */
  finish_reason: string;
  /** Characters of the messages' texts */
  input_length: number;
  /** host:port of the server that handled it last; local: the engine in process; empty: none did */
  upstream: string;
  /** MB, resident memory of the gateway and an engine in process */
  memory_mb: number;
  /** MB, used memory of the GPUs of an engine in process; 0 without one */
  gpu_memory_mb: number;
  /** The request's field at fault, and the place in it, such as messages.3; empty: none */
  refused_field: string;
  /**
   * Where and how the gateway changed the request, as the answer's header x-gateway-changed says
   * it; empty: nowhere
   */
  changes: string;
  /** What the content policy noted and let pass, such as input:harm; empty: nothing */
  flagged: string;
  /** Pictures in the request */
  images: number;
  /** The preset that its prompt named; empty: none did */
  prompt_id: string;
  /** Of that preset; empty: none was named */
  prompt_version: string;
  /** Of the sounds in the request */
  audio_seconds: number;
  /** The key's name; empty for one that is not known any more */
  key_name: string;
  /** Output tokens over the response time */
  tokens_per_second: number;
  /**
   * Whose doing it was that there is no whole answer: caller, policy, engine or gateway; else empty
   */
  fault: string;
}

/** Calls, newest first. Ask again with ``after`` for what has come since. */
export interface Calls {
  /** The store is unavailable: only what this process itself has seen */
  degraded: boolean;
  data: CallView[];
  /** Empty while the store is unavailable: ask again without it */
  cursor: string;
}

/** A notification that was given up. */
export interface DeadLetterView {
  /** The notification's id; the receiver gets it as x-gateway-delivery */
  id: string;
  /** Name of the webhook */
  webhook: string;
  attempts: number;
  /** Why the last attempt failed */
  error: string;
  time: string;
  alert: AlertView;
}

/** Notifications that were given up, latest first. */
export interface DeadLetters {
  data: DeadLetterView[];
}

export interface EngineState {
  kind: "local" | "upstream";
  ready: boolean;
}

/** A score or a thumb for one of the caller's own answers. Said again, it replaces the first. */
export interface FeedbackRequest {
  /** x-request-id of the answer, or the id in its body */
  response_id: string;
  /** 0: bad, 1: good */
  score?: number | null;
  /** Instead of score: 1 or 0 */
  thumb?: "up" | "down" | null;
  /** For the operators */
  comment?: string;
}

/** Feedback as it was kept. */
export interface FeedbackView {
  /** The gateway's own id for the answer */
  response_id: string;
  model: string;
  score: number;
}

/** How the service is, as a short generation found it. */
export interface HealthReport {
  status: "healthy" | "degraded" | "unhealthy";
  model_loaded: boolean;
  multimodal_enabled: boolean;
  /** Duration of the test generation, seconds */
  response_time: number;
  /** Memory of this process and its engine, MB */
  memory_usage: number;
  models: string[];
  store: "available" | "unavailable";
  errors: string[];
}

/** What to set of a key; what isn't named stays. */
export interface KeyChange {
  /** For people; need not be unique */
  name?: string;
  /** A tier of the settings */
  tier?: string;
  /** Models it may use; empty: all */
  models?: string[];
  scopes?: "operator"[];
  /** ISO 8601 (without a zone: UTC) or seconds since the epoch; null: never */
  expires?: string | null;
  /** Its own limits; null: those of its tier */
  windows?: Window[] | null;
}

/** A page of keys: those of the settings, then those made at run time, newest first. */
export interface KeyList {
  data: KeyView[];
  /** ``after`` of the next page; null: this is the last */
  cursor: string | null;
  tiers: Record<string, TierView>;
}

/** What a key has used. */
export interface KeyUsage {
  /** Since midnight UTC */
  today: Spent;
  all_time: Spent;
}

/** A key, without its secret. */
export interface KeyView {
  /** 64 hex digits; unchanged when the key gets a new secret */
  id: string;
  name: string;
  tier: string;
  /** Models it may use; empty: all */
  models: string[];
  /** operator: may see and change what belongs to others */
  scopes: string[];
  /** null: a key from the settings */
  created: string | null;
  /** null: never */
  expires: string | null;
  /** settings: change it there */
  source: "settings" | "store";
  /** Its own limits; null: those of its tier */
  windows: Window[] | null;
  state: "active" | "expired" | "revoked";
  /** null: the store is unavailable */
  usage: KeyUsage | null;
}

/** A key and its new secret. */
export interface KeyWithSecret {
  /** 64 hex digits; unchanged when the key gets a new secret */
  id: string;
  name: string;
  tier: string;
  /** Models it may use; empty: all */
  models: string[];
  /** operator: may see and change what belongs to others */
  scopes: string[];
  /** null: a key from the settings */
  created: string | null;
  /** null: never */
  expires: string | null;
  /** settings: change it there */
  source: "settings" | "store";
  /** Its own limits; null: those of its tier */
  windows: Window[] | null;
  state: "active" | "expired" | "revoked";
  /** null: the store is unavailable */
  usage: KeyUsage | null;
  /** The secret: shown only once, and stored nowhere */
  key: string;
}

/** The models that a key may use. */
export interface ModelList {
  object: "list";
  data: ModelView[];
  has_more: boolean;
  first_id: string | null;
  last_id: string | null;
}

/** One model, as OpenAI, Anthropic and vLLM each describe it. */
export interface ModelView {
  id: string;
  object: "model";
  type: "model";
  display_name: string;
  created: number;
  created_at: string;
  owned_by: string;
  lifecycle: "active";
  /** What people should know of it; null: unknown */
  description: string | null;
  /** The model behind an alias, else the id */
  root: string;
  /** Tokens of a prompt and its answer together */
  max_model_len: number | null;
  /** As max_model_len */
  context_length: number | null;
  /** As max_model_len */
  max_input_tokens: number | null;
  /** Longest answer that this key may ask for, tokens */
  max_tokens: number | null;
  /** What a prompt may be made of, as far as the gateway knows: text, image, audio */
  input_modalities: string[];
  output_modalities: "text"[];
}

/** A key to be made. */
export interface NewKey {
  /** For people; need not be unique */
  name: string;
  /** A tier of the settings */
  tier?: string;
  /** Models it may use; empty: all */
  models?: string[];
  scopes?: "operator"[];
  /** ISO 8601 (without a zone: UTC) or seconds since the epoch; null: never */
  expires?: string | null;
  /** Its own limits; null: those of its tier */
  windows?: Window[] | null;
}

/** Error body of the OpenAI routes. */
export interface OpenAIError {
  error: OpenAIErrorDetail;
}

export interface OpenAIErrorDetail {
  message: string;
  type: string;
  param: string | null;
  code: string | null;
  gateway_code: string;
}

/** A summary, whole and by group. */
export interface Performance {
  /** The store is unavailable: only what this process itself has seen */
  degraded: boolean;
  /** First record's time, or the start asked */
  from: string | null;
  to: string | null;
  /** True if no call of the range has left the window of records or was over the bound */
  complete: boolean;
  summary: Summary;
  groups: Record<string, Summary>;
}

/** The same over a stretch of time, and by model. */
export interface Period {
  calls: number;
  prompt_tokens: number;
  completion_tokens: number;
  cached_tokens: number;
  /** prompt_tokens + completion_tokens */
  total_tokens: number;
  models: Record<string, Tokens>;
}

/** One stretch of time. */
export interface Point {
  requests: number;
  ok: number;
  failed: number;
  refused: number;
  client_closed: number;
  limited: number;
  filtered: number;
  input_tokens: number;
  output_tokens: number;
  /** Its beginning; the last one is still going on */
  time: string;
  response_time: Quantiles;
  time_to_first_token: Quantiles;
}

/** What an orchestrator asks for; the HTTP status says the same. */
export interface Probe {
  status: "alive" | "ready" | "not ready";
}

/** All presets, by id. */
export interface PromptList {
  object: "list";
  data: PromptView[];
}

/** One preset. */
export interface PromptView {
  /** What a call's prompt names */
  id: string;
  object: "prompt";
  /** The one that is shown: the default, or what was asked for */
  version: string;
  /** All of its versions */
  versions: string[];
  /** For people; may be empty */
  description: string;
  /** JSON Schema of an object: what it is made with */
  variables: Record<string, unknown>;
  /** built-in, or from the operator's files */
  source: "built-in" | "operator";
}

/** Summaries and the newest calls. */
export interface QualityReport {
  /** Earliest call, or the start asked for */
  from: string | null;
  to: string | null;
  summary: QualitySummary;
  models: Record<string, QualitySummary>;
  sampling: Sampling;
  /** Newest first, 1000 at most */
  data: QualityRow[];
  /** The store is unavailable: only what this process itself has seen */
  degraded: boolean;
}

/** One call; a score is null where it can't be had, and ``reasons`` says why. */
export interface QualityRow {
  /** End of the call, or, where it was not judged, of the feedback */
  time: string;
  /** The engine's id for it; the answer's own id ends with it */
  id: string;
  /** The header x-request-id */
  request_id: string;
  /** First 8 digits of the key's id */
  key_id: string;
  /** The caller's tier */
  tier: string;
  /** Path, such as /v1/chat/completions */
  route: string;
  /** A served model's name, or other */
  model: string;
  relevance_score: number | null;
  coherence_score: number | null;
  safety_score: number | null;
  factual_accuracy: number | null;
  /** reference, context, consistency, or empty */
  accuracy_by: string;
  user_satisfaction: number | null;
  /** Mean of the available scores */
  overall_score: number | null;
  reasons: Record<string, string>;
  /** The caller's own words, or empty */
  comment: string;
}

/** Averages from 0 (bad) to 1 (good), each over the calls that have the score. */
export interface QualitySummary {
  /** Calls whose answer was judged */
  evaluated: number;
  /** Calls with feedback from their caller */
  feedback: number;
  average_relevance_score: number | null;
  average_coherence_score: number | null;
  average_safety_score: number | null;
  average_factual_accuracy: number | null;
  average_user_satisfaction: number | null;
  /** Mean of the available averages */
  overall_score: number | null;
}

/** Seconds; null when there was no successful call. */
export interface Quantiles {
  p50: number | null;
  p95: number | null;
  p99: number | null;
}

/** What a preset is to be made with. */
export interface RenderRequest {
  /** Default: the preset's own */
  version?: string | number | null;
  /** By the preset's schema */
  variables?: Record<string, unknown> | null;
}

/** A message as chat completions take it. */
export interface RenderedMessage {
  role: "system" | "developer" | "user" | "assistant";
  content: string | Record<string, unknown>[];
}

/** What a preset made. */
export interface RenderedPrompt {
  id: string;
  version: string;
  messages: RenderedMessage[];
  /** Variables that didn't fit, and the preset's fallback that stands for them */
  replaced: Record<string, unknown>;
}

/** How a key gets its new secret. */
export interface Rotation {
  /** How long the old secret keeps working; at most 30 days */
  grace_seconds?: number;
}

/** One rule of the settings. */
export interface RuleView {
  name: string;
  /** What is wrong while it fires, in a few words */
  title: string;
  severity: "low" | "medium" | "high";
  /** When it is out of bounds, in words */
  expression: string;
  state: "off" | "inactive" | "pending" | "firing";
}

/** Which calls are judged, and whether it works. */
export interface Sampling {
  /** Share of each tier's calls, its setting quality_sample; 0: none */
  tiers: Record<string, number>;
  /**
   * Sampled calls of the process that answers, since its start, by what became of them; empty: no
   * tier samples
   */
  outcomes: Record<string, number>;
}

/** What plots are drawn from. */
export interface Series {
  /** The store is unavailable: only what this process itself has seen */
  degraded: boolean;
  range: "1h" | "6h" | "24h" | "7d";
  step_seconds: number;
  points: Point[];
  by_model: Record<string, Totals>;
  by_route: Record<string, Totals>;
  by_outcome: Record<string, number>;
}

/** A rule that webhooks shall hear nothing of for a while. */
export interface SilenceRequest {
  /** Name of a rule; GET /v1/monitoring/alerts */
  rule: string;
  /** From now on; at most 30 days */
  seconds: number;
  /** Why, for other operators */
  comment?: string;
}

/** A silence. */
export interface SilenceView {
  id: string;
  rule: string;
  comment: string;
  /** Name of the operator's key */
  created_by: string;
  created_at: string;
  ends_at: string;
}

/** All silences that have not ended. */
export interface Silences {
  data: SilenceView[];
}

/** What a key has used over a stretch of time. */
export interface Spent {
  calls: number;
  total_tokens: number;
  /** In the settings' ``currency``; null: no model that it used has a price */
  cost: number | null;
}

/** How this gateway process is, now. */
export interface State {
  status: "healthy" | "degraded" | "unhealthy";
  version: string;
  models: string[];
  store: StoreState;
  engine: EngineState;
  upstreams: UpstreamView[];
  in_flight: number;
  in_flight_limit: number;
  memory_mb: number;
  /** The longest of the last five seconds */
  event_loop_lag_seconds: number;
  /** Since the start */
  records_lost: number;
  alerts_firing: number;
}

export interface StoreState {
  status: "available" | "unavailable";
  /** Commands without an answer since the start */
  failures: number;
  /** Times it became unavailable since the start */
  outages: number;
}

/**
 * Figures over some calls. Averages and percentiles of times are of successful calls: a refusal is
 * quick and a time-out long, and neither tells how long an answer takes.
 */
export interface Summary {
  total: number;
  successful: number;
  /** The service's fault: status 500 and above */
  failed: number;
  /** The caller's: limits, filters, bad requests */
  refused: number;
  client_closed: number;
  /** successful / (successful + failed) */
  success_rate: number | null;
  /** failed / total */
  error_rate: number | null;
  /** seconds, of successful calls */
  average_response_time: number | null;
  /** seconds, of successful calls */
  p95_response_time: number | null;
  /** seconds, of successful calls that streamed */
  average_time_to_first_token: number | null;
  /** seconds, of successful calls that streamed */
  p95_time_to_first_token: number | null;
  /** seconds, of calls whose engine reports it */
  average_queue_time: number | null;
  average_memory_mb: number | null;
  average_gpu_memory_mb: number | null;
  /** Mean over successful calls of output tokens a second */
  average_tokens_per_second: number | null;
  input_tokens: number;
  output_tokens: number;
  cached_tokens: number;
  reasoning_tokens: number;
  total_tokens: number;
}

/** What the keys of a tier may use. */
export interface TierView {
  windows: Window[];
  /** null: what the model's context holds */
  max_tokens_cap: number | null;
  /** Active content in messages: strip, flag or off */
  sanitise: string;
  /** The term policy: block, flag or off */
  policy: string;
}

/** Calls and tokens that the engines really read and wrote. */
export interface Tokens {
  calls: number;
  prompt_tokens: number;
  completion_tokens: number;
  cached_tokens: number;
  /** prompt_tokens + completion_tokens */
  total_tokens: number;
}

/** Calls and tokens; limited and filtered calls are among the refused ones. */
export interface Totals {
  requests: number;
  ok: number;
  failed: number;
  refused: number;
  client_closed: number;
  limited: number;
  filtered: number;
  input_tokens: number;
  output_tokens: number;
}

export interface UpstreamView {
  upstream: string;
  available: boolean;
  /** Why it is ejected, or of no use; empty: nothing is wrong */
  trouble: string;
  in_flight: number;
}

/** By key, day and model. */
export interface Usage {
  /** The store is unavailable: only what this process itself has seen */
  degraded: boolean;
  currency: string;
  data: UsageRow[];
  totals: UsageTotals;
  unpriced_models: string[];
}

/** What a key has used and may still use. */
export interface UsageReport {
  requests_last_hour: number;
  /** Of the tightest window */
  remaining_requests: number;
  /**
   * When the oldest request in the tightest window expires: ISO 8601, UTC; null when nothing is
   * counted
   */
  reset_time: string | null;
  windows: WindowUsage[];
  /** The same of seconds of audio; empty: the tier has none */
  audio_windows: WindowUsage[];
  /** Its calls in flight in the answering process */
  in_flight: number;
  /** Most it may have; 0: the tier sets no limit */
  max_in_flight: number;
  /** Since midnight UTC */
  today: Period;
  all_time: Period;
  /** The store is unavailable: this process's own counts, not those of the others */
  degraded: boolean;
}

/** What one key used of one model on one day (UTC). */
export interface UsageRow {
  key_id: string;
  /** Empty for a key that is not known any more */
  name: string;
  model: string;
  day: string;
  calls: number;
  input_tokens: number;
  output_tokens: number;
  cached_tokens: number;
  /** Null for a model without a price */
  cost: number | null;
}

export interface UsageTotals {
  calls: number;
  input_tokens: number;
  output_tokens: number;
  /** Of the input tokens: from the prefix cache */
  cached_tokens: number;
  /** Sum of the rows that have one */
  cost: number | null;
}

/** Which gateway this is. */
export interface Version {
  version: string;
}

/** A sliding window: at most ``limit`` requests in any ``seconds`` long stretch of time. */
export interface Window {
  limit: number;
  seconds: number;
}

/** One limit of the caller's tier. */
export interface WindowUsage {
  limit: number;
  seconds: number;
  remaining: number;
  /** Until its oldest request leaves; 0 when empty */
  reset_seconds: number;
}
