//! Small networks, and objects to show them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use image::{Rgba, RgbaImage};
use pastebank::build::score::Scored;
use pastebank::build::state::StageReader;
use serde_json::Value;

/// The tensors of a golden file whose names begin with `prefix`, as a file of weights.
pub fn weights(golden: &str, prefix: &str, file: &Path) {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let tensors = candle_core::safetensors::load(goldens.join(golden), &Device::Cpu).unwrap();
    let named: HashMap<String, Tensor> = tensors
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor)))
        .collect();
    assert!(!named.is_empty(), "{golden} {prefix}");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    candle_core::safetensors::save(&named, file).unwrap();
}

/// Objects of two categories, some on white and some transparent; a bank of real ones; two small
/// networks.
pub fn studio() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    for (name, colour) in [("apple", [200, 30, 30]), ("pear", [120, 200, 40])] {
        for place in ["images", "real"] {
            fs::create_dir_all(here.join(place).join(name)).unwrap();
        }
        for number in 0..5u32 {
            let radius = 14.0 + number as f32 * 2.0;
            let picture = RgbaImage::from_fn(64, 48, |x, y| {
                let distance = (x as f32 - 30.0).hypot(y as f32 - 24.0);
                let shade = (x * 3 + y * number) as u8 % 50;
                let [r, g, b] = colour.map(|value: u8| value.saturating_sub(shade));
                Rgba([r, g, b, if distance < radius { 255 } else { 0 }])
            });
            let place = if number < 3 { "images" } else { "real" };
            picture
                .save(here.join(place).join(name).join(format!("{number}.png")))
                .unwrap();
        }
    }
    weights(
        "clip.safetensors",
        "gelu.2.weights.",
        &here.join("clip/model.safetensors"),
    );
    let config = r#"{"projection_dim": 24,
        "text_config": {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 12,
            "hidden_act": "gelu", "eos_token_id": 2},
        "vision_config": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
            "num_attention_heads": 4, "image_size": 32, "patch_size": 8, "hidden_act": "gelu"}}"#;
    fs::write(here.join("clip/config.json"), config).unwrap();
    weights(
        "dinov2.safetensors",
        "weights.",
        &here.join("dino/model.safetensors"),
    );
    let config = r#"{"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
        "mlp_ratio": 2, "image_size": 70, "patch_size": 14}"#;
    fs::write(here.join("dino/config.json"), config).unwrap();
    let texts: Vec<f32> = (0..48).map(|value| (value as f32 * 0.7).sin()).collect();
    let texts = Tensor::from_vec(texts, (2, 24), &Device::Cpu).unwrap();
    texts.write_npy(here.join("texts.npy")).unwrap();
    folder
}

pub const CLIP: [&str; 6] = [
    "--model",
    "clip-vit-b-32",
    "--weights",
    "clip",
    "--text-embeddings",
    "texts.npy",
];

pub fn scores(state: &Path) -> Vec<(String, Scored)> {
    let reader = StageReader::<Scored>::open(state, "score")
        .unwrap()
        .unwrap();
    let items = reader.items.iter();
    items
        .map(|(key, (line, _))| (key.clone(), line.row.clone().unwrap()))
        .collect()
}

/// A tiny Stable Diffusion 1.x in diffusers' layout. Its vocabulary of 59 tokens maps bytes onto
/// ids, several onto one.
pub fn tiny_diffusion(folder: &Path) {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let configs = fs::read_to_string(goldens.join("diffusion.json")).unwrap();
    let configs: Value = serde_json::from_str(&configs).unwrap();
    let file = "diffusion.safetensors";
    weights(
        file,
        "unet.sd1.",
        &folder.join("unet/diffusion_pytorch_model.safetensors"),
    );
    weights(
        file,
        "vae.sd1.",
        &folder.join("vae/diffusion_pytorch_model.safetensors"),
    );
    let text = folder.join("text_encoder/model.safetensors");
    weights(file, "text.sd1.", &text);
    let mut tensors = candle_core::safetensors::load(&text, &Device::Cpu).unwrap();
    let name = "text_model.embeddings.position_embedding.weight";
    let positions = tensors[name].repeat((10, 1)).unwrap();
    tensors.insert(name.to_owned(), positions.narrow(0, 0, 77).unwrap());
    candle_core::safetensors::save(&tensors, &text).unwrap();
    let mut text_config = configs["text.sd1"].clone();
    text_config["max_position_embeddings"] = 77.into();
    let mut ids = serde_json::Map::new();
    ids.insert("<|startoftext|>".into(), 57.into());
    ids.insert("<|endoftext|>".into(), 58.into());
    for (index, code) in (33..127u32)
        .chain(161..173)
        .chain(174..256)
        .chain(256..324)
        .enumerate()
    {
        let symbol = char::from_u32(code).unwrap();
        ids.insert(symbol.to_string(), (index % 57).into());
        ids.insert(format!("{symbol}</w>"), ((index + 31) % 57).into());
    }
    for (name, text) in [
        ("unet/config.json", configs["unet.sd1"].to_string()),
        ("vae/config.json", configs["vae.sd1"].to_string()),
        ("text_encoder/config.json", text_config.to_string()),
        (
            "scheduler/scheduler_config.json",
            configs["scheduler"].to_string(),
        ),
        ("tokenizer/vocab.json", Value::from(ids).to_string()),
        ("tokenizer/merges.txt", "#version: 0.2\n".to_owned()),
    ] {
        fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        fs::write(folder.join(name), text).unwrap();
    }
}
