import type { JSX } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import uPlot from "uplot";
import { UNKNOWN } from "../lib/format";
import { isDark } from "../state/theme";

const HEIGHT = 168; // CSS pixels
const TICK = 70; // CSS pixels that a time below the plot takes
const WHOLE = Array.from({ length: 12 }, (_, zeros) =>
  [1, 2, 5].map((n) => n * 10 ** zeros),
).flat();
const BAR_SHARE = 0.8; // of the room between two bars

export interface Line {
  label: string;
  /** A colour of the style sheet, such as `good`. */
  tone: string;
  /** One value for each time; null where nothing was measured. */
  values: (number | null)[];
  dash?: number[];
}

interface Props {
  title: string;
  /** Seconds since the epoch, rising. */
  times: number[];
  lines: Line[];
  format: (value: number | null | undefined) => string;
  /** Stacked bars instead of lines. */
  stacked?: boolean;
  /** The values are counts, so the ticks are, too. */
  whole?: boolean;
  /** The values are means from 0 to 1: all of the scale is shown, and the newest one told. */
  scores?: boolean;
  /** One value a UTC day. */
  daily?: boolean;
  /** Plots of one group share their cursor. */
  group?: string;
  /** What the plot says, for those who don't see it. */
  summary: string;
}

/** A plot over time, with a legend that tells the values under the pointer (else the newest
 * whole ones). */
export function Plot(props: Props): JSX.Element {
  const { title, times, lines, summary } = props;
  const holder = useRef<HTMLDivElement>(null);
  const legend = useRef<HTMLUListElement>(null);
  const plot = useRef<uPlot | null>(null);
  const heading = useId();
  const dark = isDark();
  const shape = lines.map((line) => line.label).join();

  // New data alone doesn't make a new plot.
  useEffect(() => {
    const element = holder.current;
    if (element === null) return;
    const made = new uPlot(options(props, element), data(props), element);
    plot.current = made;
    const fit = new ResizeObserver(() => {
      made.setSize({ width: element.clientWidth, height: HEIGHT });
    });
    fit.observe(element);
    return () => {
      fit.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [dark, shape, props.stacked]);

  useEffect(() => {
    plot.current?.setData(data(props));
    tell(props, legend.current, plot.current?.cursor.idx);
    const listen = (): void => tell(props, legend.current, plot.current?.cursor.idx);
    const element = holder.current;
    element?.addEventListener(MOVED, listen);
    return () => element?.removeEventListener(MOVED, listen);
  });

  return (
    <figure class="plot" aria-labelledby={heading}>
      <figcaption>
        <h3 id={heading}>{title}</h3>
        <ul class="legend" ref={legend}>
          {lines.map((line) => (
            <li key={line.label}>
              <span class={`swatch tone-${line.tone}${line.dash ? " dashed" : ""}`} />
              {line.label} <b />
            </li>
          ))}
        </ul>
      </figcaption>
      <div ref={holder} class="canvas" role="img" aria-label={`${title}. ${summary}`} />
      {times.length === 0 && <p class="plot-empty">Nothing yet</p>}
    </figure>
  );
}

const MOVED = "plot-cursor";

/** Write values into the legend; by hand, as the pointer moves faster than a page renders. */
function tell(props: Props, legend: HTMLElement | null, at: number | null | undefined): void {
  const newest = props.times.length - 1;
  const whole = props.daily ? newest : Math.max(0, newest - 1); // this minute isn't over
  props.lines.forEach((line, index) => {
    const known = line.values.findLastIndex((value) => value !== null);
    const value = line.values[at ?? (props.scores ? known : whole)];
    const target = legend?.children[index]?.querySelector("b");
    if (target) target.textContent = value === undefined ? UNKNOWN : props.format(value);
  });
}

/** Bars stand on each other: each is drawn from zero to its sum, the highest first. */
function data({ times, lines, stacked }: Props): uPlot.AlignedData {
  if (!stacked) return [times, ...lines.map((line) => line.values)];
  const sums = times.map(() => 0);
  const layers = lines.map((line) =>
    line.values.map((value, place) => {
      sums[place] = (sums[place] ?? 0) + (value ?? 0);
      return sums[place] ?? 0;
    }),
  );
  return [times, ...layers.reverse()];
}

function options(props: Props, element: HTMLElement): uPlot.Options {
  const ink = colours(element);
  const axis = {
    stroke: ink("muted"),
    font: `11px ${getComputedStyle(element).fontFamily}`,
    grid: { stroke: ink("line"), width: 1 },
    ticks: { show: false },
  };
  const lines = props.stacked ? [...props.lines].reverse() : props.lines;
  return {
    width: element.clientWidth,
    height: HEIGHT,
    padding: [8, 16, 0, 0],
    legend: { show: false },
    cursor: {
      y: false,
      points: { show: !props.stacked, size: 6 },
      drag: { x: false, y: false },
      ...(props.group ? { sync: { key: props.group } } : {}),
    },
    scales: {
      // Half a step on both sides: the first and the last bar are whole.
      x: { range: ({ data: [times] }, low, high) => [low - gap(times) / 2, high + gap(times) / 2] },
      y: { range: (_, __, high) => [0, (high > 0 && !props.scores ? high : 1) * 1.08] },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        size: 28,
        space: TICK,
        ...(props.daily ? DAILY : { values: clockTicks }),
      },
      {
        ...axis,
        size: 58,
        space: 28,
        ...(props.whole ? { incrs: WHOLE } : {}),
        values: (_, splits) => splits.map((value) => (value === null ? "" : props.format(value))),
      },
    ],
    series: [
      {},
      ...(lines.map((line) => ({
        stroke: ink(line.tone),
        width: props.stacked ? 0 : 1.6,
        points: props.stacked ? { show: false } : { show: true, size: 5, filter: alone },
        ...(props.stacked
          ? { fill: ink(line.tone), paths: uPlot.paths.bars?.({ size: [BAR_SHARE, 64] }) }
          : { dash: line.dash, spanGaps: false }),
      })) as uPlot.Series[]),
    ],
    hooks: {
      setCursor: [() => element.dispatchEvent(new CustomEvent(MOVED))],
    },
  };
}

/** Values that no line would show: nothing was measured before and after them. */
function alone({ data: rows }: uPlot, series: number): number[] {
  const values = rows[series] ?? [];
  const known = (place: number): boolean => values[place] !== null && values[place] !== undefined;
  return Array.from(values, (_, place) => place).filter(
    (place) => known(place) && !known(place - 1) && !known(place + 1),
  );
}

/** Days are the ledger's, which are UTC's: no reader's clock moves them. */
const DAILY: Pick<uPlot.Axis, "splits" | "values"> = {
  splits: ({ data: [days], width }) => {
    const every = Math.ceil((days.length * TICK) / width);
    return [...days].filter((_, place) => (days.length - 1 - place) % every === 0);
  },
  values: (_, splits) =>
    splits.map((seconds) =>
      new Date(seconds * 1000).toLocaleDateString("en-GB", {
        day: "numeric",
        month: "short",
        timeZone: "UTC",
      }),
    ),
};

/** Seconds between two times. */
function gap(times: ArrayLike<number>): number {
  return times.length > 1 ? (times[1] as number) - (times[0] as number) : 60;
}

/** Hours by the reader's clock; the day where it changes. */
function clockTicks(_: uPlot, splits: number[]): string[] {
  let day = "";
  return splits.map((seconds) => {
    const when = new Date(seconds * 1000);
    const today = when.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
    const midnight = when.getHours() === 0 && when.getMinutes() === 0;
    const said = midnight && today !== day ? today : clockTime(when);
    day = today;
    return said;
  });
}

function clockTime(when: Date): string {
  return when.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
}

/** Colours of the style sheet as a canvas takes them. */
function colours(element: HTMLElement): (name: string) => string {
  return (name) => {
    const probe = document.createElement("span");
    probe.className = `tone-${name}`;
    element.append(probe);
    const { color } = getComputedStyle(probe);
    probe.remove();
    return color;
  };
}
