import type { JSX } from "preact";

export interface Bar {
  name: string;
  value: number;
  said: string;
  tone?: string;
}

/** Parts of a whole, the largest first. */
export function Bars({ title, bars }: { title: string; bars: Bar[] }): JSX.Element {
  const sorted = [...bars].sort((a, b) => b.value - a.value);
  const most = Math.max(1, ...bars.map((bar) => bar.value));
  return (
    <section class="bars" aria-label={title}>
      <h3>{title}</h3>
      {sorted.length === 0 && <p class="muted">Nothing yet</p>}
      <ul>
        {sorted.map((bar) => (
          <li key={bar.name}>
            <span class="bar-name">{bar.name}</span>
            <span class="bar-said">{bar.said}</span>
            <span class="bar-track">
              <span
                class={`bar-fill tone-${bar.tone ?? "good"}`}
                style={{ width: `${(100 * bar.value) / most}%` }}
              />
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}
