import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { CallsPage } from "./pages/calls/page";
import { DashboardPage } from "./pages/dashboard/page";
import { KeysPage } from "./pages/keys/page";
import { PlaygroundPage } from "./pages/playground/page";
import { QualityPage } from "./pages/quality/page";
import { SignInPage } from "./pages/sign-in";
import { TranscriptsPage } from "./pages/transcripts/page";
import { UsagePage } from "./pages/usage";
import { Shell } from "./shell";
import { page, TITLES } from "./state/route";
import { remembered, self, signIn } from "./state/session";

const PAGES: Record<typeof page.value, () => JSX.Element> = {
  playground: PlaygroundPage,
  transcripts: TranscriptsPage,
  dashboard: DashboardPage,
  keys: KeysPage,
  calls: CallsPage,
  quality: QualityPage,
  usage: UsagePage,
};

export function App(): JSX.Element | null {
  const resuming = useSignal(remembered() !== null);

  useEffect(() => {
    const key = remembered();
    if (key === null) return;
    signIn(key)
      .catch(() => undefined) // the sign-in page asks again
      .finally(() => {
        resuming.value = false;
      });
  }, [resuming]);

  const here = page.value;
  const title = self.value ? TITLES[here] : "Sign in";
  useEffect(() => {
    document.title = `${title} · Gemma gateway`;
  }, [title]);

  if (resuming.value) return null;
  if (!self.value) return <SignInPage />;
  const Page = PAGES[here];
  return (
    <Shell>
      <Page key={here} />
    </Shell>
  );
}
