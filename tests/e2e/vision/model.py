"""A small Gemma 3 that sees: Google's 270M text weights, and a vision tower of two layers with
weights by chance. Its architecture, processor and tokens are those of the models of 4B and more, so
images take the whole way through vLLM; what it says of them means nothing."""

from __future__ import annotations

import json
from pathlib import Path

IMAGE = "<image_soft_token>"
IMAGE_ID, BEGIN_ID, END_ID = 262_144, 255_999, 256_000  # as in google/gemma-3-4b-it
SIZE = 896  # pixels; with patches of 14, and each 16 of them together, 256 tokens an image
PROCESSOR = {
    "image_processor_type": "Gemma3ImageProcessor",
    "processor_class": "Gemma3Processor",
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "image_seq_length": 256,
    "resample": 2,
    "rescale_factor": 1 / 255,
    "size": {"height": SIZE, "width": SIZE},
}


def build(text: Path, folder: Path) -> None:
    """Write the model.

    Args:
        text: folder of the text model.
        folder: a new one.
    """
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3TextConfig,
        SiglipVisionConfig,
    )

    torch.manual_seed(0)
    source = AutoModelForCausalLM.from_pretrained(text, dtype=torch.bfloat16)
    known = source.config.to_dict() | {"vocab_size": 262_208}
    config = Gemma3Config(
        text_config=Gemma3TextConfig(
            **{key: known[key] for key in known.keys() - {"architectures", "model_type"}}
        ),
        vision_config=SiglipVisionConfig(
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=SIZE,
            patch_size=14,
            vision_use_head=False,
        ),
        mm_tokens_per_image=256,
        image_token_index=IMAGE_ID,
        image_token_id=IMAGE_ID,
        boi_token_index=BEGIN_ID,
        eoi_token_index=END_ID,
        architectures=["Gemma3ForConditionalGeneration"],
    )
    model = Gemma3ForConditionalGeneration(config).to(torch.bfloat16)
    own, given = model.model.language_model.state_dict(), source.model.state_dict()
    for name, weights in given.items():
        own[name][: len(weights)].copy_(weights)  # the vocabulary has 64 rows more
    model.model.language_model.load_state_dict(own)
    model.tie_weights()
    # A new one holds zeros, with which all images would be the same.
    projection = model.model.multi_modal_projector.mm_input_projection_weight
    torch.nn.init.normal_(projection, std=0.05)
    model.save_pretrained(folder)
    weights_file = folder / "model.safetensors"
    # vLLM knows the names that the published models have.
    renamed = {
        name.replace("vision_tower.", "vision_tower.vision_model.", 1)
        if "vision_model" not in name
        else name: weights
        for name, weights in load_file(weights_file).items()
    }
    save_file(renamed, weights_file, metadata={"format": "pt"})
    AutoTokenizer.from_pretrained(text).save_pretrained(folder)
    _teach_the_tokenizer(folder)


def _teach_the_tokenizer(folder: Path) -> None:
    """Add the token that stands for a piece of an image, and the processor's settings."""
    from tokenizers import AddedToken, Tokenizer

    path = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_special_tokens([AddedToken(IMAGE, special=True, normalized=False)])
    assert tokenizer.token_to_id(IMAGE) == IMAGE_ID
    tokenizer.save(str(path))
    names = {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": IMAGE,
    }
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text("utf-8"))
    config |= {**names, "extra_special_tokens": names, "processor_class": "Gemma3Processor"}
    path.write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    processor = {"image_seq_length": 256, "processor_class": "Gemma3Processor"}
    (folder / "processor_config.json").write_text(json.dumps(processor))
