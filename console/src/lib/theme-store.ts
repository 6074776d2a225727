// The chosen theme, where the browser keeps it. Without imports: it runs before the first paint.

export type Theme = "system" | "light" | "dark";

const STORED = "gateway-theme";

export function storedTheme(): Theme {
  const found = localStorage.getItem(STORED);
  return found === "light" || found === "dark" ? found : "system";
}

export function storeTheme(theme: Theme): void {
  if (theme === "system") localStorage.removeItem(STORED);
  else localStorage.setItem(STORED, theme);
}

/** Make the page look as chosen. */
export function applyTheme(theme: Theme): void {
  const root = document.documentElement;
  if (theme === "system") delete root.dataset.theme;
  else root.dataset.theme = theme;
}
