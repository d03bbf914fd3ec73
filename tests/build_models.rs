//! The pipelines with real networks: real photographs through U²-NetP's published weights, and small
//! networks of random weights for scores and likeness.
#![cfg(all(feature = "cli", feature = "build"))]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::{DType, Device, Tensor};
use image::{Rgb, RgbImage, Rgba, RgbaImage};
use pastebank::bank::CutoutBank;
use pastebank::build::score::Scored;
use pastebank::build::state::StageReader;
use serde_json::Value;

#[track_caller]
fn succeeds(arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_pastebank"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Real photographs, or none with words on why.
fn test_data() -> Option<PathBuf> {
    let data = std::env::var_os("PASTEBANK_TEST_DATA").map(PathBuf::from);
    if data.is_none() {
        eprintln!("SKIPPED: PASTEBANK_TEST_DATA names no folder of real photographs");
    }
    data
}

/// A list of the photographs that show one category alone, every `step`th of them.
fn list_of_photographs(photographs: &Path, step: usize) -> String {
    let text = fs::read_to_string(photographs.join("instances.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let rows = |key: &str| json[key].as_array().unwrap().clone();
    let mut list = "path,category,source,licence\n".to_owned();
    for image in rows("images").iter().step_by(step) {
        let mut categories: Vec<i64> = rows("annotations")
            .iter()
            .filter(|annotation| annotation["image_id"] == image["id"])
            .map(|annotation| annotation["category_id"].as_i64().unwrap())
            .collect();
        categories.dedup();
        if let [category] = categories[..] {
            let file = image["file_name"].as_str().unwrap();
            let path = photographs.join("images").join(file);
            list += &format!("{},{category},pixabay.com,Pixabay\n", path.display());
        }
    }
    list
}

#[test]
fn real_photographs_become_a_bank_and_are_pasted() {
    let Some(data) = test_data() else { return };
    let photographs = data.join("pixabay17");
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let list = list_of_photographs(&photographs, 4);
    let count = list.lines().count() - 1;
    assert!(count >= 4, "{list}");
    fs::write(here.join("photographs.csv"), list).unwrap();
    let weights = data.join("weights/u2netp_fp16_bnfolded.safetensors");
    let categories = photographs.join("instances.json");
    let config = format!(
        "state = \"state\"\nbank = \"bank\"\ncategories = {categories:?}\ndevice = \"cpu\"\n\
         [folder]\nlist = \"photographs.csv\"\n\
         [[segment]]\nmodel = \"u2netp\"\nweights = {weights:?}\nbatch = 2\n"
    );
    fs::write(here.join("build.toml"), config).unwrap();
    let text = succeeds(&["build", "all", "--config", "build.toml"], here);
    assert!(text.contains(&format!("masks: {count} done")), "{text}");
    let bank = CutoutBank::open(&here.join("bank")).unwrap();
    assert!(bank.len() * 3 >= count * 2, "{} of {count}", bank.len());
    for row in 0..bank.len() {
        let provenance = bank.provenance(row).unwrap().unwrap();
        assert_eq!(provenance.segmenter, "u2netp");
        assert_eq!(provenance.licence.as_deref(), Some("Pixabay"));
    }
    let annotations = categories.to_str().unwrap();
    let images = photographs.join("images");
    let pack = [
        "pack",
        "--annotations",
        annotations,
        "--images",
        images.to_str().unwrap(),
    ];
    succeeds(
        &[&pack[..], &["--scenes", "scenes", "--bank", "real"]].concat(),
        here,
    );
    let compose = [
        "compose", "--scenes", "scenes", "--bank", "bank", "--count", "4",
    ];
    let rest = [
        "--canvas",
        "512x512",
        "--out",
        "composed",
        "--sheet",
        "sheet.png",
    ];
    succeeds(&[&compose[..], &rest].concat(), here);
    assert!(here.join("sheet.png").is_file());
}

/// The tensors of a golden file whose names begin with `prefix`, as a file of weights.
fn weights(golden: &str, prefix: &str, file: &Path) {
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
fn studio() -> tempfile::TempDir {
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

const CLIP: [&str; 6] = [
    "--model",
    "clip-vit-b-32",
    "--weights",
    "clip",
    "--text-embeddings",
    "texts.npy",
];

fn scores(state: &Path) -> Vec<(String, Scored)> {
    let reader = StageReader::<Scored>::open(state, "score")
        .unwrap()
        .unwrap();
    let items = reader.items.iter();
    items
        .map(|(key, (line, _))| (key.clone(), line.row.clone().unwrap()))
        .collect()
}

#[test]
fn objects_are_scored_compared_with_real_ones_and_chosen() {
    let folder = studio();
    let here = folder.path();
    succeeds(&["import", "--input", "real", "--bank", "real-bank"], here);
    let state = ["--state", "state"];
    let stage = |name: &'static str, rest: &[&'static str]| {
        succeeds(&[&["build", name][..], &state, rest].concat(), here)
    };
    stage("folder", &["--input", "images"]);
    stage("segment", &["--model", "alpha"]);
    let dino = [
        "--bank",
        "real-bank",
        "--model",
        "dinov2",
        "--weights",
        "dino",
    ];
    assert!(stage("references", &dino).contains("references: 2 done"));
    assert!(stage("score", &CLIP).contains("scores: 6 done"));
    let found = scores(&here.join("state"));
    let own = found.iter().map(|(_, scored)| scored.similarity.unwrap());
    // The same shapes in nearly the same colours.
    assert!(
        own.clone()
            .all(|similarity| similarity > 0.5 && similarity <= 1.0),
        "{found:?}"
    );
    // Scores are cosines: of unit vectors that are not all the same.
    assert!(found.iter().all(|(_, scored)| scored.clip.abs() <= 100.0));
    assert!(
        found
            .windows(2)
            .any(|pair| (pair[0].1.clip - pair[1].1.clip).abs() > 0.01)
    );

    let best = |name: &str| {
        let of_category = found.iter().filter(|(key, _)| key.contains(name));
        of_category
            .map(|(_, scored)| scored.clip)
            .fold(f32::MIN, f32::max)
    };
    let bar = |name: &str| f32::min(21.0, best(name) - 0.5);
    let expected = ["apple", "pear"].map(|name| {
        let of_category = found.iter().filter(|(key, _)| key.contains(name));
        of_category
            .filter(|(_, scored)| scored.clip >= bar(name))
            .count()
    });
    let out = ["--out", "bank", "--tolerance", "0.5", "--keep-alike"];
    stage("filter", &out);
    let bank = CutoutBank::open(&here.join("bank")).unwrap();
    let mut counts = [0; 2];
    for row in 0..bank.len() {
        let cutout = bank.get(row).unwrap();
        counts[cutout.category as usize - 1] += 1;
        let provenance = bank.provenance(row).unwrap().unwrap();
        let key = format!("alpha:{}@", provenance.key);
        let scored = &found
            .iter()
            .find(|(other, _)| other.starts_with(&key))
            .unwrap()
            .1;
        assert_eq!(
            (cutout.score, provenance.similarity),
            (scored.clip, scored.similarity)
        );
    }
    assert_eq!(counts, expected);
    // Where nobody is like a real one nobody stays; and a cap keeps the best.
    stage(
        "filter",
        &["--out", "none", "--min-similarity", "1", "--keep-alike"],
    );
    assert_eq!(CutoutBank::open(&here.join("none")).unwrap().len(), 0);
    stage(
        "filter",
        &[
            "--out",
            "one",
            "--most",
            "1",
            "--min-clip",
            "-100",
            "--keep-alike",
        ],
    );
    let one = CutoutBank::open(&here.join("one")).unwrap();
    assert_eq!(one.get(0).unwrap().score, best("apple"));
    assert_eq!(one.get(1).unwrap().score, best("pear"));
}

#[test]
fn scores_do_not_depend_on_batches_or_parts() {
    let folder = studio();
    let here = folder.path();
    let run = |state: &'static str, rest: &[&'static str]| {
        let stages: [&[&str]; 3] = [
            &["build", "folder", "--input", "images"],
            &["build", "segment", "--model", "alpha"],
            &[&["build", "score"][..], &CLIP].concat(),
        ];
        for stage in stages {
            let batch = if stage[1] == "folder" { &[][..] } else { rest };
            succeeds(&[stage, &["--state", state], batch].concat(), here);
        }
        scores(&here.join(state))
    };
    let together = run("a", &["--batch", "6"]);
    let alone = run("b", &["--batch", "1"]);
    let parts: Vec<_> = ["0/2", "1/2"]
        .iter()
        .map(|part| {
            let score = [&["build", "score"][..], &CLIP, &["--state", "a"]].concat();
            let other = here.join("a/score");
            if *part == "0/2" {
                fs::remove_dir_all(&other).unwrap();
            }
            succeeds(&[&score[..], &["--shard", *part]].concat(), here)
        })
        .collect();
    assert_eq!(parts.len(), 2);
    assert_eq!(together.len(), 6);
    let in_parts = scores(&here.join("a"));
    assert_eq!(in_parts.len(), 6);
    let others = alone.iter().chain(&in_parts);
    for ((key, one), (other_key, other)) in together.iter().cycle().zip(others) {
        assert_eq!(key, other_key);
        assert!(
            (one.clip - other.clip).abs() < 1e-3,
            "{key}: {} {}",
            one.clip,
            other.clip
        );
    }
}

#[test]
fn a_folder_is_scored_by_itself() {
    let Some(data) = test_data() else { return };
    let folder = studio();
    let here = folder.path();
    // A vocabulary of 49408 tokens needs a table of as many rows.
    let file = here.join("clip/model.safetensors");
    let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    let name = "text_model.embeddings.token_embedding.weight";
    let rows: Vec<f32> = (0..49408 * 32)
        .map(|value| (value as f32 * 0.37).sin())
        .collect();
    let table = Tensor::from_vec(rows, (49408, 32), &Device::Cpu).unwrap();
    tensors.insert(name.to_owned(), table.to_dtype(DType::F16).unwrap());
    candle_core::safetensors::save(&tensors, &file).unwrap();
    let config = fs::read_to_string(here.join("clip/config.json")).unwrap();
    let config = config.replace("\"vocab_size\": 60", "\"vocab_size\": 49408");
    fs::write(here.join("clip/config.json"), config).unwrap();
    let vocabulary = "bpe_simple_vocab_16e6.txt.gz";
    fs::copy(
        data.join("clip").join(vocabulary),
        here.join("clip").join(vocabulary),
    )
    .unwrap();
    RgbImage::from_pixel(20, 30, Rgb([9, 99, 200]))
        .save(here.join("images/pear/z.jpg"))
        .unwrap();
    fs::write(here.join("images/pear/broken.png"), "none").unwrap();
    let score = [
        "build",
        "score",
        "--model",
        "clip-vit-b-32",
        "--weights",
        "clip",
    ];
    let input = ["--input", "images/pear", "--category", "pear_tree"];
    let text = succeeds(&[&score[..], &input].concat(), here);
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert!(
        lines
            .iter()
            .filter(|line| line["problem"].is_string())
            .count()
            == 1,
        "{text}"
    );
    for line in lines.iter().filter(|line| line["problem"].is_null()) {
        assert_eq!(line["prompt"], "a photo of pear tree");
        assert!(line["score"].as_f64().unwrap().abs() <= 100.0, "{text}");
    }
    // With a text's vectors in the state folder the vocabulary is not needed again.
    let stages: [&[&str]; 3] = [
        &["build", "folder", "--state", "s", "--input", "images"],
        &["build", "segment", "--state", "s", "--model", "alpha"],
        &[&score[..], &["--state", "s"]].concat(),
    ];
    for stage in stages {
        succeeds(stage, here);
    }
    fs::remove_file(here.join("clip").join(vocabulary)).unwrap();
    succeeds(&[stages[2], &["--restart"]].concat(), here);
}

/// A tiny Stable Diffusion 1.x in diffusers' layout. Its vocabulary of 59 tokens maps bytes onto
/// ids, several onto one.
fn tiny_diffusion(folder: &Path) {
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

/// Prompt, seed and PNG of every image that was made, by key.
fn made(state: &Path) -> Vec<(String, String, u64, Vec<u8>)> {
    type Row = pastebank::build::rows::SourceRow;
    let reader = StageReader::<Row>::open(state, "generate")
        .unwrap()
        .unwrap();
    let image = |key: &String| {
        let row = reader.items[key].0.row.clone().unwrap();
        let png = reader.blob(key).unwrap().unwrap();
        assert_eq!(
            <[u32; 2]>::from(
                image::load_from_memory(&png)
                    .unwrap()
                    .to_rgb8()
                    .dimensions()
            ),
            row.size
        );
        (key.clone(), row.prompt.unwrap(), row.seed.unwrap(), png)
    };
    reader.items.keys().map(image).collect()
}

#[test]
fn images_are_made_from_names_and_can_be_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    tiny_diffusion(&here.join("sd"));
    fs::write(here.join("names.txt"), "tea_pot\ncat\n").unwrap();
    let flags = |state: &'static str| {
        let command = [
            "build",
            "generate",
            "--state",
            state,
            "--categories",
            "names.txt",
        ];
        let model = [
            "--model",
            "sd1.5",
            "--weights",
            "sd",
            "--steps",
            "2",
            "--count",
            "3",
        ];
        [&command[..], &model[..]].concat()
    };
    let text = succeeds(&flags("whole"), here);
    assert!(text.contains("images: 6 done"), "{text}");
    let whole = made(&here.join("whole"));
    assert_eq!(whole.len(), 6);
    assert!(whole.iter().all(|(key, prompt, ..)| {
        let name = if key.contains("/1/") {
            "tea pot"
        } else {
            "cat"
        };
        *prompt == format!("a photo of a single {name}")
    }));
    for (index, (key, _, seed, png)) in whole.iter().enumerate() {
        let later = &whole[index + 1..];
        assert!(
            later
                .iter()
                .all(|other| other.2 != *seed && other.3 != *png),
            "{key}"
        );
    }
    // In parts, in other batches, and one category alone.
    for part in ["0/2", "1/2"] {
        succeeds(&[&flags("parts")[..], &["--shard", part]].concat(), here);
    }
    assert_eq!(made(&here.join("parts")), whole);
    succeeds(&[&flags("cats")[..], &["--only", "cat"]].concat(), here);
    assert_eq!(made(&here.join("cats")), whole[3..]);
    // More of them later: those that are there stay.
    let mut more = flags("cats");
    *more.last_mut().unwrap() = "4";
    let text = succeeds(&more, here);
    assert!(
        text.contains("images: 8 done (3 by earlier runs)"),
        "{text}"
    );
    // They have no transparency of their own, which is told for each.
    let masks = ["build", "segment", "--state", "whole", "--model", "alpha"];
    let text = succeeds(&masks, here);
    assert!(text.contains("6 failed"), "{text}");
}

#[test]
fn whatever_is_made_anew_is_segmented_and_scored_anew() {
    let folder = studio();
    let here = folder.path();
    tiny_diffusion(&here.join("sd"));
    fs::write(here.join("names.txt"), "apple\npear\n").unwrap();
    let generate = [
        "build",
        "generate",
        "--state",
        "s",
        "--categories",
        "names.txt",
        "--model",
        "sd1.5",
        "--weights",
        "sd",
        "--steps",
        "1",
        "--count",
        "2",
        "--seed",
    ];
    succeeds(&[&generate[..], &["1"]].concat(), here);
    // What is found beside what is made: both are images of one state.
    succeeds(
        &["build", "folder", "--state", "s", "--input", "images"],
        here,
    );
    let segment = ["build", "segment", "--state", "s", "--model", "alpha"];
    let text = succeeds(&segment, here);
    assert!(text.contains("6 done, 4 failed"), "{text}");
    let score = [&["build", "score", "--state", "s"][..], &CLIP].concat();
    let text = succeeds(&score, here);
    assert!(text.contains("scores: 6 done"), "{text}");
    succeeds(
        &[
            "build",
            "filter",
            "--state",
            "s",
            "--out",
            "one",
            "--min-clip",
            "-100",
        ],
        here,
    );

    succeeds(&[&generate[..], &["2", "--restart"]].concat(), here);
    let filter = ["build", "filter", "--state", "s", "--out", "two"];
    let output = Command::new(env!("CARGO_BIN_EXE_pastebank"))
        .args(filter)
        .current_dir(here)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("has not seen generate/1/000000 yet"),
        "{error}"
    );
    // The four new images are new to the segmenter; the six others are not.
    let text = succeeds(&segment, here);
    assert!(
        text.contains("6 done, 4 failed (6 by earlier runs)"),
        "{text}"
    );
    // A picture that was replaced is another picture.
    let other = RgbaImage::from_pixel(40, 40, Rgba([200, 10, 10, 255]));
    other.save(here.join("images/apple/0.png")).unwrap();
    let text = succeeds(
        &[
            "build",
            "folder",
            "--state",
            "s",
            "--input",
            "images",
            "--restart",
        ],
        here,
    );
    assert!(text.contains("images: 6 done"), "{text}");
    assert!(succeeds(&segment, here).contains("(9 by earlier runs)"));
    assert!(succeeds(&score, here).contains("(5 by earlier runs)"));
    succeeds(&filter, here);
}

#[test]
fn vectors_of_different_models_are_refused() {
    let folder = studio();
    let here = folder.path();
    let texts = Tensor::ones((2, 16), DType::F32, &Device::Cpu).unwrap();
    texts.write_npy(here.join("texts.npy")).unwrap();
    for stage in [
        &["build", "folder", "--state", "s", "--input", "images"][..],
        &["build", "segment", "--state", "s", "--model", "alpha"],
    ] {
        succeeds(stage, here);
    }
    let output = Command::new(env!("CARGO_BIN_EXE_pastebank"))
        .args([&["build", "score", "--state", "s"][..], &CLIP].concat())
        .current_dir(here)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        error.contains("24 values") && error.contains("have 16"),
        "{error}"
    );
}
