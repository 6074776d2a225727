// Figures as people read them. Everything that isn't known is an en dash.

export const UNKNOWN = "–";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

/** 12,345 */
export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? UNKNOWN : whole.format(value);
}

/** A score from 0 to 1 as 0.87. */
export function score(value: number | null | undefined): string {
  return value === null || value === undefined ? UNKNOWN : value.toFixed(2);
}

/** 12.3K */
export function compact(value: number | null | undefined): string {
  if (value === null || value === undefined) return UNKNOWN;
  return Math.abs(value) < 10_000 ? decimal(value) : short.format(value);
}

/** At most three digits after the point matter, and only below ten. */
export function decimal(value: number): string {
  const digits = Number.isInteger(value) || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

/** Bytes as 12 bytes, 3.4 KiB, 5 MiB. */
export function bytes(value: number): string {
  if (value < 1024) return `${value} bytes`;
  return value < 1024 ** 2 ? `${decimal(value / 1024)} KiB` : `${decimal(value / 1024 ** 2)} MiB`;
}

/** Seconds as 7 ms, 350 ms, 1.24 s, 2 m 5 s. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return UNKNOWN;
  if (seconds < 0.0095) return `${decimal(seconds * 1000)} ms`;
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${decimal(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  return `${minutes} m ${Math.round(seconds % 60)} s`;
}

/** A stretch of time after "per" or "any": hour, 2 days, 90 s. */
export function stretch(seconds: number): string {
  const units: [number, string][] = [
    [86_400, "day"],
    [3600, "hour"],
    [60, "minute"],
  ];
  const unit = units.find(([size]) => seconds % size === 0);
  if (unit === undefined) return `${seconds} s`;
  const [size, name] = unit;
  return seconds === size ? name : `${seconds / size} ${name}s`;
}

/** 0.9876 as 98.8%; exactly 1 and 0 without decimals, and nothing else rounded up to them. */
export function share(value: number | null | undefined): string {
  if (value === null || value === undefined) return UNKNOWN;
  if (value === 0 || value === 1) return `${value * 100}%`;
  return `${Math.min(99.99, Math.max(0.01, Math.floor(value * 10_000) / 100))}%`;
}

export function money(value: number | null | undefined, currency: string): string {
  if (value === null || value === undefined) return UNKNOWN;
  const text = value.toLocaleString(
    "en",
    value !== 0 && Math.abs(value) < 0.1
      ? { maximumSignificantDigits: 2 }
      : { minimumFractionDigits: 2, maximumFractionDigits: 2 },
  );
  return currency ? `${text} ${currency}` : text;
}

/** 14:03:59, the reader's own time zone. */
export function clock(iso: string): string {
  return new Date(iso).toLocaleTimeString("en-GB");
}

/** 24 Nov 2026, 14:03 */
export function moment(iso: string | null | undefined): string {
  if (!iso) return UNKNOWN;
  return new Date(iso).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}

/** 24 Nov 2026 */
export function date(iso: string | null | undefined): string {
  return iso ? new Date(iso).toLocaleDateString("en-GB", { dateStyle: "medium" }) : UNKNOWN;
}

/** How long ago, roughly. */
export function ago(iso: string): string {
  const seconds = Math.max(0, (Date.now() - Date.parse(iso)) / 1000);
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

/** A key's public id, cut as the logs cut it. */
export function shortId(id: string): string {
  return id.slice(0, 8);
}

/** RATE_LIMIT_EXCEEDED as "rate limit exceeded". */
export function words(code: string): string {
  return code.replaceAll("_", " ").toLowerCase();
}
