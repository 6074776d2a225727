import type { JSX } from "preact";
import { type Parameters, parameters } from "./conversation";
import { ToolSettings } from "./tools";

function change(part: Partial<Parameters>): void {
  parameters.value = { ...parameters.value, ...part };
}

/** Model, system prompt, tools and sampling of the next call. */
export function Settings({ models }: { models: string[] }): JSX.Element {
  const now = parameters.value;
  return (
    <>
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
      <label class="field">
        <span>System prompt</span>
        <textarea
          rows={4}
          value={now.system}
          placeholder="How the model should behave"
          onInput={(event) => change({ system: event.currentTarget.value })}
        />
      </label>
      <ToolSettings />
      <NumberField
        label="Temperature"
        help="0: always the most likely token"
        value={now.temperature}
        {...{ min: 0, max: 2, step: 0.1 }}
        onChange={(temperature) => change({ temperature })}
      />
      <NumberField
        label="Top p"
        help="Sample from the most likely tokens that make up this share"
        value={now.topP}
        {...{ min: 0.05, max: 1, step: 0.05 }}
        onChange={(topP) => change({ topP })}
      />
      <NumberField
        label="Max tokens"
        value={now.maxTokens}
        {...{ min: 1, max: 8192, step: 1 }}
        slider={false}
        onChange={(maxTokens) => change({ maxTokens })}
      />
    </>
  );
}

interface NumberProps {
  label: string;
  help?: string;
  value: number;
  min: number;
  max: number;
  step: number;
  slider?: boolean;
  onChange: (value: number) => void;
}

/** A number to type, with a slider for those who'd rather try. */
function NumberField(props: NumberProps): JSX.Element {
  const { label, help, value, min, max, step, slider = true, onChange } = props;
  const read = (event: { currentTarget: HTMLInputElement }): void => {
    const typed = event.currentTarget.valueAsNumber;
    if (Number.isFinite(typed)) onChange(Math.min(max, Math.max(min, typed)));
  };
  const range = { min, max, step, value };
  return (
    <div class="field number-field">
      <label>
        <span>{label}</span>
        <input type="number" {...range} onChange={read} />
      </label>
      {slider && <input type="range" {...range} onInput={read} aria-label={`${label}, slider`} />}
      {help && <p class="help">{help}</p>}
    </div>
  );
}
