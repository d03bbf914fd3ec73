"""SigLIP's two halves."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import SiglipConfig, SiglipModel

from .clip import IDS, TEXT, VISION, enliven, published, under


def make(folder: Path) -> None:
    torch.set_num_threads(1)
    config = SiglipConfig(
        text_config={**TEXT, "num_hidden_layers": 2, "projection_size": 32},
        vision_config={**VISION, "num_hidden_layers": 2},
    )
    model = enliven(SiglipModel(config), 31)
    tensors = {"ids": IDS, **under("weights", published(model))}
    tensors["images"] = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(31))
    with torch.no_grad():
        tensors["image"] = model.vision_model(tensors["images"]).pooler_output
        tensors["text"] = model.text_model(IDS).pooler_output
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / "siglip.safetensors")
