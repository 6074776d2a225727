import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useId } from "preact/hooks";
import { readTools, type Tool, type ToolChoice } from "../../api/tools";
import { useAction } from "../../lib/action";
import { Dialog } from "../../ui/dialog";
import { ErrorNotice } from "../../ui/notice";
import { parameters } from "./conversation";

const EXAMPLE: Tool[] = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "The weather in a city now",
      parameters: {
        type: "object",
        properties: {
          city: { type: "string", description: "Such as Lisbon" },
          unit: { type: "string", enum: ["celsius", "fahrenheit"] },
        },
        required: ["city"],
      },
    },
  },
];

/** The functions that the model may call, and whether it should. */
export function ToolSettings(): JSX.Element {
  const editing = useSignal(false);
  const { tools, toolChoice } = parameters.value;
  const names = tools.map((tool) => tool.function.name);
  const group = useId();
  return (
    <>
      <fieldset class="field" aria-describedby={group}>
        <legend>Tools</legend>
        <p class="tool-names" id={group}>
          {names.length === 0 && <span class="muted">None</span>}
          {names.map((name) => (
            <code key={name}>{name}</code>
          ))}
        </p>
        <button
          type="button"
          class="button small"
          onClick={() => {
            editing.value = true;
          }}
        >
          Edit tools
        </button>
      </fieldset>
      {names.length > 0 && <Choice names={names} choice={toolChoice} />}
      {editing.value && (
        <ToolDialog
          onClose={() => {
            editing.value = false;
          }}
        />
      )}
    </>
  );
}

const WORDS = { auto: "The model decides", required: "At least one", none: "None" } as const;

function Choice({ names, choice }: { names: string[]; choice: ToolChoice }): JSX.Element {
  const choose = (toolChoice: ToolChoice): void => {
    parameters.value = { ...parameters.value, toolChoice };
  };
  // One of the words is what it says; anything else is the place of a function.
  const value = typeof choice === "string" ? choice : String(names.indexOf(choice.function.name));
  return (
    <label class="field">
      <span>Tool choice</span>
      <select
        value={value}
        onChange={({ currentTarget: { value: chosen } }) => {
          const name = names[Number(chosen)];
          choose(
            name === undefined
              ? (chosen as keyof typeof WORDS)
              : { type: "function", function: { name } },
          );
        }}
      >
        {Object.entries(WORDS).map(([word, text]) => (
          <option key={word} value={word}>
            {text} ({word})
          </option>
        ))}
        {names.map((name, place) => (
          <option key={name} value={String(place)}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}

function ToolDialog({ onClose }: { onClose: () => void }): JSX.Element {
  const before = parameters.peek();
  const text = useSignal(before.tools.length > 0 ? json(before.tools) : "");
  const action = useAction();

  async function put(): Promise<void> {
    const tools = readTools(text.peek());
    const { toolChoice } = before;
    const kept =
      typeof toolChoice === "string" ||
      tools.some((tool) => tool.function.name === toolChoice.function.name);
    parameters.value = { ...parameters.peek(), tools, toolChoice: kept ? toolChoice : "auto" };
    onClose();
  }

  return (
    <Dialog title="Tools" onClose={onClose} wide>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void action.run(put);
        }}
      >
        <label class="field">
          <span>Functions, as JSON</span>
          <textarea
            class="code"
            rows={16}
            value={text.value}
            spellcheck={false}
            placeholder="[ ... ]"
            onInput={(event) => {
              text.value = event.currentTarget.value;
            }}
          />
        </label>
        <button
          type="button"
          class="button small"
          onClick={() => {
            text.value = json(EXAMPLE);
          }}
        >
          Insert an example
        </button>
        <p class="help">
          A list of OpenAI's function tools. The model's calls are shown in the conversation, and
          you answer them by hand. Empty: no tools.
        </p>
        {action.error !== null && <ErrorNotice error={action.error} doing="Reading the tools" />}
        <footer class="dialog-foot">
          <button type="button" class="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="button primary">
            Save
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

function json(tools: readonly Tool[]): string {
  return JSON.stringify(tools, null, 2);
}
