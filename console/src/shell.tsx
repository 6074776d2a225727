import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { reachable } from "./api/client";
import type { Theme } from "./lib/theme-store";
import { engineAway, lookNow, state, storeAway, tries } from "./state/link";
import { type Page, page, pages, TITLES } from "./state/route";
import { isOperator, self, signOut } from "./state/session";
import { chooseTheme, theme } from "./state/theme";
import { Icon, Mark } from "./ui/icons";

/** What surrounds every page: where one can go, who one is, and what is wrong. */
export function Shell({ children }: { children: ComponentChildren }): JSX.Element {
  const main = useRef<HTMLElement>(null);
  const here = page.value;
  const first = useRef(true);

  // A new page is announced by its title.
  useEffect(() => {
    if (!first.current) main.current?.querySelector("h1")?.focus();
    first.current = false;
  }, [here]);

  return (
    <div class="shell">
      <button type="button" class="button skip" onClick={() => main.current?.focus()}>
        Skip to content
      </button>
      <header class="side">
        <div class="brand">
          <Mark />
          <span>Gemma gateway</span>
        </div>
        <nav aria-label="Pages">
          {pages.value.map((name) => (
            <NavLink key={name} name={name} here={name === here} />
          ))}
        </nav>
        <div class="side-foot">
          <Pulse />
          <Who />
          <div class="side-buttons">
            <ThemeButton />
            <button type="button" class="button quiet small" onClick={() => signOut()}>
              <Icon name="out" />
              <span>Sign out</span>
            </button>
          </div>
        </div>
      </header>
      <main id="main" tabIndex={-1} ref={main}>
        <Banner />
        {children}
      </main>
    </div>
  );
}

function NavLink({ name, here }: { name: Page; here: boolean }): JSX.Element {
  return (
    <a href={`#/${name}`} aria-current={here ? "page" : undefined}>
      <Icon name={name} />
      <span>{TITLES[name]}</span>
    </a>
  );
}

/** The state of the parts, in a line. */
function Pulse(): JSX.Element | null {
  if (!isOperator.value) return null;
  const now = state.value;
  let [tone, text] = ["good", "All systems available"];
  if (!reachable.value) [tone, text] = ["bad", "Gateway unreachable"];
  else if (now === null) [tone, text] = ["idle", "Looking"];
  else if (engineAway.value) [tone, text] = ["bad", "No engine ready"];
  else if (storeAway.value) [tone, text] = ["warn", "Redis unavailable"];
  else if (now.alerts_firing > 0)
    [tone, text] = ["warn", `${now.alerts_firing} alert${now.alerts_firing === 1 ? "" : "s"}`];
  return (
    <p class="pulse">
      <span class={`dot ${tone}`} />
      {text}
    </p>
  );
}

function Who(): JSX.Element {
  return (
    <p class="who">
      <span class="who-name">{self.value?.name}</span>
      <span class="muted">{isOperator.value ? "operator" : `tier ${self.value?.tier}`}</span>
    </p>
  );
}

const THEMES: Record<Theme, { next: Theme; icon: "system" | "sun" | "moon"; word: string }> = {
  system: { next: "light", icon: "system", word: "as the system" },
  light: { next: "dark", icon: "sun", word: "light" },
  dark: { next: "system", icon: "moon", word: "dark" },
};

export function ThemeButton(): JSX.Element {
  const { next, icon, word } = THEMES[theme.value];
  const label = `Theme: ${word}. Change to ${THEMES[next].word}`;
  return (
    <button
      type="button"
      class="button quiet small icon-only"
      onClick={() => chooseTheme(next)}
      aria-label={label}
      title={label}
    >
      <Icon name={icon} />
    </button>
  );
}

/** What is wrong with the service, above every page. */
function Banner(): JSX.Element {
  return (
    <div class="banners" role="status">
      {!reachable.value && (
        <div class="banner bad">
          <p>
            <strong>The gateway doesn't answer.</strong> It may be restarting, or the network is
            down. What you see may be old. Trying again by itself
            {tries.value > 1 ? `, ${tries.value} tries so far.` : "."}
          </p>
          <button type="button" class="button small" onClick={lookNow}>
            Try now
          </button>
        </div>
      )}
      {reachable.value && engineAway.value && (
        <div class="banner bad">
          <p>
            <strong>No engine is ready.</strong> Calls are refused until one is: it may be loading a
            model, or{" "}
            {state.value?.engine.kind === "upstream"
              ? "none of the servers behind the gateway answers."
              : "has failed; the gateway's log says more."}
          </p>
        </div>
      )}
      {reachable.value && storeAway.value && (
        <div class="banner warn">
          <p>
            <strong>Redis is unavailable.</strong> Calls go on as <code>GATEWAY_STORE_FAILURE</code>{" "}
            says (by default each gateway process counts limits for itself). Usage, calls and keys
            may be incomplete or can't be changed until it is back.
          </p>
        </div>
      )}
    </div>
  );
}
