"""DINOv2 at its own size and at others."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import Dinov2Config, Dinov2Model

from .clip import enliven, published, under, write_names


def make(folder: Path) -> None:
    torch.set_num_threads(1)
    config = Dinov2Config(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, mlp_ratio=2, image_size=70
    )
    model = enliven(Dinov2Model(config), 21)
    tensors = under("weights", published(model))
    generator = torch.Generator().manual_seed(21)
    for height, width in [(70, 70), (42, 42), (28, 56)]:
        images = torch.randn(1, 3, height, width, generator=generator)
        with torch.no_grad():
            output = model(images)
        tensors[f"{height}x{width}.images"] = images
        tensors[f"{height}x{width}.pooled"] = output.pooler_output
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / "dinov2.safetensors")
    # Names are as they are published only in what is saved, which takes memory: one layer's stand
    # for all twelve.
    base = Dinov2Config(image_size=518, num_hidden_layers=1)
    names = {}
    for name, tensor in published(Dinov2Model(base)).items():
        layers = range(12) if "layer.0." in name else [0]
        names.update({name.replace("layer.0.", f"layer.{layer}."): tensor for layer in layers})
    write_names(names, folder / "dinov2-base.names")
