"""Time steps and samples of diffusers' schedulers, for the same predictions and noise."""

import json
from pathlib import Path

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    UniPCMultistepScheduler,
)
from diffusers.schedulers import scheduling_euler_ancestral_discrete
from safetensors.torch import save_file

KINDS = {
    "ddim": DDIMScheduler,
    "euler-ancestral": EulerAncestralDiscreteScheduler,
    "unipc": UniPCMultistepScheduler,
    "dpm-solver++": DPMSolverMultistepScheduler,
}
# As in the published files of Stable Diffusion, 1.5 to XL.
STABLE_DIFFUSION = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "clip_sample": False,
    "skip_prk_steps": True,
    "trained_betas": None,
}
LINEAR = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
CASES = {
    "ddim": [
        ({}, 10),
        ({}, 50),
        ({"prediction_type": "v_prediction"}, 7),
        ({"timestep_spacing": "trailing"}, 6),
        ({"timestep_spacing": "linspace", "set_alpha_to_one": True}, 5),
        ({"clip_sample": True, "clip_sample_range": 1.5}, 4),
        ({**LINEAR, "steps_offset": 0}, 8),
    ],
    "euler-ancestral": [
        ({"timestep_spacing": "trailing"}, 1),
        ({"timestep_spacing": "trailing"}, 4),
        ({"timestep_spacing": "trailing", "prediction_type": "v_prediction"}, 6),
        ({}, 10),
        ({"timestep_spacing": "leading"}, 9),
    ],
    "unipc": [
        ({}, 10),
        ({}, 1),
        ({}, 50),
        ({"prediction_type": "v_prediction", "timestep_spacing": "leading"}, 6),
        ({"use_karras_sigmas": True}, 8),
        ({"final_sigmas_type": "sigma_min", "timestep_spacing": "trailing"}, 7),
    ],
    "dpm-solver++": [
        ({}, 10),
        ({}, 1),
        ({}, 50),
        ({"prediction_type": "v_prediction"}, 20),
        ({"timestep_spacing": "leading"}, 25),
        ({"timestep_spacing": "trailing"}, 16),
        ({"use_karras_sigmas": True}, 12),
        ({"final_sigmas_type": "sigma_min"}, 17),
        ({"final_sigmas_type": "sigma_min", "use_karras_sigmas": True}, 6),
    ],
}


def run(kind: str, config: dict, steps: int, outputs, noises) -> dict:
    scheduler = KINDS[kind].from_config(config)
    scheduler.set_timesteps(steps)
    sample = noises[0] * scheduler.init_noise_sigma
    samples, inputs = [sample], []
    for index, timestep in enumerate(scheduler.timesteps):
        noise = noises[index % len(noises)]
        scheduling_euler_ancestral_discrete.randn_tensor = lambda *_, noise=noise, **__: noise
        inputs.append(scheduler.scale_model_input(sample, timestep))
        output = outputs[index % len(outputs)]
        sample = scheduler.step(output, timestep, sample, return_dict=False)[0]
        samples.append(sample)
    return {
        "timesteps": scheduler.timesteps.to(torch.float32),
        "inputs": torch.cat(inputs),
        "samples": torch.cat(samples),
    }


def make(folder: Path) -> None:
    generator = torch.Generator().manual_seed(11)
    shape = (12, 1, 2, 3, 3)
    outputs = torch.randn(shape, generator=generator)
    noises = torch.randn(shape, generator=generator)
    tensors = {"outputs": outputs, "noises": noises}
    cases = []
    for kind, runs in CASES.items():
        for changes, steps in runs:
            config = {**STABLE_DIFFUSION, **changes}
            for name, tensor in run(kind, config, steps, outputs, noises).items():
                tensors[f"{len(cases)}.{name}"] = tensor.contiguous()
            cases.append({"kind": kind, "steps": steps, "config": config})
    save_file(tensors, folder / "schedulers.safetensors")
    text = ",\n".join(json.dumps(case) for case in cases)
    (folder / "schedulers.json").write_text(f"[\n{text}\n]\n")
