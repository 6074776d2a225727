import type { JSX } from "preact";
import { useObjectUrl } from "../../lib/object-url";
import { Icon } from "../../ui/icons";
import type { Attachment } from "./attachments";

interface Props {
  attachments: readonly Attachment[];
  /** Offered beside each, where it may still be left out. */
  onRemove?: (one: Attachment) => void;
}

/** What goes with a message: images to be seen, sounds to be heard, the names of all else. */
export function Previews({ attachments, onRemove }: Props): JSX.Element | null {
  if (attachments.length === 0) return null;
  return (
    <ul class="previews" aria-label="Attachments">
      {attachments.map((one, place) => (
        <li key={`${place} ${one.name}`} class={`preview ${one.kind}`}>
          <Preview one={one} />
          {onRemove && (
            <button
              type="button"
              class="button quiet icon-only"
              aria-label={`Remove ${one.name}`}
              onClick={() => onRemove(one)}
            >
              <Icon name="close" />
            </button>
          )}
        </li>
      ))}
    </ul>
  );
}

function Preview({ one }: { one: Attachment }): JSX.Element {
  const url = useObjectUrl(one.file);
  if (one.kind === "image" && one.file !== null) {
    return url ? <img src={url} alt={one.name} title={one.name} /> : <span class="preview-room" />;
  }
  if (one.kind === "audio") {
    return (
      <figure>
        <figcaption>{one.name}</figcaption>
        {/* biome-ignore lint/a11y/useMediaCaption: what is said in it is what the model is asked */}
        <audio controls preload="metadata" src={url} aria-label={one.name} />
      </figure>
    );
  }
  return (
    <span class="preview-name">
      <Icon name="file" />
      <span>{one.name}</span>
    </span>
  );
}
