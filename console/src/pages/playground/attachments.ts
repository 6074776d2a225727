// Images and sounds that go with a message: read from files, or from the parts of a preset.

import type { ContentPart } from "../../api/chat";
import { bytes } from "../../lib/format";

export interface Attachment {
  readonly name: string;
  readonly kind: "image" | "audio" | "other";
  /** As it is sent. */
  readonly part: ContentPart;
  /** The base64 inside the part; empty where it has none. */
  readonly data: string;
  /** To be shown or played; null where it lies elsewhere, or is neither. */
  readonly file: Blob | null;
}

// By the end of a file's name: the type of an image, and that of a sound, whose format is the end.
const IMAGES: Record<string, string> = {
  png: "image/png",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  gif: "image/gif",
  webp: "image/webp",
};
const SOUNDS: Record<string, string> = {
  wav: "audio/wav",
  mp3: "audio/mpeg",
  flac: "audio/flac",
  ogg: "audio/ogg",
  opus: "audio/ogg",
  m4a: "audio/mp4",
  webm: "audio/webm",
};
const KNOWN = { ...IMAGES, ...SOUNDS };

/** For a file input's `accept`. */
export const ACCEPT = Object.entries(KNOWN)
  .flatMap(([end, type]) => [type, `.${end}`])
  .join(",");

// A gateway's bounds, where its operator has set no others.
const USUAL_IMAGE = 5 * 1024 ** 2; // bytes of a file
const USUAL_BODY = 2 * 1024 ** 2; // bytes of a request

/** A file as it goes with a message.
 *
 * @throws Error: it can't; the text names it.
 */
export async function fromFile(file: File): Promise<Attachment> {
  const end = ending(file);
  if (end === undefined) {
    throw new Error(`${file.name}: only PNG, JPEG, GIF and WebP images and audio can be sent.`);
  }
  if (file.size === 0) throw new Error(`${file.name} is empty.`);
  const data = await base64(file);
  const { name } = file;
  const type = IMAGES[end];
  if (type !== undefined) {
    const part = { type: "image_url", image_url: { url: `data:${type};base64,${data}` } };
    return { name, kind: "image", part, data, file };
  }
  const format = end === "opus" ? "ogg" : end; // the codec's name stands for its container
  const part = { type: "input_audio", input_audio: { data, format } };
  return { name, kind: "audio", part, data, file };
}

/** A part of a message that wasn't said here. */
export function fromPart(part: ContentPart): Attachment {
  const url = (part.image_url as { url?: unknown } | undefined)?.url ?? part.image_url;
  const other = { kind: "other", part, data: "", file: null } as const;
  if (typeof url !== "string") return { name: String(part.type), ...other };
  const [, type, data] = /^data:(image\/(?:png|jpeg|gif|webp));base64,(.+)$/.exec(url) ?? [];
  if (type === undefined || data === undefined) {
    return { name: url.startsWith("data:") ? "image" : url, ...other };
  }
  const name = type.replace("/", "."); // image.png
  return { name, kind: "image", part, data, file: decoded(data, type) };
}

/** What a gateway will probably not take, in sentences.
 *
 * @param all what the whole call holds, `next` with it.
 * @param next what is about to be sent.
 * @param reads what the model's prompts may be made of, as far as the gateway knows.
 */
export function doubts(
  all: readonly Attachment[],
  next: readonly Attachment[],
  model: string,
  reads: readonly string[],
): string[] {
  if (next.length === 0) return [];
  const found: string[] = [];
  const unread = [...new Set(next.map(({ kind }) => kind))].filter(
    (kind) => kind !== "other" && !reads.includes(kind),
  );
  if (unread.length > 0) {
    const what = unread.map((kind) => (kind === "image" ? "images" : "audio")).join(" or ");
    found.push(`${model} isn't known to take ${what}.`);
  }
  for (const { name, kind, file } of next) {
    if (kind !== "image" || file === null || file.size <= USUAL_IMAGE) continue;
    found.push(
      `${name} has ${bytes(file.size)}: images have at most ${bytes(USUAL_IMAGE)}, unless the operator allows more.`,
    );
  }
  const size = all.reduce((sum, one) => sum + one.data.length, 0);
  if (size > USUAL_BODY) {
    const names = next.map(({ name }) => name).join(", ");
    found.push(
      `With ${names} the request has ${bytes(size)}: requests have at most ${bytes(USUAL_BODY)}, unless the operator allows more.`,
    );
  }
  return found;
}

function ending(file: File): string | undefined {
  const end = /\.(\w+)$/.exec(file.name)?.[1]?.toLowerCase() ?? "";
  if (Object.hasOwn(KNOWN, end)) return end;
  return Object.entries(KNOWN).find(([, type]) => type === file.type)?.[0];
}

function base64(file: File): Promise<string> {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(String(reader.result).replace(/^[^,]*,/, ""));
    reader.onerror = () => failed(new Error(`${file.name} can't be read.`));
    reader.readAsDataURL(file);
  });
}

/** Null where this isn't base64. */
function decoded(data: string, type: string): Blob | null {
  try {
    return new Blob([Uint8Array.from(atob(data), (char) => char.charCodeAt(0))], { type });
  } catch {
    return null;
  }
}
