import type { JSX } from "preact";

const PATHS = {
  playground: "M4 5h16v11H9l-5 4z",
  transcripts: "M4 10v4M8 6.5v11M12 9.5v5M16 4v16M20 9v6",
  dashboard: "M4 19V11M10 19V5M16 19v-6M21 19H3",
  keys: "M12 12a4 4 0 1 1-8 0 4 4 0 0 1 8 0zM12 12h9v3.5M17 12v3",
  calls: "M4 6h16M4 12h16M4 18h10",
  quality: "M12 4l2.5 5.2 5.6.8-4.1 4 1 5.6-5-2.7-5 2.7 1-5.6-4.1-4 5.6-.8z",
  usage: "M12 4a8 8 0 1 0 8 8h-8z M15 4.6A8 8 0 0 1 19.4 9H15z",
  preset: "M6 3h9l4 4v14H6zM15 3v4h4M9 12h7M9 16h7",
  attach:
    "M19.5 11.5l-7.6 7.6a4.6 4.6 0 0 1-6.5-6.5l8-8a3.1 3.1 0 0 1 4.4 4.4l-7.9 7.9a1.6 1.6 0 0 1-2.2-2.2l7-7",
  file: "M6 3h9l4 4v14H6zM15 3v4h4",
  tool: "M13.2 10.8l-8.4 8.4M19.6 8.2l-3 3-3.8-.9-.9-3.8 3-3a4.9 4.9 0 0 1 4.7 4.7z",
  send: "M5 12h13M12 6l6 6-6 6",
  stop: "M7 7h10v10H7z",
  again: "M19 12a7 7 0 1 1-2.1-5M19 4v4h-4",
  copy: "M9 9h10v11H9zM5 15V4h10",
  code: "M9 7l-5 5 5 5M15 7l5 5-5 5",
  check: "M5 12.5l4.5 4.5L19 7.5",
  close: "M6 6l12 12M18 6L6 18",
  plus: "M12 5v14M5 12h14",
  pause: "M9 6v12M15 6v12",
  play: "M8 5.5v13l10-6.5z",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5V5M12 19v2.5M2.5 12H5M19 12h2.5M5.3 5.3L7 7M17 17l1.7 1.7M18.7 5.3L17 7M7 17l-1.7 1.7",
  moon: "M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z",
  system: "M4 5h16v11H4zM9 20h6M12 16v4",
  out: "M14 4h5v16h-5M10 8l-4 4 4 4M6 12h9",
  download: "M12 4v11M7 10.5l5 5 5-5M5 20h14",
  sliders: "M4 8h9M17 8h3M15 6v4M4 16h3M11 16h9M9 14v4",
  chevron: "M9 6l6 6-6 6",
  filter: "M4 6h16l-6 7v5l-4 2v-7z",
} as const;

export type IconName = keyof typeof PATHS;

/** A line drawing beside a text that says the same: hidden from screen readers. */
export function Icon({ name }: { name: IconName }): JSX.Element {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

/** The product's mark. */
export function Mark(): JSX.Element {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
      <path d="M16 4l11 8.5L16 29 5 12.5z" />
      <path d="M5 12.5h22M16 4l-4.4 8.5L16 29l4.4-16.5z" />
    </svg>
  );
}
