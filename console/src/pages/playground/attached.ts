// What goes with the next message beside its text.

import { batch, signal } from "@preact/signals";
import { sentence } from "../../api/errors";
import { self } from "../../state/session";
import { type Attachment, fromFile } from "./attachments";

export const attached = signal<readonly Attachment[]>([]);

/** Why files that were meant to go along don't, in sentences. */
export const refused = signal<readonly string[]>([]);

/** Files that are being read. */
export const reading = signal(0);

/** Let files go with the next message. */
export async function attach(files: readonly File[]): Promise<void> {
  const whose = self.peek();
  batch(() => {
    reading.value += files.length;
    refused.value = [];
  });
  const read = await Promise.allSettled(files.map(fromFile));
  batch(() => {
    reading.value -= files.length;
    if (self.peek() !== whose) return; // signed out meanwhile
    const good = read.filter((one) => one.status === "fulfilled").map((one) => one.value);
    const bad = read.filter((one) => one.status === "rejected").map((one) => sentence(one.reason));
    attached.value = [...attached.peek(), ...good];
    refused.value = [...refused.peek(), ...bad];
  });
}

/** Leave one out. */
export function detach(one: Attachment): void {
  attached.value = attached.peek().filter((other) => other !== one);
}

/** Leave all out. */
export function detachAll(): void {
  batch(() => {
    attached.value = [];
    refused.value = [];
  });
}
