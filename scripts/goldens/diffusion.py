"""Tiny Stable Diffusions of three kinds: UNet, decoder, text encoders, and the whole way to images."""

import json
import re
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

START, END = 57, 58
# The end token first and then padding with 0; the same padded with the end token; at the very end.
IDS = {
    "zero": [[START, 3, 17, 25, END, 0, 0, 0], [START, 9, 33, 2, 41, 8, 20, END]],
    "end": [[START, 3, 17, 25, END, END, END, END], [START, END, END, END, END, END, END, END]],
}
UNET = dict(
    sample_size=8,
    block_out_channels=(16, 32),
    norm_num_groups=8,
    layers_per_block=1,
    cross_attention_dim=24,
)
UNETS = {
    # Convolutions around transformers, the same number of heads everywhere.
    "sd1": dict(
        **{**UNET, "layers_per_block": 2},
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=2,
    ),
    # Linear layers around transformers, numbers of heads by level, three levels.
    "sd2": dict(
        **{**UNET, "block_out_channels": (16, 32, 32)},
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=(2, 4, 8),
        use_linear_projection=True,
        upcast_attention=True,
    ),
    # No attention in the first level, several transformer blocks in the second, pooled texts and sizes.
    "xl": dict(
        **{**UNET, "cross_attention_dim": 40},
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=20 + 6 * 8,
    ),
}
VAES = {
    "sd1": dict(scaling_factor=0.18215),
    "xl": dict(scaling_factor=0.13025),
}
VAE = dict(
    block_out_channels=(16, 32),
    down_block_types=("DownEncoderBlock2D",) * 2,
    up_block_types=("UpDecoderBlock2D",) * 2,
    latent_channels=4,
    norm_num_groups=8,
    layers_per_block=1,
)
TEXT = dict(
    vocab_size=60, max_position_embeddings=8, num_hidden_layers=3, bos_token_id=START, pad_token_id=0
)
TEXTS = {
    # As in the published files, an end token of 2 stands for the highest id.
    "sd1": (
        CLIPTextModel,
        dict(hidden_size=24, intermediate_size=48, num_attention_heads=2, hidden_act="quick_gelu", eos_token_id=2),
    ),
    "xl": (
        CLIPTextModel,
        dict(hidden_size=16, intermediate_size=32, num_attention_heads=2, hidden_act="quick_gelu", eos_token_id=2),
    ),
    "xl_2": (
        CLIPTextModelWithProjection,
        dict(hidden_size=24, intermediate_size=48, num_attention_heads=3, hidden_act="gelu", eos_token_id=2, projection_dim=20),
    ),
}
DDIM = dict(
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    steps_offset=1,
    set_alpha_to_one=False,
    clip_sample=False,
)


# Small activations before the first norms of each kind, whose eps would not be seen otherwise.
FAINT = r"conv_in|down_blocks\.0\.resnets\.0\.conv2|down_blocks\.0\.attentions\.0\.proj_in"


def enliven(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Seeded random weights that keep activations alive, the gates of feed-forward layers above all,
    rounded to half precision, in which they are stored."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if re.search(r"norm\w*\.weight$", name) and parameter.dim() == 1:
                value = 1 + 0.3 * noise
            elif parameter.dim() < 2:
                value = 0.3 * noise
            elif "embedding" in name and "linear" not in name:
                value = noise
            else:
                gain = 2 if re.search(r"ff\.net|fc\d|to_q|q_proj", name) else 1
                value = gain * noise / parameter[0].numel() ** 0.5
            if re.search(FAINT, name):
                value = 0.005 * value
            parameter.copy_(value.half().float())
    return model.eval()


def configuration(model) -> dict:
    config = dict(model.config) if not hasattr(model.config, "to_dict") else model.config.to_dict()
    return json.loads(json.dumps(config, default=str))


class Goldens:
    """Tensors and configurations of all networks."""

    def __init__(self):
        self.tensors, self.configs = {}, {}

    def add(self, name: str, model: torch.nn.Module) -> None:
        self.configs[name] = configuration(model)
        for key, tensor in model.state_dict().items():
            # Only decoders are used, and positions are no weights.
            if not re.search(r"^(encoder|quant_conv)\.|position_ids$", key) or not name.startswith("vae"):
                self.tensors[f"{name}.{published(name, key)}"] = tensor.half().contiguous()

    def put(self, **tensors) -> None:
        self.tensors.update({name.replace("__", "."): tensor.contiguous() for name, tensor in tensors.items()})


def published(name: str, key: str) -> str:
    """Today's transformers leaves out a prefix that published text encoders have."""
    is_bare = name.startswith("text") and not key.startswith(("text_model.", "text_projection"))
    return f"text_model.{key}" if is_bare else key


def text_encoders(goldens: Goldens) -> dict:
    encoders = {}
    for seed, (name, (kind, config)) in enumerate(TEXTS.items()):
        encoders[name] = enliven(kind(CLIPTextConfig(**TEXT, **config)), 100 + seed)
        goldens.add(f"text.{name}", encoders[name])
    return encoders


def conditioning(encoders: dict, name: str, ids: torch.Tensor):
    """What diffusers' pipelines make of tokens: texts, and in XL pooled texts."""
    if name != "xl":
        return encoders["sd1"](ids)[0], None
    first = encoders["xl"](ids, output_hidden_states=True)
    second = encoders["xl_2"](ids, output_hidden_states=True)
    return torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1), second[0]


def pipeline(name: str, unet, vae, embeds: dict, latents) -> torch.Tensor:
    scheduler = DDIMScheduler(**DDIM)
    common = dict(vae=vae, unet=unet, scheduler=scheduler, text_encoder=None, tokenizer=None)
    if name == "xl":
        whole = StableDiffusionXLPipeline(
            **common, text_encoder_2=None, tokenizer_2=None, add_watermarker=False
        )
    else:
        whole = StableDiffusionPipeline(
            **common, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    whole.set_progress_bar_config(disable=True)
    height, width = (2 * side for side in latents.shape[2:])
    return whole(
        **embeds,
        latents=latents,
        height=height,
        width=width,
        num_inference_steps=3,
        guidance_scale=5.0,
        output_type="np",
    ).images


def one_kind(goldens: Goldens, name: str, seed: int, encoders: dict) -> None:
    generator = torch.Generator().manual_seed(seed)
    unet = enliven(UNet2DConditionModel(**UNETS[name]), seed)
    goldens.add(f"unet.{name}", unet)
    texts, pooled = conditioning(encoders, name, torch.tensor(IDS["zero"]))
    negatives, negative_pooled = conditioning(encoders, name, torch.tensor(IDS["end"]))
    goldens.put(**{f"{name}__texts": texts, f"{name}__negatives": negatives})
    added = None
    if pooled is not None:
        sizes = torch.tensor([[1024.0, 768, 0, 32, 512, 640], [16, 24, 0, 0, 16, 24]])
        added = {"text_embeds": pooled, "time_ids": sizes}
        goldens.put(**{f"{name}__pooled": pooled, f"{name}__negative_pooled": negative_pooled, f"{name}__sizes": sizes})
    # Twice a size that halves evenly, and one that does not.
    for number, (side, timestep) in enumerate([((8, 12), 981), ((8, 8), 1), ((9, 7), 500)]):
        latents = torch.randn((2, 4, *side), generator=generator)
        output = unet(latents, timestep, texts, added_cond_kwargs=added).sample
        goldens.put(**{f"{name}__{number}__latents": latents, f"{name}__{number}__output": output})
    if name not in VAES:
        return
    vae = enliven(AutoencoderKL(**VAE, **VAES[name]), seed + 50)
    goldens.add(f"vae.{name}", vae)
    latents = torch.randn((2, 4, 8, 12), generator=generator)
    decoded = vae.decode(latents / vae.config.scaling_factor).sample
    goldens.put(**{f"{name}__decoder__latents": latents, f"{name}__decoder__output": decoded})
    embeds = dict(prompt_embeds=texts, negative_prompt_embeds=negatives)
    if pooled is not None:
        embeds.update(pooled_prompt_embeds=pooled, negative_pooled_prompt_embeds=negative_pooled)
    images = pipeline(name, unet, vae, embeds, latents)
    goldens.put(**{f"{name}__images": torch.from_numpy(images)})


@torch.no_grad()
def make(folder: Path) -> None:
    torch.set_num_threads(1)
    goldens = Goldens()
    encoders = text_encoders(goldens)
    for key, ids in IDS.items():
        goldens.put(**{f"ids__{key}": torch.tensor(ids, dtype=torch.int64)})
        outputs = encoders["xl_2"](torch.tensor(ids))
        goldens.put(**{f"text__projected__{key}": outputs.text_embeds})
    for seed, name in enumerate(UNETS):
        one_kind(goldens, name, seed + 1, encoders)
    goldens.configs["scheduler"] = DDIM
    save_file(goldens.tensors, folder / "diffusion.safetensors")
    (folder / "diffusion.json").write_text(json.dumps(goldens.configs, indent=1) + "\n")
    for name, tensor in goldens.tensors.items():
        if not re.match(r"unet|vae|text\.(sd1|xl)", name) and tensor.is_floating_point():
            print(f"{name:24} {tuple(tensor.shape)} mean {tensor.mean():.3f} deviation {tensor.std():.3f}")
