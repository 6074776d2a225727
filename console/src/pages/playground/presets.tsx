import { type Signal, useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useId } from "preact/hooks";
import { ask } from "../../api/client";
import type { PromptList, PromptView, RenderedPrompt } from "../../api/types";
import { useAction } from "../../lib/action";
import { usePoll } from "../../lib/poll";
import { Dialog } from "../../ui/dialog";
import { ErrorNotice } from "../../ui/notice";
import { insert } from "./conversation";
import { type Drafts, fieldsOf, VariableField, variables } from "./variables";

interface Props {
  /** What is about to be said. */
  draft: Signal<string>;
  onClose: () => void;
}

/** Choose a preset, fill in what it asks for, and put its messages into the conversation. */
export function PresetDialog({ draft, onClose }: Props): JSX.Element {
  const listed = usePoll((signal) => ask<PromptList>("/v1/prompts", { signal }), 0, []);
  const chosen = useSignal<PromptView | null>(null);
  const shown = chosen.value ?? listed.data?.data[0] ?? null;
  const action = useAction();
  const picker = useId();

  function choose(id: string): void {
    chosen.value = listed.data?.data.find((one) => one.id === id) ?? null;
  }

  function chooseVersion(one: PromptView, version: string): void {
    const query = `?version=${encodeURIComponent(version)}`;
    void action.run(async () => {
      chosen.value = await ask<PromptView>(`/v1/prompts/${encodeURIComponent(one.id)}${query}`);
    });
  }

  return (
    <Dialog title="Presets" onClose={onClose}>
      {listed.error !== null && <ErrorNotice error={listed.error} doing="Loading the presets" />}
      {shown !== null && (
        <>
          <div class="field">
            <label for={picker}>
              <span>Preset</span>
            </label>
            <select
              id={picker}
              value={shown.id}
              onChange={(event) => choose(event.currentTarget.value)}
            >
              {listed.data?.data.map(({ id }) => (
                <option key={id} value={id}>
                  {id}
                </option>
              ))}
            </select>
            <p class="help">{shown.description}</p>
          </div>
          {shown.versions.length > 1 && (
            <label class="field">
              <span>Version</span>
              <select
                value={shown.version}
                onChange={(event) => chooseVersion(shown, event.currentTarget.value)}
              >
                {shown.versions.map((version) => (
                  <option key={version} value={version}>
                    {version}
                  </option>
                ))}
              </select>
            </label>
          )}
          {action.error !== null && <ErrorNotice error={action.error} doing="Loading the preset" />}
          <PresetForm
            key={`${shown.id} ${shown.version}`}
            preset={shown}
            draft={draft}
            onClose={onClose}
          />
        </>
      )}
    </Dialog>
  );
}

/** A form made of a preset's schema. */
function PresetForm({ preset, draft, onClose }: Props & { preset: PromptView }): JSX.Element {
  const fields = fieldsOf(preset);
  const drafts = useSignal<Drafts>({});
  const action = useAction();

  async function render(): Promise<void> {
    const path = `/v1/prompts/${encodeURIComponent(preset.id)}/render`;
    const body = { version: preset.version, variables: variables(fields, drafts.peek()) };
    const { messages } = await ask<RenderedPrompt>(path, { method: "POST", body });
    draft.value = insert(messages);
    onClose();
  }

  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        void action.run(render);
      }}
    >
      {fields.map((field) => (
        <VariableField
          key={field.name}
          field={field}
          value={drafts.value[field.name]}
          onChange={(value) => {
            drafts.value = { ...drafts.peek(), [field.name]: value };
          }}
        />
      ))}
      <p class="help">
        Its system text takes the place of the system prompt; its last message is yours to send.
      </p>
      {action.error !== null && <ErrorNotice error={action.error} doing="Making the messages" />}
      <footer class="dialog-foot">
        <button type="button" class="button" onClick={onClose}>
          Cancel
        </button>
        <button type="submit" class="button primary" disabled={action.busy}>
          Insert
        </button>
      </footer>
    </form>
  );
}
