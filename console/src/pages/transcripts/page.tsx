import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { ask } from "../../api/client";
import type { ModelList } from "../../api/types";
import { useDrop } from "../../lib/drop";
import { usePoll } from "../../lib/poll";
import { ErrorNotice } from "../../ui/notice";
import { PageHead } from "../../ui/page-head";
import { TranscriptForm } from "./form";
import { Result } from "./result";
import { change, form } from "./work";

const AUDIO = "audio";

/** A recording to text. */
export function TranscriptsPage(): JSX.Element {
  const models = usePoll((signal) => ask<ModelList>("/v1/models", { signal }), 30, []);
  const drop = useDrop(([file]) => change({ file: file ?? null }));
  const served = models.data?.data ?? [];
  const hearing = served.filter((model) => model.input_modalities.includes(AUDIO));
  // Servers don't say what their models take: where none is known to hear, any may.
  const names = (hearing.length > 0 ? hearing : served).map((model) => model.id);

  useEffect(() => {
    const first = names[0];
    if (first !== undefined && !names.includes(form.peek().model)) change({ model: first });
  });

  return (
    <div class={drop.over ? "transcripts over" : "transcripts"} {...drop.handlers}>
      <PageHead title="Transcripts" about="What is said in a recording, as text." />
      {models.error !== null && <ErrorNotice error={models.error} doing="Loading the models" />}
      <div class="transcript-columns">
        <TranscriptForm models={names} known={models.data === null || hearing.length > 0} />
        <Result />
      </div>
    </div>
  );
}
