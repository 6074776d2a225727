import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

/** An address at which the page itself finds a file, for as long as it is shown. */
export function useObjectUrl(file: Blob | null): string | undefined {
  const url = useSignal<string | undefined>(undefined);

  useEffect(() => {
    if (file === null) return;
    const made = URL.createObjectURL(file);
    url.value = made;
    return () => {
      URL.revokeObjectURL(made);
      url.value = undefined;
    };
  }, [file, url]);

  return url.value;
}
