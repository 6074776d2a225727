// Runs before the first paint, so that a chosen theme doesn't flash in.

import { applyTheme, storedTheme } from "./lib/theme-store";

applyTheme(storedTheme());
