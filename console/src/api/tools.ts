// Functions that a model may call, and its calls. Source: OpenAI's Chat Completions.

export interface Tool {
  type: "function";
  function: { name: string; description?: string; parameters?: Record<string, unknown> };
}

export type ToolChoice =
  | "auto"
  | "required"
  | "none"
  | { type: "function"; function: { name: string } };

export interface ToolCall {
  id: string;
  type: "function";
  /** The arguments as the model wrote them: JSON, where it wrote any. */
  function: { name: string; arguments: string };
}

/** A piece of a streamed call: `index` says of which. */
export interface CallDelta {
  index: number;
  id?: string | null;
  function?: { name?: string | null; arguments?: string | null };
}

/** Put further pieces to the calls so far, by their index: the id and the name come once, the arguments
 * bit by bit, and several calls in turns. */
export function join(calls: Map<number, ToolCall>, deltas: readonly CallDelta[]): void {
  for (const { index, id, function: said } of deltas) {
    const before = calls.get(index);
    calls.set(index, {
      id: id || before?.id || `call_${index}`,
      type: "function",
      function: {
        name: said?.name || before?.function.name || "",
        arguments: (before?.function.arguments ?? "") + (said?.arguments ?? ""),
      },
    });
  }
}

const NAME = /^[a-zA-Z0-9_-]{1,64}$/; // as OpenAI has it

/** Tools as somebody wrote them.
 *
 * @throws Error: what is wrong, and with which of them. What the gateway knows better is its to say.
 */
export function readTools(text: string): Tool[] {
  if (text.trim() === "") return [];
  const list = parsed(text);
  if (!Array.isArray(list)) throw new Error("The tools must be a list: [ ... ].");
  const names = new Set<string>();
  list.forEach((tool: unknown, place) => {
    const name = checked(tool, `Tool ${place + 1}`);
    if (names.has(name)) throw new Error(`Tool ${place + 1}: there is another ${name}.`);
    names.add(name);
  });
  return list as Tool[];
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`This isn't JSON: ${error instanceof Error ? error.message : error}`);
  }
}

/** The name of a tool that has the shape of one. */
function checked(tool: unknown, which: string): string {
  if (!isObject(tool) || tool.type !== "function") {
    throw new Error(`${which} must be an object with "type": "function".`);
  }
  const { function: declared } = tool;
  if (!isObject(declared)) throw new Error(`${which}: "function" must be an object.`);
  const { name, description, parameters } = declared;
  if (typeof name !== "string" || !NAME.test(name)) {
    throw new Error(`${which}: "name" must be 1 to 64 letters, digits, underscores or hyphens.`);
  }
  if (description !== undefined && typeof description !== "string") {
    throw new Error(`${which}, ${name}: "description" must be a text.`);
  }
  if (parameters !== undefined && !isObject(parameters)) {
    throw new Error(`${which}, ${name}: "parameters" must be a JSON Schema, an object.`);
  }
  return name;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
