"""U²-Net as its paper (arXiv 2005.09007) and its published weights lay it out, in any widths."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

# Stage: depth (4F is the dilated one), and for encoder and decoder input, inner and output width.
U2NET = {
    "stage1": ("7", 3, 32, 64),
    "stage2": ("6", 64, 32, 128),
    "stage3": ("5", 128, 64, 256),
    "stage4": ("4", 256, 128, 512),
    "stage5": ("4F", 512, 256, 512),
    "stage6": ("4F", 512, 256, 512),
    "stage5d": ("4F", 1024, 256, 512),
    "stage4d": ("4", 1024, 128, 256),
    "stage3d": ("5", 512, 64, 128),
    "stage2d": ("6", 256, 32, 64),
    "stage1d": ("7", 128, 16, 64),
}


def uniform(first, width, inner, joined):
    """Widths of a network whose stages are all alike, as U²-NetP's are."""
    depths = {stage: depth for stage, (depth, *_) in U2NET.items()}
    widths = {}
    for stage, depth in depths.items():
        inputs = first if stage == "stage1" else joined if stage.endswith("d") else width
        widths[stage] = (depth, inputs, inner, width)
    return widths


U2NETP = uniform(3, 64, 16, 128)
NARROW = uniform(3, 6, 4, 12)


class Rebnconv(nn.Module):
    def __init__(self, inputs, outputs, dilation=1):
        super().__init__()
        self.conv_s1 = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)
        self.bn_s1 = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return functional.relu(self.bn_s1(self.conv_s1(x)))


def upsample_like(maps, like):
    return functional.interpolate(maps, size=like.shape[2:], mode="bilinear")


class Rsu(nn.Module):
    """A residual U-block of `depth` convolutions down; pooled, or all at one size and dilated."""

    def __init__(self, depth, inputs, inner, outputs):
        super().__init__()
        self.is_dilated = depth.endswith("F")
        self.depth = int(depth[0])
        self.rebnconvin = Rebnconv(inputs, outputs)
        for level in range(1, self.depth + 1):
            width = outputs if level == 1 else inner
            dilation = 2 ** (level - 1) if self.is_dilated else 2 if level == self.depth else 1
            setattr(self, f"rebnconv{level}", Rebnconv(width, inner, dilation))
        for level in range(self.depth - 1, 0, -1):
            dilation = 2 ** (level - 1) if self.is_dilated else 1
            width = outputs if level == 1 else inner
            setattr(self, f"rebnconv{level}d", Rebnconv(2 * inner, width, dilation))

    def forward(self, x):
        x = self.rebnconvin(x)
        down = [self.rebnconv1(x)]
        for level in range(2, self.depth + 1):
            maps = down[-1]
            if not self.is_dilated and level < self.depth:
                maps = functional.max_pool2d(maps, 2, stride=2, ceil_mode=True)
            down.append(getattr(self, f"rebnconv{level}")(maps))
        maps = down.pop()
        for level in range(self.depth - 1, 0, -1):
            like = down.pop()
            if maps.shape != like.shape:
                maps = upsample_like(maps, like)
            maps = getattr(self, f"rebnconv{level}d")(torch.cat((maps, like), 1))
        return maps + x


class U2Net(nn.Module):
    def __init__(self, widths):
        super().__init__()
        for stage, block in widths.items():
            setattr(self, stage, Rsu(*block))
        sides = ["stage1d", "stage2d", "stage3d", "stage4d", "stage5d", "stage6"]
        for side, stage in enumerate(sides, 1):
            setattr(self, f"side{side}", nn.Conv2d(widths[stage][3], 1, 3, padding=1))
        self.outconv = nn.Conv2d(6, 1, 1)

    def forward(self, x):
        """The logits of d0, the map that the authors take; theirs is its sigmoid."""
        down = [self.stage1(x)]
        for stage in range(2, 7):
            pooled = functional.max_pool2d(down[-1], 2, stride=2, ceil_mode=True)
            down.append(getattr(self, f"stage{stage}")(pooled))
        maps = down.pop()
        sides = [self.side6(maps)]
        for stage in range(5, 0, -1):
            like = down.pop()
            joined = torch.cat((upsample_like(maps, like), like), 1)
            maps = getattr(self, f"stage{stage}d")(joined)
            sides.insert(0, getattr(self, f"side{stage}")(maps))
        sides = [sides[0]] + [upsample_like(side, sides[0]) for side in sides[1:]]
        return self.outconv(torch.cat(sides, 1))


def randomise(network, seed):
    """Weights that keep activations alive through all layers, and statistics unlike 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            module.weight.data.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.6, 1.4, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    return network.eval()


def names(widths):
    """Names and shapes of the published file, but for the counters of training steps."""
    with torch.device("meta"):
        state = U2Net(widths).state_dict()
    shapes = {name: "x".join(map(str, tensor.shape)) for name, tensor in state.items()}
    return [f"{name} {shape}" for name, shape in shapes.items() if shape]


def make(folder: Path) -> None:
    for name, widths in (("u2net", U2NET), ("u2netp", U2NETP)):
        (folder / f"{name}_names.txt").write_text("\n".join(names(widths)) + "\n")
    network = randomise(U2Net(NARROW), 7)
    # Odd sides on most levels, two images.
    images = torch.randn(2, 3, 70, 45, generator=torch.Generator().manual_seed(8))
    with torch.inference_mode():
        # A sigmoid that is not saturated.
        logits = network(images)
        network.outconv.weight.div_(logits.std())
        network.outconv.bias.copy_((network.outconv.bias - logits.mean()) / logits.std())
        expected = torch.sigmoid(network(images))
    print("u2net: map from", expected.min().item(), "to", expected.max().item())
    state = network.state_dict()
    weights = {f"weights.{name}": tensor for name, tensor in state.items() if tensor.ndim}
    save_file(weights | {"images": images, "expected": expected}, folder / "u2net.safetensors")
