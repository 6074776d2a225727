import { useSignal } from "@preact/signals";
import type { TargetedDragEvent } from "preact";

type Drag = TargetedDragEvent<HTMLElement>;

export interface DropArea {
  /** Whether files are held over it. */
  over: boolean;
  handlers: {
    onDragOver: (event: Drag) => void;
    onDragLeave: (event: Drag) => void;
    onDrop: (event: Drag) => void;
  };
}

/** Where files may be dropped. The browser would open them in place of the page. */
export function useDrop(take: (files: File[]) => void): DropArea {
  const over = useSignal(false);

  function onDragOver(event: Drag): void {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    over.value = true;
  }

  function onDragLeave(event: Drag): void {
    if (!event.currentTarget.contains(event.relatedTarget as Node | null)) over.value = false;
  }

  function onDrop(event: Drag): void {
    over.value = false;
    const files = [...(event.dataTransfer?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    take(files);
  }

  return { over: over.value, handlers: { onDragOver, onDragLeave, onDrop } };
}
