// Light, dark, or as the system has it.

import { signal } from "@preact/signals";
import { applyTheme, storedTheme, storeTheme, type Theme } from "../lib/theme-store";

export const theme = signal<Theme>(storedTheme());

export function chooseTheme(chosen: Theme): void {
  storeTheme(chosen);
  applyTheme(chosen);
  theme.value = chosen;
}

const systemDark = matchMedia("(prefers-color-scheme: dark)");
const systemIsDark = signal(systemDark.matches);
systemDark.addEventListener("change", (event) => {
  systemIsDark.value = event.matches;
});

/** What is seen: plots, which are drawn by script, depend on it. */
export function isDark(): boolean {
  return theme.value === "system" ? systemIsDark.value : theme.value === "dark";
}
