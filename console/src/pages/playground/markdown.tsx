import type { Token, Tokens } from "marked";
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { CodeBlock } from "./code-block";
import { blockHtml, blocks } from "./safe-html";

/** A text in Markdown. Blocks are only ever added at the end; while it streams, only those whose
 * source changes are made again. */
export function Markdown({ text }: { text: string }): JSX.Element {
  return (
    <div class="prose">
      {blocks(text).map((block, place) => {
        if (block.type === "code") {
          const { text: code, lang } = block as Tokens.Code;
          return <CodeBlock key={place} code={code} language={lang ?? ""} />;
        }
        return <Block key={place} block={block} />;
      })}
    </div>
  );
}

function Block({ block }: { block: Token }): JSX.Element {
  const html = useMemo(() => blockHtml(block), [block.raw]);
  return <div dangerouslySetInnerHTML={{ __html: html }} />;
}
