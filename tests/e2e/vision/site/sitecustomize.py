"""Lets PyPI's torchvision, which is built for CUDA, be imported beside a PyTorch for CPUs: its
compiled part can't be loaded, so the operators that its Python part speaks of are declared before,
without code. Reading images needs none of them. On PYTHONPATH of a process and its children."""

from __future__ import annotations

import sys
from typing import Any

SCALE = "float spatial_scale, SymInt pooled_height, SymInt pooled_width"
PLACES = f"Tensor rois, {SCALE}"
GRAD = "Tensor grad, Tensor rois"
SIZES = "SymInt batch_size, SymInt channels, SymInt height, SymInt width"
OFFSETS = (
    "Tensor weight, Tensor offset, Tensor mask, Tensor bias, SymInt stride_h, "
    "SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, "
    "SymInt groups, SymInt offset_groups, bool use_mask"
)
SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    f"roi_align(Tensor input, {PLACES}, int sampling_ratio, bool aligned) -> Tensor",
    f"qroi_align(Tensor input, {PLACES}, int sampling_ratio, bool aligned) -> Tensor",
    f"roi_pool(Tensor input, {PLACES}) -> (Tensor, Tensor)",
    f"ps_roi_align(Tensor input, {PLACES}, int sampling_ratio) -> (Tensor, Tensor)",
    f"ps_roi_pool(Tensor input, {PLACES}) -> (Tensor, Tensor)",
    f"deform_conv2d(Tensor input, {OFFSETS}) -> Tensor",
    f"_roi_align_backward({GRAD}, {SCALE}, {SIZES}, int sampling_ratio, bool aligned) -> Tensor",
    f"_roi_pool_backward({GRAD}, Tensor argmax, {SCALE}, {SIZES}) -> Tensor",
    f"_ps_roi_align_backward({GRAD}, Tensor channel_mapping, {SCALE}, int sampling_ratio, {SIZES})"
    " -> Tensor",
    f"_ps_roi_pool_backward({GRAD}, Tensor channel_mapping, {SCALE}, {SIZES}) -> Tensor",
    f"_deform_conv2d_backward(Tensor grad, Tensor input, {OFFSETS})"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)


class Declare:
    """A finder that finds nothing: it sees the first import of torchvision."""

    library: Any = None

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> None:
        """Declare the operators, once; processes that don't see images need no PyTorch for it."""
        if name == "torchvision" and cls.library is None:
            cls.library = False
            import torch

            cls.library = torch.library.Library("torchvision", "DEF")
            for schema in SCHEMAS:
                cls.library.define(schema)


sys.meta_path.insert(0, Declare)  # type: ignore[arg-type]  # a finder is anything that has this
