// The scores that an answer may have, and their means over time.

import type { QualityRow } from "../../api/types";

export const SCORES = [
  ["Relevance", "relevance_score", "average_relevance_score", "speaks to the question"],
  ["Coherence", "coherence_score", "average_coherence_score", "reads as connected text"],
  ["Safety", "safety_score", "average_safety_score", "keeps to the policy"],
  ["Accuracy", "factual_accuracy", "average_factual_accuracy", "seems to be true"],
  ["Satisfaction", "user_satisfaction", "average_user_satisfaction", "as callers say"],
] as const;

export type Field = (typeof SCORES)[number][1];

/** Starts of steps, seconds since the epoch, that cover a stretch of time up to now. */
export function steps(length: number, step: number): number[] {
  const newest = Math.floor(Date.now() / 1000 / step) * step;
  return Array.from({ length: length / step }, (_, place) => newest - length + (place + 1) * step);
}

/** The mean of each step; null where no answer has the score. */
export function means(
  rows: QualityRow[],
  field: Field,
  times: number[],
  step: number,
): (number | null)[] {
  const sums = new Map<number, [total: number, many: number]>();
  for (const row of rows) {
    const value = row[field];
    if (value === null) continue;
    const time = Math.floor(Date.parse(row.time) / 1000 / step) * step;
    const [total, many] = sums.get(time) ?? [0, 0];
    sums.set(time, [total + value, many + 1]);
  }
  return times.map((time) => {
    const [total, many] = sums.get(time) ?? [0, 0];
    return many === 0 ? null : total / many;
  });
}

/** Things that are alike, counted. */
export function counted(names: string[]): Map<string, number> {
  const found = new Map<string, number>();
  for (const name of names) found.set(name, (found.get(name) ?? 0) + 1);
  return found;
}
