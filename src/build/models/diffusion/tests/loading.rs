//! Whole models from folders, and what an image depends on.

use std::collections::HashMap;
use std::path::Path;

use image::RgbImage;

use super::*;
use crate::build::models::diffusion::{Diffusion, DiffusionOptions};
use crate::build::models::{Generator, ModelError, Request};
use crate::build::weights::ModelFiles;

/// Bytes as CLIP's tokenizers write them, each also as the end of a word; ids come more than once.
fn vocabulary() -> Value {
    let is_shown = |byte: &u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let shown: Vec<u32> = (0..256).filter(is_shown).collect();
    let others = 256..256 + 256 - shown.len() as u32;
    let mut ids = json!({"<|startoftext|>": 57, "<|endoftext|>": 58});
    for (index, code) in shown.into_iter().chain(others).enumerate() {
        let symbol = char::from_u32(code).unwrap();
        ids[symbol.to_string()] = json!(index % 57);
        ids[format!("{symbol}</w>")] = json!((index + 31) % 57);
    }
    ids
}

fn write(folder: &Path, name: &str, text: &str) {
    let file = folder.join(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

fn save(folder: &Path, name: &str, weights: &HashMap<String, Tensor>) {
    candle_core::safetensors::save(weights, folder.join(name)).unwrap();
}

/// A tiny model in diffusers' layout, its text encoders made for texts of 77 tokens.
fn folder_of(tiny: &Tiny, name: &str) -> tempfile::TempDir {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    for part in ["unet", "vae"] {
        let golden = format!("{part}.{name}");
        write(
            folder,
            &format!("{part}/config.json"),
            &tiny.config(&golden),
        );
        let file = format!("{part}/diffusion_pytorch_model.safetensors");
        save(folder, &file, &tiny.golden.below(&golden));
    }
    let encoders = [(name, ""), ("xl_2", "_2")];
    for (golden, ending) in &encoders[..if name == "xl" { 2 } else { 1 }] {
        let golden = format!("text.{golden}");
        let mut config = tiny.configs[&golden].clone();
        config["max_position_embeddings"] = json!(77);
        write(
            folder,
            &format!("text_encoder{ending}/config.json"),
            &config.to_string(),
        );
        let mut weights = tiny.golden.below(&golden);
        let key = "text_model.embeddings.position_embedding.weight";
        let positions = weights[key]
            .repeat((10, 1))
            .unwrap()
            .narrow(0, 0, 77)
            .unwrap();
        weights.insert(key.to_owned(), positions);
        save(
            folder,
            &format!("text_encoder{ending}/model.safetensors"),
            &weights,
        );
        let tokenizer = format!("tokenizer{ending}");
        write(
            folder,
            &format!("{tokenizer}/vocab.json"),
            &vocabulary().to_string(),
        );
        write(
            folder,
            &format!("{tokenizer}/merges.txt"),
            "#version: 0.2\n",
        );
        let pad = if ending.is_empty() {
            r#"{"content": "<|endoftext|>"}"#
        } else {
            "\"!\""
        };
        let map = format!("{{\"pad_token\": {pad}}}");
        write(
            folder,
            &format!("{tokenizer}/special_tokens_map.json"),
            &map,
        );
    }
    write(
        folder,
        "scheduler/scheduler_config.json",
        &tiny.config("scheduler"),
    );
    temporary
}

fn load(folder: &Path, options: DiffusionOptions) -> Result<Diffusion, ModelError> {
    Diffusion::load(&ModelFiles::at("tiny", folder), &options, &Compute::cpu())
}

fn requests() -> Vec<Request> {
    let request = |(prompt, negative_prompt, seed): (&str, &str, u64)| Request {
        prompt: prompt.to_owned(),
        negative_prompt: negative_prompt.to_owned(),
        seed,
    };
    let long = "a photo of a single cat that goes on and on and on, until it is too long a text";
    let of = [("a cat", "", 1), (long, "blurry", 2), ("a dog", "", 1)];
    of.into_iter().map(request).collect()
}

/// The largest difference of two images' pixels.
fn difference(first: &RgbImage, second: &RgbImage) -> u8 {
    let pairs = first.as_raw().iter().zip(second.as_raw());
    pairs
        .map(|(one, other)| one.abs_diff(*other))
        .max()
        .unwrap()
}

#[test]
fn an_image_does_not_depend_on_the_others_of_its_batch() {
    let tiny = Tiny::open();
    for (name, kind) in [
        ("sd1", SchedulerKind::DpmSolver),
        ("xl", SchedulerKind::EulerAncestral),
        ("xl", SchedulerKind::UniPc),
    ] {
        let folder = folder_of(&tiny, name);
        let options = DiffusionOptions {
            scheduler: Some(kind),
            steps: Some(3),
            ..DiffusionOptions::default()
        };
        let model = load(folder.path(), options).unwrap();
        let together = model.generate(&requests()).unwrap();
        assert_eq!(together.len(), 3);
        for (request, image) in requests().iter().zip(&together) {
            assert_eq!(image.dimensions(), (16, 16));
            let alone = model.generate(std::slice::from_ref(request)).unwrap();
            // A sum in another order may round a pixel the other way.
            assert!(difference(&alone[0], image) <= 1, "{name} {request:?}");
        }
        assert!(difference(&together[0], &together[1]) > 10);
        assert!(
            difference(&together[0], &together[2]) > 1,
            "the prompt counts"
        );
        let mut other = requests();
        other[0].negative_prompt = "a dog".to_owned();
        other[2].seed += 1;
        let others = model.generate(&other).unwrap();
        assert!(
            difference(&together[0], &others[0]) > 1,
            "the negative prompt counts"
        );
        assert!(difference(&together[1], &others[1]) <= 1);
        assert!(difference(&together[2], &others[2]) > 10, "the seed counts");
    }
}

#[test]
fn a_model_made_for_few_steps_is_known_by_its_scheduler() {
    let tiny = Tiny::open();
    let folder = folder_of(&tiny, "xl");
    let mut scheduler = tiny.configs["scheduler"].clone();
    scheduler["_class_name"] = json!("EulerAncestralDiscreteScheduler");
    scheduler["timestep_spacing"] = json!("trailing");
    write(
        folder.path(),
        "scheduler/scheduler_config.json",
        &scheduler.to_string(),
    );
    let model = load(folder.path(), DiffusionOptions::default()).unwrap();
    let networks = &model.networks;
    let chosen = (networks.kind, networks.steps, networks.guidance);
    assert_eq!(chosen, (SchedulerKind::EulerAncestral, 4, 0.0));
    assert_eq!(model.generate(&requests()).unwrap().len(), 3);
}

#[test]
fn networks_of_16_bits_take_the_halves_first() {
    let folder = tempfile::tempdir().unwrap();
    let files = ModelFiles::at("tiny", folder.path());
    let first = |dtype| {
        let weights = crate::build::models::diffusion::files::weights(&files, "m", "m.bin", dtype);
        let weights = weights.unwrap();
        let names: Vec<String> = weights.names().map(str::to_owned).collect();
        names.join(" ")
    };
    let save_as = |name: &str, tensor: &str| {
        let value = Tensor::new(&[1f32], &Device::Cpu).unwrap();
        save(folder.path(), name, &[(tensor.to_owned(), value)].into());
    };
    save_as("m.safetensors", "whole");
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        assert_eq!(first(dtype), "whole");
    }
    save_as("m.fp16.safetensors", "halves");
    let found = [DType::F32, DType::F16, DType::BF16].map(first);
    assert_eq!(found, ["whole", "halves", "halves"]);
    fs::remove_file(folder.path().join("m.safetensors")).unwrap();
    assert_eq!(first(DType::F32), "halves");
}

#[test]
fn what_is_missing_is_told_before_a_network_is_built() {
    let tiny = Tiny::open();
    let folder = folder_of(&tiny, "xl");
    // A text encoder that cannot be built would be told first if it were built first.
    let encoder = folder.path().join("text_encoder/model.safetensors");
    let mut tensors = candle_core::safetensors::load(&encoder, &Device::Cpu).unwrap();
    tensors
        .remove("text_model.final_layer_norm.weight")
        .unwrap();
    save(folder.path(), "text_encoder/model.safetensors", &tensors);
    let told = || match load(folder.path(), DiffusionOptions::default()) {
        Ok(_) => panic!("it was taken"),
        Err(error) => error.to_string(),
    };
    assert!(told().contains("text_model.final_layer_norm.weight"));
    for part in [
        "vae/diffusion_pytorch_model",
        "unet/diffusion_pytorch_model",
        "text_encoder_2/model",
    ] {
        let file = folder.path().join(format!("{part}.safetensors"));
        fs::remove_file(file).unwrap();
        let missing = format!("{part}.safetensors or {part}.fp16.safetensors");
        let message = told();
        assert!(message.contains(&missing), "{message}");
    }
}

#[test]
fn what_is_missing_or_out_of_range_is_told() {
    let tiny = Tiny::open();
    let folder = folder_of(&tiny, "sd1");
    let refused = |options: DiffusionOptions| match load(folder.path(), options) {
        Ok(_) => panic!("it was taken"),
        Err(error) => error.to_string(),
    };
    let default = DiffusionOptions::default;
    let size = |size| DiffusionOptions { size, ..default() };
    assert_eq!(
        refused(size(Some(17))),
        "tiny: size is 17; a multiple of 2 of at most 4096 was expected"
    );
    assert!(refused(size(Some(0))).contains("size is 0"));
    assert!(refused(size(Some(1 << 20))).contains("size is 1048576"));
    let steps = Some(0);
    assert!(refused(DiffusionOptions { steps, ..default() }).contains("0 steps"));
    let guidance = Some(f64::NAN);
    assert!(
        refused(DiffusionOptions {
            guidance,
            ..default()
        })
        .contains("guidance is NaN")
    );
    write(
        folder.path(),
        "tokenizer/special_tokens_map.json",
        r#"{"pad_token": "x"}"#,
    );
    assert!(refused(default()).contains("tokenizer: pad_token is \"x\""));
    for (text, expected) in [
        (r#"{"pad_token": "#, "special_tokens_map.json: EOF"),
        (
            r#"{"pad_token": 3}"#,
            "pad_token is 3; a token was expected",
        ),
    ] {
        write(folder.path(), "tokenizer/special_tokens_map.json", text);
        let message = refused(default());
        assert!(message.contains(expected), "{message}");
    }
    write(folder.path(), "unet/config.json", "{}");
    let message = refused(default());
    assert!(
        message.contains("config.json") && message.contains("in_channels"),
        "{message}"
    );
    fs::remove_file(folder.path().join("unet/config.json")).unwrap();
    assert!(refused(default()).contains("unet/config.json was not found"));
}
