import type { JSX } from "preact";
import type { Segment, Transcript, VerboseTranscript } from "../../api/transcribe";
import { duration } from "../../lib/format";
import { save } from "../../lib/save";
import { Columns } from "../../ui/columns";
import { CopyButton } from "../../ui/copy-button";
import { Icon } from "../../ui/icons";
import { ErrorNotice } from "../../ui/notice";
import { TableFrame } from "../../ui/table-frame";
import { filesOf, timestamp } from "./subtitles";
import { form, partial, progress, transcript } from "./work";

/** The transcript, or how far it is. */
export function Result(): JSX.Element {
  const now = progress.value;
  const text = partial.value;
  const whole = transcript.value;
  const running = now.kind === "running";
  return (
    <section class="transcript" aria-label="Transcript" aria-busy={running}>
      {now.kind === "idle" && <p class="muted">The text will stand here.</p>}
      {whole && <Tools whole={whole} />}
      {whole?.document && <About document={whole.document} />}
      {whole?.document?.segments?.length ? (
        <Times rows={whole.document.segments} />
      ) : (
        text !== null && <Words text={text} written={whole?.format} />
      )}
      {running && <p class="writing">{text === null ? "Listening" : ""}</p>}
      <p role="status" class={now.kind === "finished" ? "turn-note" : "visually-hidden"}>
        {now.kind === "finished" && `Done in ${duration(now.seconds)}.`}
      </p>
      {now.kind === "stopped" && <p class="turn-note">Stopped by you.</p>}
      {now.kind === "failed" && <ErrorNotice error={now.error} doing="The transcript" />}
    </section>
  );
}

/** What was said, or subtitles as they are written. */
function Words({ text, written }: { text: string; written: string | undefined }): JSX.Element {
  if (written === "srt" || written === "vtt") {
    return (
      // biome-ignore lint/a11y/noNoninteractiveTabindex: long lines scroll, by keyboard too
      <pre class="subtitles" tabIndex={0}>
        {text}
      </pre>
    );
  }
  return text.trim() ? <p class="spoken">{text}</p> : <p class="muted">Nothing was said.</p>;
}

function Tools({ whole }: { whole: Transcript }): JSX.Element {
  const name = form.value.file?.name.replace(/\.\w+$/, "") || "transcript";
  return (
    <div class="page-tools">
      <CopyButton text={whole.text} label="Copy the transcript" />
      {filesOf(whole).map(({ end, type, text }) => (
        <button
          key={end}
          type="button"
          class="button quiet small"
          aria-label={`Download as ${end}`}
          onClick={() => save(`${name}.${end}`, new Blob([text], { type }))}
        >
          <Icon name="download" />
          <span>{end}</span>
        </button>
      ))}
    </div>
  );
}

function About({ document }: { document: VerboseTranscript }): JSX.Element | null {
  const { language, duration: seconds } = document;
  if (language === undefined && seconds === undefined) return null;
  return (
    <dl class="turn-figures">
      {language && (
        <div>
          <dt>Language</dt>
          <dd>{language}</dd>
        </div>
      )}
      {seconds !== undefined && (
        <div>
          <dt>Length</dt>
          <dd>{duration(seconds)}</dd>
        </div>
      )}
    </dl>
  );
}

function Times({ rows }: { rows: readonly Segment[] }): JSX.Element {
  return (
    <TableFrame label="Segments, table">
      <table>
        <Columns texts={["From", "To", "Segments"]} />
        <tbody>
          {rows.map(({ start, end, text }, place) => (
            <tr key={`${place} ${start}`}>
              <td>{short(start)}</td>
              <td>{short(end)}</td>
              <td class="wrap">{text}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </TableFrame>
  );
}

/** Seconds as 02:03.4, with hours where there are any. */
function short(seconds: number): string {
  return timestamp(seconds).replace(/^00:/, "").slice(0, -2);
}
