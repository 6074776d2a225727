// The API documentation at /docs: Swagger UI over the gateway's own openapi.json.

import DOMPurify from "dompurify";
import SwaggerUI from "swagger-ui-dist/swagger-ui-es-bundle.js";
import "swagger-ui-dist/swagger-ui.css";

declare global {
  interface Window {
    trustedTypes?: {
      createPolicy(name: string, rules: { createHTML(html: string): string }): void;
    };
  }
}

// Swagger UI writes HTML as plain text, which the page's policy refuses: all of it goes through here.
window.trustedTypes?.createPolicy("default", {
  createHTML: (html: string) => DOMPurify.sanitize(html),
});

SwaggerUI({
  dom_id: "#docs",
  url: "openapi.json",
  deepLinking: true,
  validatorUrl: "none", // it would send the document to a server on the internet
});
