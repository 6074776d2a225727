// Who is signed in. The key lives in sessionStorage: it survives a reload, is gone with its tab, is
// never sent by the browser on its own (so no other site can use it), and never stands in a URL.

import { computed, signal } from "@preact/signals";
import { ask, credential } from "../api/client";
import { keyRefused } from "../api/errors";
import type { KeyView } from "../api/types";

const STORED = "gateway-key";

/** The signed-in key's own view; null before. */
export const self = signal<KeyView | null>(null);

/** Why the last session ended, for the sign-in page; empty otherwise. */
export const farewell = signal("");

export const isOperator = computed(() => self.value?.scopes.includes("operator") ?? false);

/** The key that this tab had before a reload; null where there was none. */
export function remembered(): string | null {
  return sessionStorage.getItem(STORED);
}

/** Sign in.
 *
 * @throws ApiError when the key isn't taken, Away when nobody answers.
 */
export async function signIn(key: string): Promise<void> {
  credential.value = key;
  try {
    self.value = await ask<KeyView>("/v1/keys/self");
  } catch (error) {
    credential.value = "";
    if (keyRefused(error)) sessionStorage.removeItem(STORED);
    throw error;
  }
  farewell.value = "";
  sessionStorage.setItem(STORED, key);
}

/** Forget the key. */
export function signOut(why = ""): void {
  sessionStorage.removeItem(STORED);
  credential.value = "";
  self.value = null;
  farewell.value = why;
}

/** End the session where an error says that the key isn't taken any more. */
export function noticeRefusal(error: unknown): void {
  if (keyRefused(error) && self.peek()) signOut(error.message);
}
