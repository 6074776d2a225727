import type { JSX } from "preact";
import { type Format, STREAMED, type Task } from "../../api/transcribe";
import { bytes } from "../../lib/format";
import { useObjectUrl } from "../../lib/object-url";
import { FileButton } from "../../ui/file-button";
import { Icon } from "../../ui/icons";
import { Segmented } from "../../ui/segmented";
import { change, form, progress, start, stop } from "./work";

const TASKS = [
  ["transcriptions", "Transcribe"],
  ["translations", "Translate"],
] as const satisfies readonly (readonly [Task, string])[];

const FORMATS: Record<Format, string> = {
  json: "Text (json)",
  text: "Plain text (text)",
  verbose_json: "With times (verbose_json)",
  srt: "Subtitles (srt)",
  vtt: "Subtitles (vtt)",
};

interface Props {
  models: readonly string[];
  /** Whether it is known which models take audio. */
  known: boolean;
}

/** What to make a transcript of, and how. */
export function TranscriptForm({ models, known }: Props): JSX.Element {
  const now = form.value;
  const running = progress.value.kind === "running";
  const streamed = STREAMED.includes(now.format);
  return (
    <form
      class="transcript-form"
      aria-label="Recording"
      onSubmit={(event) => {
        event.preventDefault();
        void start();
      }}
    >
      <Recording file={now.file} />
      <label class="field">
        <span>Model</span>
        <select
          value={now.model}
          onChange={(event) => change({ model: event.currentTarget.value })}
        >
          {models.map((name) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
      </label>
      {!known && (
        <p class="help after-field">No model is known to take audio; any may refuse it.</p>
      )}
      <div class="field">
        <Segmented
          label="Task"
          options={TASKS}
          value={now.task}
          onChange={(task) => change({ task })}
        />
        <p class="help">
          {now.task === "translations" ? "What is said, in English." : "What is said, as it is."}
        </p>
      </div>
      <label class="field">
        <span>Language</span>
        <input
          value={now.language}
          placeholder="Found out"
          autocomplete="off"
          onInput={(event) => change({ language: event.currentTarget.value })}
        />
      </label>
      <label class="field">
        <span>Prompt</span>
        <textarea
          rows={2}
          value={now.prompt}
          placeholder="Names and terms that occur"
          onInput={(event) => change({ prompt: event.currentTarget.value })}
        />
      </label>
      <label class="field">
        <span>Format</span>
        <select
          value={now.format}
          onChange={(event) => change({ format: event.currentTarget.value as Format })}
        >
          {Object.entries(FORMATS).map(([format, text]) => (
            <option key={format} value={format}>
              {text}
            </option>
          ))}
        </select>
      </label>
      <div class="field">
        {streamed && (
          <label class="check">
            <input
              type="checkbox"
              checked={now.stream}
              onChange={(event) => change({ stream: event.currentTarget.checked })}
            />
            <span>Show it as it comes</span>
          </label>
        )}
      </div>
      {running ? (
        <button
          type="button"
          class="button"
          onClick={(event) => {
            event.preventDefault(); // it becomes the other one before its click is done
            stop();
          }}
        >
          <Icon name="stop" />
          <span>Stop</span>
        </button>
      ) : (
        <button
          type="submit"
          class="button primary"
          disabled={now.file === null || models.length === 0}
        >
          <Icon name="transcripts" />
          <span>{now.task === "translations" ? "Translate" : "Transcribe"}</span>
        </button>
      )}
    </form>
  );
}

/** The chosen file, to be heard; or where to choose one. */
function Recording({ file }: { file: File | null }): JSX.Element {
  const url = useObjectUrl(file);
  return (
    <div class="recording">
      {file === null ? (
        <p class="muted">Drop an audio file here, or choose one.</p>
      ) : (
        <>
          <p>
            <strong>{file.name}</strong> <span class="muted">{bytes(file.size)}</span>
          </p>
          {/* biome-ignore lint/a11y/useMediaCaption: what is said in it is what is asked for */}
          <audio controls preload="metadata" src={url} aria-label={file.name} />
        </>
      )}
      <FileButton
        icon="file"
        label={file === null ? "Choose a file" : "Choose another"}
        accept="audio/*,video/mp4,video/webm"
        onFiles={([chosen]) => change({ file: chosen ?? null })}
      />
    </div>
  );
}
