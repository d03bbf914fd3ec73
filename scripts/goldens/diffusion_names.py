"""Names and shapes of the tensors of the published Stable Diffusions, from their configurations."""

import re
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from goldens.diffusion import published

CROSS = "CrossAttnDownBlock2D"
CROSS_UP = "CrossAttnUpBlock2D"
FOUR_LEVELS = dict(
    sample_size=64,
    block_out_channels=(320, 640, 1280, 1280),
    down_block_types=(CROSS, CROSS, CROSS, "DownBlock2D"),
    up_block_types=("UpBlock2D", CROSS_UP, CROSS_UP, CROSS_UP),
)
UNETS = {
    "sd1.5": dict(**FOUR_LEVELS, cross_attention_dim=768, attention_head_dim=8),
    "sd2.1": dict(
        **{**FOUR_LEVELS, "sample_size": 96},
        cross_attention_dim=1024,
        attention_head_dim=(5, 10, 20, 20),
        use_linear_projection=True,
        upcast_attention=True,
    ),
    "xl": dict(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", CROSS, CROSS),
        up_block_types=(CROSS_UP, CROSS_UP, "UpBlock2D"),
        cross_attention_dim=2048,
        attention_head_dim=(5, 10, 20),
        transformer_layers_per_block=(1, 2, 10),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    ),
}
VAE = dict(
    block_out_channels=(128, 256, 512, 512),
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
    layers_per_block=2,
    latent_channels=4,
    sample_size=512,
)
TEXTS = {
    "sd1.5": (CLIPTextModel, dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)),
    "sd2.1": (CLIPTextModel, dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16, hidden_act="gelu", projection_dim=512)),
    "xl_2": (CLIPTextModelWithProjection, dict(hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20, hidden_act="gelu", projection_dim=1280)),
}


def lines(names: dict) -> list:
    """One a line; runs of one number, the innermost block's, as {from..to}."""
    runs = {}
    for name, shape in names.items():
        found = None
        for block in ("transformer_blocks", "layers", "resnets", "attentions"):
            found = found or re.search(rf"(?<={block}\.)\d+", name)
        if found:
            key = (name[: found.start()], name[found.end() :], shape)
            runs.setdefault(key, []).append(int(found.group()))
        else:
            runs[(name, "", shape)] = None
    written = []
    for (before, after, shape), numbers in runs.items():
        if numbers is None:
            written.append(f"{before} {shape}")
            continue
        numbers.sort()
        start = numbers[0]
        for number, following in zip(numbers, numbers[1:] + [None]):
            if following != number + 1:
                written.append(f"{before}{{{start}..{number + 1}}}{after} {shape}")
                start = following
    return written


def write(folder: Path, name: str, model: torch.nn.Module) -> None:
    shapes = {
        published(name, key): "x".join(map(str, tensor.shape)) or "-"
        for key, tensor in model.state_dict().items()
        if not key.endswith("position_ids")
    }
    text = "\n".join(lines(shapes)) + "\n"
    (folder / f"diffusion_{name}.txt").write_text(text)


def make(folder: Path) -> None:
    with torch.device("meta"):
        for name, config in UNETS.items():
            write(folder, f"unet_{name}", UNet2DConditionModel(**config))
        write(folder, "vae", AutoencoderKL(**VAE))
        for name, (kind, config) in TEXTS.items():
            write(folder, f"text_{name}", kind(CLIPTextConfig(vocab_size=49408, **config)))
