"""Images, sounds and files in messages: what may stand there, and how another form is put in place.

Engines are only given what travels in the request itself. An image may be named by an https or http
URL, which the gateway's stage for media fetches or refuses; anything else is never loaded.
"""

from __future__ import annotations

from gemma_gateway.core.dialect import Json, Media, Where
from gemma_gateway.wire.openai.openai import invalid
from gemma_gateway.wire.place import place

DETAILS = ("auto", "low", "high", "original")
REMOTE = ("https://", "http://")
OFF = "Remote media is off: "
MOST_HEAD = 256  # characters of a data: URL up to its data
# Roles whose texts become one, in templates and in vLLM's own conversion: an image would be lost.
TEXT_ONLY = frozenset({"system", "developer"})


def is_remote(url: str) -> bool:
    """Whether this names an image that lies elsewhere, as ``check_url`` lets them pass."""
    return url[:8].lower().startswith(REMOTE)


def check_url(url: object, where: Where, kind: str) -> None:
    """Raise VALIDATION_ERROR unless this is a data: URL, or that of an image on the web."""
    if isinstance(url, str) and (
        url[:5].lower() == "data:" or (kind == "image" and is_remote(url))
    ):
        return
    raise invalid(f"{OFF}send a data: URL such as data:image/png;base64,...", place(where))


def check_file(words: str, where: Where) -> None:
    """Raise VALIDATION_ERROR where a file part (all that is said in it) names a URL."""
    if "://" in words:
        raise invalid(f"{OFF}send the file itself, in base64.", place(where))


def check_detail(holder: Json, where: Where) -> None:
    """Raise VALIDATION_ERROR where ``detail`` of an image is none of OpenAI's words; null, which
    vLLM doesn't take, becomes their default."""
    if "detail" not in holder:
        return
    detail = holder["detail"]
    if detail is None:
        holder["detail"] = "auto"
    elif detail.__class__ is not str or detail not in DETAILS:
        raise invalid("detail must be auto, low, high or original.", place((where, "detail")))


def check_source(block: Json, where: Where) -> None:
    """Raise VALIDATION_ERROR where Anthropic's image block lacks what its source's type says: vLLM
    would leave some of these out of the prompt in silence."""
    source = block.get("source")
    if source.__class__ is dict:
        if source.get("file_id"):
            return  # ``stored`` refuses it
        name = {"base64": "data", "url": "url"}.get(str(source.get("type")))
        if name and source.get(name).__class__ is str:
            source.pop("url" if name == "data" else "data", None)  # nobody reads it
            return
    raise invalid(
        "An image needs a source: {type: base64, media_type, data} or {type: url, url}.",
        place((where, "source")),
    )


def check_role(role: str, media: list[Media]) -> None:
    """Raise VALIDATION_ERROR for an image in a message whose text alone a model is shown."""
    if role in TEXT_ONLY:
        refuse_images(media, f"A message of the role {role} holds text only: send the image in one "
                      "of the role user.")  # fmt: skip


def refuse_images(media: list[Media], why: str) -> None:
    """Raise VALIDATION_ERROR for the first image."""
    for each in media:
        if each.kind == "image":
            raise invalid(why, place(each.where))


def head(media: Media) -> tuple[str, int]:
    """The media type of an image that came along, as a client says it, and where in ``data`` its
    base64 begins.

    The type is empty where it isn't written in the plain form of ``put``. Raises VALIDATION_ERROR
    for a data: URL in another coding.
    """
    text = media.data
    if media.key == "data":
        told = media.container.get("media_type")
        return told if told.__class__ is str else "", 0
    written, comma, _ = text[:MOST_HEAD].partition(",")
    if not comma or not written[5:].lower().endswith(";base64"):
        raise invalid(
            "A data: URL holds base64, as in data:image/png;base64,...", place(media.where)
        )
    told = written[5:-7] if written[:5] == "data:" and written[-7:] == ";base64" else ""
    return told, len(written) + 1


def put(media: Media, media_type: str, data: str) -> None:
    """Let an image or sound stand in the request itself, in the form of its protocol.

    Args:
        media: whose ``container`` is changed.
        media_type: such as ``image/png``.
        data: base64.
    """
    holder = media.container
    if media.kind == "audio" and media.key == "data":  # OpenAI's ``input_audio``
        holder.update(data=data, format=media_type.partition("/")[2])
        return
    if is_source(media):
        holder.pop("url", None)
        holder.update(type="base64", media_type=media_type, data=data)
        media.key = "data"
    else:
        holder[media.key] = f"data:{media_type};base64,{data}"


def is_source(media: Media) -> bool:
    """Whether it stands in an Anthropic ``source`` object."""
    step = media.where[0] if isinstance(media.where, tuple) else ""
    return isinstance(step, tuple) and step[1] == "source"
