// What a transcript may be saved as.

import type { Segment, Transcript } from "../../api/transcribe";

export interface Saved {
  /** The end of the file's name. */
  end: "txt" | "srt" | "vtt" | "json";
  type: string;
  text: string;
}

/** The files that a transcript has enough for: subtitles need times. */
export function filesOf({ format, text, document }: Transcript): Saved[] {
  if (format === "srt") return [{ end: "srt", type: "application/x-subrip", text }];
  if (format === "vtt") return [{ end: "vtt", type: "text/vtt", text }];
  const found: Saved[] = [{ end: "txt", type: "text/plain", text: `${text.trim()}\n` }];
  const segments = document?.segments ?? [];
  if (segments.length > 0) {
    found.push({ end: "srt", type: "application/x-subrip", text: srt(segments) });
    found.push({ end: "vtt", type: "text/vtt", text: vtt(segments) });
  }
  if (document !== null) {
    found.push({ end: "json", type: "application/json", text: JSON.stringify(document, null, 2) });
  }
  return found;
}

/** Seconds as 01:02:03.456, which the two kinds of subtitles write with marks of their own. */
export function timestamp(seconds: number, mark = "."): string {
  const whole = Math.round(seconds * 1000);
  const pad = (value: number, digits = 2): string => String(value).padStart(digits, "0");
  const [hours, minutes] = [Math.floor(whole / 3_600_000), Math.floor(whole / 60_000) % 60];
  const rest = `${pad(Math.floor(whole / 1000) % 60)}${mark}${pad(whole % 1000, 3)}`;
  return `${pad(hours)}:${pad(minutes)}:${rest}`;
}

function srt(segments: Segment[]): string {
  return segments
    .map(({ start, end, text }, place) => {
      const times = `${timestamp(start, ",")} --> ${timestamp(end, ",")}`;
      return `${place + 1}\n${times}\n${text.trim()}\n`;
    })
    .join("\n");
}

/** Source: W3C WebVTT; what would be its markup is written out. */
function vtt(segments: Segment[]): string {
  const cues = segments.map(({ start, end, text }) => {
    const plain = text
      .trim()
      .replaceAll("&", "&amp;")
      .replaceAll("<", "&lt;")
      .replaceAll(">", "&gt;");
    return `${timestamp(start)} --> ${timestamp(end)}\n${plain}\n`;
  });
  return ["WEBVTT\n", ...cues].join("\n");
}
