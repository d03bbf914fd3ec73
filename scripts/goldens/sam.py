"""Small Segment Anything and MobileSAM networks, and the key lists of the published ones."""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from goldens.mobile_sam import TinyViT

SIZE = 128
TINY_SIZE = 112
WIDTH = 24


def published_names(module: torch.nn.Module) -> str:
    """Lines of `name shape`; a run of numbers in a name is written {from..to}."""
    entries = {name: "x".join(map(str, tensor.shape)) or "-" for name, tensor in module.state_dict().items()}
    grouped: dict[tuple[str, str, str], list[int]] = {}
    lines = []
    for name, shape in entries.items():
        parts = name.split(".")
        index = next((i for i, part in enumerate(parts) if part.isdigit()), None)
        if index is None:
            lines.append(f"{name} {shape}")
            continue
        key = (".".join(parts[:index]) + ".", "".join("." + part for part in parts[index + 1 :]), shape)
        grouped.setdefault(key, []).append(int(parts[index]))
    for (before, after, shape), numbers in grouped.items():
        start = numbers[0]
        for number, following in zip(numbers, numbers[1:] + [None]):
            if following != number + 1:
                lines.append(f"{before}{{{start}..{number + 1}}}{after} {shape}")
                start = following
    return "\n".join(sorted(lines)) + "\n"


# What is added to the tokens that norms see is kept small, and so are the variances that batch
# norms were given: an epsilon that is not the authors' would show.
SMALL = 0.05
RESIDUAL = [
    "patch_embed.proj",
    "pos_embed",
    "attn.proj",
    "mlp.lin2",
    "mlp.fc2",
    "downsample.conv3.bn",
    "local_conv.bn",
    "out_proj",
    "transformer.layers",
    "neck.2",
    "output_upscaling.0.bias",
]
# Of the transformer's layers, what does not end in the tokens.
INNER = ["q_proj", "k_proj", "v_proj", "lin1"]


def enliven(module: torch.nn.Module, seed: int) -> None:
    """Random weights under which every part of the network matters."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: torch.Tensor, scale: float, middle: float = 0.0) -> None:
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * scale + middle)

    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if not tensor.is_floating_point():
                continue
            if name.endswith("running_var"):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.01 + 0.005)
                continue
            if name.endswith("running_mean"):
                normal(tensor, 0.03)
                continue
            if name.endswith("bias"):
                normal(tensor, 0.3)
            elif "embed" in name or "rel_pos" in name or "token" in name and tensor.shape[0] < 5:
                normal(tensor, 0.7)
            elif "gaussian_matrix" in name or "attention_biases" in name:
                normal(tensor, 1.0)
            elif tensor.dim() == 1:
                normal(tensor, 0.3, 1.0)
            elif "hypernetworks" in name or "iou_prediction" in name:
                normal(tensor, 1.6 / tensor.shape[1] ** 0.5)
            else:
                fan_in = tensor[0].numel() if "output_upscaling" not in name else tensor.shape[0]
                normal(tensor, 1.3 / fan_in**0.5)
            if name.endswith(".c.weight"):
                # These see small tokens already.
                small = "local_conv" in name or "1.downsample.conv1" in name or "2.downsample.conv1" in name
                tensor.mul_(2.0 if small else 0.1)
            if any(part in name for part in RESIDUAL) and not any(part in name for part in INNER):
                tensor.mul_(SMALL)


def small_sam(encoder: torch.nn.Module, size: int) -> Sam:
    grid = size // 16
    sam = Sam(
        image_encoder=encoder,
        prompt_encoder=PromptEncoder(
            embed_dim=WIDTH,
            image_embedding_size=(grid, grid),
            input_image_size=(size, size),
            mask_in_chans=4,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=WIDTH, mlp_dim=48, num_heads=4),
            transformer_dim=WIDTH,
            iou_head_depth=3,
            iou_head_hidden_dim=WIDTH,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )
    return sam.eval()


def vit() -> torch.nn.Module:
    return ImageEncoderViT(
        depth=2,
        embed_dim=32,
        img_size=SIZE,
        mlp_ratio=4,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        num_heads=2,
        patch_size=16,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=[1],
        # Windows do not divide the grid of 8: the last ones are filled up.
        window_size=3,
        out_chans=WIDTH,
    )


def tiny_vit() -> torch.nn.Module:
    # On grids of 14, 7 and 7: windows that fit, that do not fit, and one that is the grid.
    return TinyViT(TINY_SIZE, [8, 16, 24, 32], [1, 1, 2, 1], [1, 2, 4, 4], [7, 7, 4, 7], WIDTH)


def picture(width: int, height: int, seed: int) -> np.ndarray:
    """A disc with a texture before a gradient."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([x * 255 // width, y * 255 // height, (x + y) * 127 // (width + height)], axis=2)
    disc = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (min(width, height) / 3) ** 2
    image[disc] = random.integers(0, 256, (int(disc.sum()), 3))
    return image.astype(np.uint8)


def predict(sam: Sam, image: np.ndarray, points: list, labels: list) -> dict:
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    prompt = {"point_coords": np.array(points, dtype=float), "point_labels": np.array(labels)}
    logits, quality, low = predictor.predict(**prompt, multimask_output=True, return_logits=True)
    _, single_quality, single_low = predictor.predict(**prompt, multimask_output=False, return_logits=True)
    return {
        "maps": predictor.features,
        "logits": torch.from_numpy(logits),
        "low": torch.from_numpy(np.concatenate([single_low, low])),
        "quality": torch.from_numpy(np.concatenate([single_quality, quality])),
    }


def golden(sam: Sam, name: str, folder: Path) -> None:
    entries = {f"weights.{key}": value.clone() for key, value in sam.state_dict().items()}
    margin = 5
    for kind, (width, height) in {"wide": (150, 97), "tall": (61, 90)}.items():
        image = picture(width, height, 7)
        entries[f"{kind}.image"] = torch.from_numpy(image)
        right, bottom = width - 1, height - 1
        prompts = {
            "corners": (
                [
                    [margin, margin],
                    [right - margin, margin],
                    [margin, bottom - margin],
                    [right - margin, bottom - margin],
                ],
                [1, 1, 1, 1],
            ),
            "centre": ([[right / 2, bottom / 2]], [1]),
            "mixed": ([[10, 20], [40, 50], [30.5, 7]], [1, 0, 0]),
        }
        for prompt, (points, labels) in prompts.items():
            predicted = predict(sam, image, points, labels)
            entries[f"{kind}.maps"] = predicted["maps"].contiguous()
            entries[f"{kind}.{prompt}.low"] = predicted["low"]
            entries[f"{kind}.{prompt}.quality"] = predicted["quality"]
            # The alternative that is taken: DiverGen's for the corners, the best for the centre.
            best = int(predicted["quality"][1:].argmax())
            taken = {"corners": 2, "centre": best}.get(prompt)
            if taken is not None:
                entries[f"{kind}.{prompt}.logits"] = predicted["logits"][taken].float().contiguous()
    save_file(entries, folder / f"{name}.safetensors")


def make(folder: Path) -> None:
    torch.set_num_threads(1)
    with torch.no_grad():
        sam = small_sam(vit(), SIZE)
        enliven(sam, 11)
        golden(sam, "sam", folder)
        encoder = tiny_vit()
        encoder.img_size = TINY_SIZE
        sam = small_sam(encoder, TINY_SIZE)
        enliven(sam, 12)
        golden(sam, "mobile_sam", folder)
    with torch.device("meta"):
        for name in ["vit_b", "vit_l", "vit_h"]:
            (folder / f"sam_{name}.names").write_text(published_names(sam_model_registry[name]()))
        sam = sam_model_registry["vit_b"]()
        sam.image_encoder = TinyViT(1024, [64, 128, 160, 320], [2, 2, 6, 2], [2, 4, 5, 10], [7, 7, 14, 7], 256)
        (folder / "sam_mobile.names").write_text(published_names(sam))
