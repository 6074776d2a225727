// The fields of a preset's form, one for each of its variables, by JSON Schema.

import type { JSX } from "preact";
import { useId } from "preact/hooks";
import type { PromptView } from "../../api/types";

interface Schema {
  type?: string | string[];
  title?: string;
  description?: string;
  enum?: unknown[];
  default?: unknown;
  examples?: unknown[];
  items?: Schema;
}

export interface Field {
  name: string;
  schema: Schema;
  required: boolean;
  kind: "text" | "number" | "one" | "several" | "json";
}

/** What was put into each field: a text, or of several choices those that were taken. */
export type Draft = string | string[];
export type Drafts = Record<string, Draft>;

/** The variables of a preset, those first that it can't do without. */
export function fieldsOf(preset: PromptView): Field[] {
  const properties = (preset.variables.properties ?? {}) as Record<string, Schema | boolean>;
  const required = (preset.variables.required ?? []) as string[];
  const fields = Object.entries(properties).map(([name, given]): Field => {
    const schema = typeof given === "boolean" ? {} : given;
    return { name, schema, required: required.includes(name), kind: kindOf(schema) };
  });
  return fields.sort((one, other) => Number(other.required) - Number(one.required));
}

/** What the form says, for the gateway. Fields that were left empty are left out.
 *
 * @throws Error: something that should be JSON isn't; the text names the field.
 */
export function variables(fields: readonly Field[], drafts: Drafts): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const field of fields) {
    const draft = drafts[field.name] ?? "";
    if (draft.length > 0) found[field.name] = read(field, draft);
  }
  return found;
}

function read(field: Field, draft: Draft): unknown {
  if (typeof draft !== "string") return draft;
  if (field.kind === "number") return Number(draft);
  if (field.kind === "one") return field.schema.enum?.find((value) => label(value) === draft);
  if (field.kind !== "json") return draft;
  try {
    return JSON.parse(draft);
  } catch {
    throw new Error(`${titleOf(field)}: this isn't JSON.`);
  }
}

function kindOf(schema: Schema): Field["kind"] {
  if (schema.enum) return "one";
  const types = [schema.type ?? "string"].flat();
  if (types.includes("string")) return "text";
  if (types.includes("array") && schema.items?.enum) return "several";
  return types.every((type) => type === "number" || type === "integer") ? "number" : "json";
}

function titleOf({ name, schema }: Field): string {
  return schema.title ?? name;
}

function label(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

interface Props {
  field: Field;
  value: Draft | undefined;
  onChange: (value: Draft) => void;
}

/** One variable. */
export function VariableField({ field, value, onChange }: Props): JSX.Element {
  const { schema, required, kind } = field;
  const id = useId();
  const help = schema.description && <p class="help">{schema.description}</p>;
  if (kind === "several") {
    const taken = Array.isArray(value) ? value : [];
    const toggle = (name: string, on: boolean): void =>
      onChange(on ? [...taken, name] : taken.filter((other) => other !== name));
    return (
      <fieldset class="field">
        <legend>{titleOf(field)}</legend>
        {schema.items?.enum?.map(label).map((name) => (
          <label key={name} class="check">
            <input
              type="checkbox"
              checked={taken.includes(name)}
              onChange={(event) => toggle(name, event.currentTarget.checked)}
            />
            <span>{name}</span>
          </label>
        ))}
        {help}
      </fieldset>
    );
  }
  return (
    <div class="field">
      <label for={id}>
        <span>{titleOf(field)}</span>
      </label>
      <Control
        {...{ id, field, onChange }}
        value={typeof value === "string" ? value : ""}
        standard={schema.default === undefined ? "" : label(schema.default)}
        required={required && schema.default === undefined}
      />
      {help}
    </div>
  );
}

interface ControlProps {
  id: string;
  field: Field;
  value: string;
  /** What it is where nothing is put in. */
  standard: string;
  required: boolean;
  onChange: (value: string) => void;
}

/** Where a variable is typed or chosen. */
function Control({ id, field, value, standard, required, onChange }: ControlProps): JSX.Element {
  const { schema, kind } = field;
  if (kind === "one") {
    return (
      <select
        {...{ id, required }}
        value={value || standard}
        onChange={(event) => onChange(event.currentTarget.value)}
      >
        {standard === "" && <option value="" />}
        {schema.enum?.map(label).map((name) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
    );
  }
  if (kind === "number") {
    const step = schema.type === "integer" ? 1 : "any";
    return (
      <input
        {...{ id, required, value, step }}
        type="number"
        placeholder={standard}
        onInput={(event) => onChange(event.currentTarget.value)}
      />
    );
  }
  return (
    <textarea
      {...{ id, required, value }}
      rows={kind === "json" ? 8 : 2}
      placeholder={kind === "json" ? example(schema) : standard}
      onInput={(event) => onChange(event.currentTarget.value)}
    />
  );
}

function example(schema: Schema): string {
  const first = schema.examples?.[0] ?? schema.default;
  return first === undefined ? "" : JSON.stringify(first, null, 2);
}
