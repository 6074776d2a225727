// Markdown and code to HTML that can do nothing. What the model writes is a stranger's text: only
// the elements below pass, without style, event or source attributes, and nothing is loaded.

import DOMPurify from "dompurify";
import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import c from "highlight.js/lib/languages/c";
import cpp from "highlight.js/lib/languages/cpp";
import css from "highlight.js/lib/languages/css";
import go from "highlight.js/lib/languages/go";
import java from "highlight.js/lib/languages/java";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";
import rust from "highlight.js/lib/languages/rust";
import sql from "highlight.js/lib/languages/sql";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";
import { Marked, type Token } from "marked";

const known = {
  ...{ bash, c, cpp, css, go, java, javascript, json, python },
  ...{ rust, sql, typescript, xml, yaml },
};
for (const [name, language] of Object.entries(known)) hljs.registerLanguage(name, language);

const TAGS = [
  ...["p", "br", "hr", "strong", "em", "del", "code", "a", "blockquote"],
  ...["h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li"],
  ...["table", "thead", "tbody", "tr", "th", "td"],
];

// HTML in the text is shown as it was written: it isn't Markdown's to run it.
const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;"),
    // The page has a title and sections of its own above them.
    heading({ tokens, depth }) {
      const level = Math.min(6, depth + 2);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
  },
});

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName !== "A") return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer nofollow");
});

/** The text's blocks, in order. */
export function blocks(markdown: string): Token[] {
  return marked.lexer(markdown);
}

/** One block as HTML for `dangerouslySetInnerHTML`. */
export function blockHtml(block: Token): string {
  return trusted(
    DOMPurify.sanitize(marked.parser([block]), {
      ALLOWED_TAGS: TAGS,
      ALLOWED_ATTR: ["href", "start", "align"],
      ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
      RETURN_TRUSTED_TYPE: true,
    }),
  );
}

/** Code with its words marked; null where its language isn't known. */
export function codeHtml(code: string, language: string): string | null {
  if (!hljs.getLanguage(language)) return null;
  const { value } = hljs.highlight(code, { language, ignoreIllegals: true });
  return trusted(
    DOMPurify.sanitize(value, {
      ALLOWED_TAGS: ["span"],
      ALLOWED_ATTR: ["class"],
      RETURN_TRUSTED_TYPE: true,
    }),
  );
}

/** Preact hands the value to innerHTML as it is, and its types know only strings. */
function trusted(html: unknown): string {
  return html as string;
}
