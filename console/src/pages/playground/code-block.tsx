import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { CopyButton } from "../../ui/copy-button";
import { codeHtml } from "./safe-html";

/** Source text with a button that copies it. */
export function CodeBlock({ code, language }: { code: string; language: string }): JSX.Element {
  const html = useMemo(() => codeHtml(code, language), [code, language]);
  return (
    <figure class="code-block">
      <figcaption>
        <span>{language || "text"}</span>
        <CopyButton text={code} label="Copy this code" />
      </figcaption>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: long lines scroll, by keyboard too */}
      <pre tabIndex={0}>
        {html === null ? <code>{code}</code> : <code dangerouslySetInnerHTML={{ __html: html }} />}
      </pre>
    </figure>
  );
}
