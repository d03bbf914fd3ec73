"""MobileSAM's image encoder, from the description of TinyViT (arXiv 2207.10666) and of MobileSAM.

No package has it, so it is written here in PyTorch, with the authors' names of parameters
(github.com/ChaoningZhang/MobileSAM, mobile_sam/modeling/tiny_vit_sam.py).
"""

import torch
from segment_anything.modeling.common import LayerNorm2d
from torch import nn
from torch.nn import functional as F


class ConvNorm(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, side: int = 1, stride: int = 1, groups: int = 1):
        super().__init__()
        self.add_module("c", nn.Conv2d(inputs, outputs, side, stride, side // 2, groups=groups, bias=False))
        self.add_module("bn", nn.BatchNorm2d(outputs))


class MobileBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv1 = ConvNorm(width, 4 * width)
        self.conv2 = ConvNorm(4 * width, 4 * width, 3, groups=4 * width)
        self.conv3 = ConvNorm(4 * width, width)

    def forward(self, x):
        return F.gelu(x + self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))))


class Merge(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = ConvNorm(inputs, outputs)
        self.conv2 = ConvNorm(outputs, outputs, 3, stride, groups=outputs)
        self.conv3 = ConvNorm(outputs, outputs)

    def forward(self, x):
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, side: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        places = [(y, x) for y in range(side) for x in range(side)]
        numbers: dict[tuple[int, int], int] = {}
        table = [
            [numbers.setdefault((abs(a[0] - b[0]), abs(a[1] - b[1])), len(numbers)) for b in places]
            for a in places
        ]
        self.attention_biases = nn.Parameter(torch.zeros(heads, len(numbers)))
        self.table = table

    def forward(self, x):
        count, tokens, width = x.shape
        qkv = self.qkv(self.norm(x)).view(count, tokens, self.heads, -1)
        query, key, value = (part.transpose(1, 2) for part in qkv.chunk(3, dim=3))
        bias = self.attention_biases[:, torch.tensor(self.table)]
        scores = query @ key.transpose(2, 3) * (width // self.heads) ** -0.5 + bias
        return self.proj((scores.softmax(-1) @ value).transpose(1, 2).reshape(count, tokens, width))


class Mlp(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(self.norm(x))))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, side: int):
        super().__init__()
        self.side = side
        self.attn = Attention(width, heads, side)
        self.mlp = Mlp(width)
        self.local_conv = ConvNorm(width, width, 3, groups=width)

    def attend(self, x):
        """Attention in windows of x: [images, height, width, channels]."""
        images, height, width, channels = x.shape
        side = self.side
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        down, across = x.shape[1] // side, x.shape[2] // side
        x = x.view(images, down, side, across, side, channels).transpose(2, 3)
        x = self.attn(x.reshape(-1, side * side, channels))
        x = x.view(images, down, across, side, side, channels).transpose(2, 3)
        return x.reshape(images, down * side, across * side, channels)[:, :height, :width]

    def forward(self, x):
        tokens = x.permute(0, 2, 3, 1)
        tokens = tokens + self.attend(tokens)
        tokens = self.local_conv(tokens.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return (tokens + self.mlp(tokens)).permute(0, 3, 1, 2)


class Stage(nn.Module):
    def __init__(self, blocks: list[nn.Module], downsample: nn.Module | None):
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        if downsample is not None:
            self.downsample = downsample

    def forward(self, x):
        x = self.blocks(x)
        return self.downsample(x) if hasattr(self, "downsample") else x


class Stem(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.seq = nn.Sequential(ConvNorm(3, width // 2, 3, 2), nn.GELU(), ConvNorm(width // 2, width, 3, 2))

    def forward(self, x):
        return self.seq(x)


class TinyViT(nn.Module):
    def __init__(self, size: int, widths, depths, heads, windows, output: int):
        super().__init__()
        self.img_size = size
        self.patch_embed = Stem(widths[0])
        stages = []
        for stage, width in enumerate(widths):
            make = (lambda: MobileBlock(width)) if stage == 0 else (lambda: Block(width, heads[stage], windows[stage]))
            # The way into the last stage keeps the resolution.
            merge = Merge(width, widths[stage + 1], 1 if stage == 2 else 2) if stage < 3 else None
            stages.append(Stage([make() for _ in range(depths[stage])], merge))
        self.layers = nn.Sequential(*stages)
        self.neck = nn.Sequential(
            nn.Conv2d(widths[-1], output, 1, bias=False),
            LayerNorm2d(output),
            nn.Conv2d(output, output, 3, padding=1, bias=False),
            LayerNorm2d(output),
        )

    def forward(self, x):
        return self.neck(self.layers(self.patch_embed(x)))
