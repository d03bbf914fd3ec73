//! Objects are scored and compared with real ones.

use std::fs;
use std::process::Command;

use candle_core::{DType, Device, Tensor};
use image::{Rgb, RgbImage};
use pastebank::bank::CutoutBank;
use serde_json::Value;

use crate::studio::{CLIP, scores, studio};
use crate::{succeeds, test_data};

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
