"""CLIP's towers in both layouts, its image processor, and the names of published models."""

import json
import re
import tempfile
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

TEXT = dict(
    vocab_size=60,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=3,
    num_attention_heads=4,
    max_position_embeddings=12,
)
VISION = dict(
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=3,
    num_attention_heads=4,
    image_size=32,
    patch_size=8,
)
# The end token first and then padding; at the very end; padding with the end token.
IDS = torch.tensor(
    [
        [57, 3, 17, 25, 58, 0, 0, 0],
        [57, 9, 33, 2, 41, 8, 20, 58],
        [57, 1, 58, 58, 58, 58, 58, 58],
    ]
)


def enliven(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Seeded random weights that keep activations alive through every layer, biases and layer norms
    included, rounded to half precision, in which they are stored."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if re.search(r"(norm\w*|ln_\w+|layrnorm)\.weight$", name) or "lambda" in name:
                value = 1 + 0.3 * noise
            elif parameter.dim() < 2:
                value = 0.3 * noise
            elif "embedding" in name and "patch" not in name or "probe" in name:
                value = noise
            else:
                value = 1.5 * noise / (parameter[0].numel() ** 0.5)
            parameter.copy_(value.half().float())
    return model.eval()


def published(model) -> dict[str, torch.Tensor]:
    """Weights by the names that files have."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(Path(folder) / "model.safetensors")


def under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}.{name}": tensor.half().contiguous() for name, tensor in tensors.items()}


def write_names(tensors: dict[str, torch.Tensor], file: Path) -> None:
    """Names and shapes, numbers collapsed into ranges."""
    groups: dict[tuple[str, str, str], list[int]] = {}
    lines = set()
    for name, tensor in tensors.items():
        shape = "x".join(map(str, tensor.shape)) or "-"
        match = re.fullmatch(r"(.*?(?:layers|layer|resblocks)\.)(\d+)(\..*)", name)
        if match:
            key = (match[1], match[3], shape)
            groups.setdefault(key, []).append(int(match[2]))
        else:
            lines.add(f"{name} {shape}")
    for (before, after, shape), numbers in groups.items():
        numbers = sorted(numbers)
        if numbers == list(range(len(numbers))):
            lines.add(f"{before}{{0..{len(numbers)}}}{after} {shape}")
        else:
            lines.update(f"{before}{number}{after} {shape}" for number in numbers)
    file.write_text("\n".join(sorted(lines)) + "\n")


def towers(tensors: dict[str, torch.Tensor], activation: str, end: int, seed: int) -> None:
    """One CLIP: hidden states, pooled vectors, projections, at the network's size and others."""
    ends = dict(bos_token_id=57, eos_token_id=end, pad_token_id=0, hidden_act=activation)
    config = CLIPConfig(
        text_config={**TEXT, **ends},
        vision_config={**VISION, "hidden_act": activation},
        projection_dim=24,
    )
    model = enliven(CLIPModel(config), seed)
    name = f"{activation}.{end}"
    tensors.update(under(f"{name}.weights", published(model)))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        text = model.text_model(IDS, output_hidden_states=True)
        for index, state in enumerate(text.hidden_states):
            tensors[f"{name}.text.hidden.{index}"] = state
        tensors[f"{name}.text.last"] = text.last_hidden_state
        tensors[f"{name}.text.pooled"] = text.pooler_output
        tensors[f"{name}.text.projected"] = model.text_projection(text.pooler_output)
        for height, width in [(32, 32), (48, 40), (24, 24)]:
            key = f"{name}.vision.{height}x{width}"
            images = torch.randn(2, 3, height, width, generator=generator)
            vision = model.vision_model(
                images, output_hidden_states=True, interpolate_pos_encoding=True
            )
            tensors[f"{key}.images"] = images
            for index, state in enumerate(vision.hidden_states):
                tensors[f"{key}.hidden.{index}"] = state
            tensors[f"{key}.pooled"] = vision.pooler_output
            tensors[f"{key}.projected"] = model.visual_projection(vision.pooler_output)


def open_clip_model(tensors: dict[str, torch.Tensor], custom_text: bool) -> None:
    """OpenCLIP's own network and names."""
    config = dict(
        embed_dim=24,
        vision_cfg=dict(image_size=32, layers=2, width=32, patch_size=8, head_width=8),
        text_cfg=dict(context_length=8, vocab_size=60, width=16, heads=2, layers=2),
    )
    name = "open_clip_text" if custom_text else "open_clip"
    kind = open_clip.CustomTextCLIP if custom_text else open_clip.CLIP
    model = enliven(kind(**config, quick_gelu=custom_text), 7)
    weights = {key: value for key, value in model.state_dict().items() if "attn_mask" not in key}
    tensors.update(under(f"{name}.weights", weights))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(7))
    # OpenCLIP finds the end where the highest id is.
    ids = IDS.clamp(max=58)
    with torch.no_grad():
        tensors[f"{name}.images"] = images
        tensors[f"{name}.image"] = model.encode_image(images)
        tensors[f"{name}.text"] = model.encode_text(ids)


def processor(tensors: dict[str, torch.Tensor]) -> None:
    """transformers' image processor on Pillow."""
    random = np.random.default_rng(3)
    sizes = [(40, 40), (53, 31), (20, 47), (32, 32), (16, 21)]
    for width, height in sizes:
        image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        clip = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
        values = clip(Image.fromarray(image), return_tensors="pt").pixel_values
        tensors[f"processor.{width}x{height}.image"] = torch.from_numpy(image)
        tensors[f"processor.{width}x{height}.values"] = values


def make(folder: Path) -> None:
    torch.set_num_threads(1)
    tensors = {"ids": IDS}
    # The end token by its id, and the highest id, as early configuration files have it.
    towers(tensors, "quick_gelu", 58, 1)
    towers(tensors, "gelu", 2, 2)
    open_clip_model(tensors, custom_text=False)
    open_clip_model(tensors, custom_text=True)
    processor(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "clip.safetensors")
    names(folder)


def names(folder: Path) -> None:
    """Names and shapes of published models, made without memory."""
    b32 = dict(projection_dim=512)
    l14 = dict(
        projection_dim=768,
        text_config=dict(
            hidden_size=768, intermediate_size=3072, num_attention_heads=12, projection_dim=768
        ),
        vision_config=dict(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=24,
            num_attention_heads=16,
            patch_size=14,
            image_size=336,
            projection_dim=768,
        ),
    )
    with torch.device("meta"):
        for name, config in [("clip-vit-b32", b32), ("clip-vit-l14-336", l14)]:
            model = CLIPModel(CLIPConfig(**config))
            write_names(model.state_dict(), folder / f"{name}.names")
        model = open_clip.CLIP(
            512,
            dict(image_size=224, layers=12, width=768, patch_size=32),
            dict(context_length=77, vocab_size=49408, width=512, heads=8, layers=12),
        )
        write_names(model.state_dict(), folder / "openclip.names")
