"""MobileCLIP's image side as timm has it and its text side as OpenCLIP has it, both small."""

from functools import partial
from pathlib import Path

import torch
from open_clip.transformer import TextTransformer
from safetensors.torch import save_file
from timm.models.fastvit import FastVit, RepConditionalPosEnc

from .clip import IDS, enliven, under


def enliven_statistics(model: torch.nn.Module, seed: int) -> None:
    """Batch norms that have seen something."""
    generator = torch.Generator().manual_seed(seed)
    for name, buffer in model.named_buffers():
        noise = torch.randn(buffer.shape, generator=generator)
        if name.endswith("running_mean"):
            buffer.copy_((0.3 * noise).half().float())
        elif name.endswith("running_var"):
            buffer.copy_((1 + 0.5 * noise.abs()).half().float())


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    unused = ("num_batches_tracked", "attn_mask")
    return {name: value for name, value in model.state_dict().items() if not name.endswith(unused)}


def make(folder: Path) -> None:
    torch.set_num_threads(1)
    # As fastvit_mci1 but for the sizes.
    images = FastVit(
        layers=(1, 2, 1, 1),
        embed_dims=(8, 16, 32, 64),
        mlp_ratios=(3, 3, 3, 3),
        se_downsamples=(False, False, True, True),
        pos_embs=(None, None, None, partial(RepConditionalPosEnc, spatial_shape=(7, 7))),
        token_mixers=("repmixer", "repmixer", "repmixer", "attention"),
        lkc_use_act=True,
        num_classes=24,
    )
    enliven(images, 41)
    enliven_statistics(images, 42)
    texts = TextTransformer(
        context_length=8,
        vocab_size=60,
        width=16,
        heads=2,
        layers=2,
        output_dim=24,
        no_causal_mask=True,
    )
    enliven(texts, 43)
    weights = {f"visual.trunk.{name}": value for name, value in weights_of(images).items()}
    weights.update({f"text.{name}": value for name, value in weights_of(texts).items()})
    tensors = {"ids": IDS, **under("weights", weights)}
    tensors["images"] = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(41))
    with torch.no_grad():
        tensors["image"] = images(tensors["images"])
        tensors["text"] = texts(IDS)
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / "mobileclip.safetensors")
