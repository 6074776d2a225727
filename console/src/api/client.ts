// How the console speaks to its gateway: the key in a header, errors as ApiError or Away.

import { signal } from "@preact/signals";
import { ApiError, Away } from "./errors";
import type { OpenAIError } from "./types";

const TIMEOUT = 15_000; // ms until a short request counts as unanswered

/** Path in front of the gateway's routes: empty, or a proxy's prefix. */
export const BASE = location.pathname.replace(/\/console\/?$/, "");

/** The key of this tab; empty: none is sent. */
export const credential = signal("");

/** Whether the last request was answered. */
export const reachable = signal(true);

export interface Options {
  method?: "GET" | "POST" | "PATCH" | "DELETE";
  /** A form, or anything that becomes JSON. */
  body?: unknown;
  signal?: AbortSignal | undefined;
  /** Streams take as long as they take. */
  patient?: boolean;
}

/** The gateway's response, if it is a good one.
 *
 * @throws ApiError, Away, or an AbortError when `signal` says so.
 */
export async function send(path: string, options: Options = {}): Promise<Response> {
  const headers = new Headers();
  if (credential.peek()) headers.set("authorization", `Bearer ${credential.peek()}`);
  const body = content(options.body);
  if (typeof body === "string") headers.set("content-type", "application/json"); // a form has its own
  const signals = [options.signal, options.patient ? undefined : AbortSignal.timeout(TIMEOUT)];
  let response: Response;
  try {
    response = await fetch(BASE + path, {
      method: options.method ?? "GET",
      headers,
      body,
      cache: "no-store",
      credentials: "omit",
      signal: AbortSignal.any(signals.filter((one) => one !== undefined)),
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    reachable.value = false;
    throw new Away();
  }
  if (response.ok) {
    reachable.value = true;
    return response;
  }
  throw await failure(response);
}

function content(body: unknown): FormData | string | null {
  if (body instanceof FormData) return body;
  return body === undefined ? null : JSON.stringify(body);
}

/** A JSON answer; the routes' types are in types.ts. */
export async function ask<T>(path: string, options: Options = {}): Promise<T> {
  const response = await send(path, options);
  return (response.status === 204 ? null : await response.json()) as T;
}

async function failure(response: Response): Promise<Error> {
  const wait = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
  let said: OpenAIError["error"];
  try {
    said = ((await response.json()) as OpenAIError).error;
    if (typeof said.gateway_code !== "string") throw new TypeError("not an error of the gateway's");
  } catch {
    // A proxy answers in the gateway's place: it can't reach it, or takes offence itself.
    if (response.status < 500) {
      return new ApiError(response.status, `HTTP_${response.status}`, "A proxy refused this.");
    }
    reachable.value = false;
    return new Away();
  }
  reachable.value = true;
  return new ApiError(
    response.status,
    said.gateway_code,
    said.message,
    said.param,
    Number.isNaN(wait) ? null : wait,
    response.headers.get("x-request-id") ?? "",
  );
}
