"""CLIPSeg, both with the simple convolution and with the complex one."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

from .clip import IDS, TEXT, VISION, enliven, published, under, write_names


def small(is_refined: bool) -> CLIPSegConfig:
    return CLIPSegConfig(
        text_config={**TEXT, "bos_token_id": 57, "eos_token_id": 2, "pad_token_id": 0},
        # Other taps than the first layers, so that their order matters.
        vision_config={**VISION, "num_hidden_layers": 5, "patch_size": 16 if is_refined else 8},
        projection_dim=24,
        extract_layers=[0, 1, 3],
        reduce_dim=16,
        decoder_num_attention_heads=4,
        decoder_intermediate_size=48,
        use_complex_transposed_convolution=is_refined,
    )


def make(folder: Path) -> None:
    torch.set_num_threads(1)
    tensors = {"ids": IDS}
    for name, is_refined in [("simple", False), ("refined", True)]:
        model = enliven(CLIPSegForImageSegmentation(small(is_refined)), 11)
        tensors.update(under(f"{name}.weights", published(model)))
        # More than the 32 pixels that positions are made for, as with 352 and 224.
        images = torch.randn(3, 3, 48, 48, generator=torch.Generator().manual_seed(11))
        with torch.no_grad():
            output = model(input_ids=IDS, pixel_values=images)
        tensors[f"{name}.images"] = images
        tensors[f"{name}.prompts"] = output.conditional_embeddings
        tensors[f"{name}.logits"] = output.logits
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / "clipseg.safetensors")
    config = CLIPSegConfig(vision_config={"patch_size": 16}, use_complex_transposed_convolution=True)
    with torch.device("meta"):
        model = CLIPSegForImageSegmentation(config)
    write_names(model.state_dict(), folder / "clipseg-rd64-refined.names")
