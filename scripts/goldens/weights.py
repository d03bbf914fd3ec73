"""Archives as torch.save writes them: the readers of src/build/weights are held against these."""

from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file


def tensors() -> "OrderedDict[str, torch.Tensor]":
    generator = torch.Generator().manual_seed(5)
    random = torch.randn(3, 4, 5, generator=generator)
    base = torch.arange(24, dtype=torch.float32)
    return OrderedDict(
        plain=random,
        double=random.double() * 3,
        half=random.half(),
        bfloat=random.bfloat16(),
        long=torch.tensor([-1, 2**40]),
        boolean=torch.tensor([True, False, True]),
        scalar=torch.tensor(2.5),
        empty=torch.zeros(0, 3),
        # Two that share one storage, the second from its middle.
        shared=base,
        shared_middle=base[6:18].view(3, 4),
        # Axes in another order than they are stored in.
        transposed=random.permute(2, 0, 1),
        channels_last=torch.randn(2, 3, 4, 5, generator=generator).to(memory_format=torch.channels_last),
        one=torch.randn(1, 4, 1, generator=generator).transpose(0, 2),
    )


def make(folder: Path) -> None:
    state = tensors()
    # candle's own reader, which this file is read with for comparison, has no booleans.
    reference = {name: tensor.contiguous().clone() for name, tensor in state.items()}
    reference["boolean"] = reference["boolean"].byte()
    save_file(reference, folder / "weights.safetensors")
    torch.save(state, folder / "weights_plain.pth")
    module = torch.nn.Conv2d(1, 2, 3)
    module.load_state_dict({"weight": torch.full((2, 1, 3, 3), 0.5), "bias": torch.tensor([1.0, 2.0])})
    training = {
        "epoch": 7,
        "best": 0.25,
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3, "params": [0, 1]}]},
        # Parameters, as a state_dict of a module kept with keep_vars has them.
        "state_dict": dict(module.named_parameters()),
    }
    torch.save(training, folder / "weights_training.pth")
    torch.save({"gap": torch.arange(10.0)[::2]}, folder / "weights_gap.pth")
    torch.save({"plain": state["plain"]}, folder / "weights_old.pth", _use_new_zipfile_serialization=False)
    torch.save(module, folder / "weights_object.pth")
    torch.jit.script(module).save(str(folder / "weights_program.pt"))
