use std::fs;
use std::path::Path;

use candle_core::DType;
use image::Rgb;

use super::*;
use crate::build::models::clip::layers::Activation;
use crate::build::models::clip::text::TextConfig;
use crate::build::models::clip::vision::VisionConfig;
use crate::build::models::goldens::{Golden, folder, relative_error};
use crate::build::models::names::{asked_for, assert_same, published};

fn small(is_refined: bool) -> ClipSegConfig {
    ClipSegConfig {
        text: TextConfig {
            vocab_size: 60,
            hidden_size: 32,
            intermediate_size: 64,
            num_hidden_layers: 3,
            num_attention_heads: 4,
            max_position_embeddings: 12,
            projection_dim: 24,
            eos_token_id: 2,
            ..TextConfig::default()
        },
        vision: VisionConfig {
            hidden_size: 32,
            intermediate_size: 64,
            num_hidden_layers: 5,
            num_attention_heads: 4,
            image_size: 32,
            patch_size: if is_refined { 16 } else { 8 },
            hidden_act: Activation::QuickGelu,
            projection_dim: 24,
            ..VisionConfig::default()
        },
        decoder: DecoderConfig {
            extract_layers: vec![0, 1, 3],
            reduce_dim: 16,
            decoder_num_attention_heads: 4,
            decoder_intermediate_size: 48,
            conditional_layer: 0,
            use_complex_transposed_convolution: is_refined,
        },
    }
}

#[test]
fn logits_are_as_transformers_has_them() {
    let golden = Golden::open("clipseg");
    let ids = golden.get("ids").to_dtype(DType::U32).unwrap();
    for (name, is_refined) in [("simple", false), ("refined", true)] {
        let vb = golden.weights(&format!("{name}.weights"));
        let network = ClipSegNetwork::new(vb, &small(is_refined)).unwrap();
        let prompts = network.prompts(&ids).unwrap();
        let error = relative_error(&prompts, &golden.get(&format!("{name}.prompts")));
        assert!(error <= 1e-4, "{name}: {error}");
        let images = golden.get(&format!("{name}.images"));
        let logits = network.forward(&images, &prompts).unwrap();
        let error = relative_error(&logits, &golden.get(&format!("{name}.logits")));
        assert!(error <= 1e-4, "{name}: {error}");
    }
}

#[test]
fn the_published_file_has_the_names_that_are_asked_for() {
    let names = fs::read_to_string(folder().join("clipseg-rd64-refined.names")).unwrap();
    let names = published(&names);
    let config = ClipSegConfig::rd64(true);
    let asked = asked_for(&names, |vb| ClipSegNetwork::new(vb, &config));
    // What scores images as wholes, the decoder has no use for.
    let unused = ["clip.logit_scale", "clip.visual_projection."];
    assert_same(&asked, &names, &unused);
}

#[test]
fn the_published_configuration_is_read() {
    let json = r#"{
        "projection_dim": 512, "extract_layers": [3, 6, 9], "reduce_dim": 64,
        "decoder_num_attention_heads": 4, "decoder_intermediate_size": 2048,
        "conditional_layer": 0, "use_complex_transposed_convolution": true,
        "text_config": {"hidden_act": "quick_gelu"}, "vision_config": {"patch_size": 16}
    }"#;
    assert_eq!(
        ClipSegConfig::from_json(json).unwrap(),
        ClipSegConfig::rd64(true)
    );
    let mut config = small(true);
    config.decoder.extract_layers = vec![5];
    let vb = Golden::open("clipseg").weights("refined.weights");
    let error = ClipSegNetwork::new(vb, &config).unwrap_err().to_string();
    assert!(error.contains("extract_layers [5]"), "{error}");
}

/// The small model on disk, with OpenAI's vocabulary and so as many tokens as that has.
fn write_model(place: &Path, data: &Path) {
    let vocabulary = "bpe_simple_vocab_16e6.txt.gz";
    fs::copy(data.join("clip").join(vocabulary), place.join(vocabulary)).unwrap();
    let mut tensors = Golden::open("clipseg").below("refined.weights");
    let name = "clip.text_model.embeddings.token_embedding.weight";
    let table = tensors[name].repeat((49408 / 60 + 1, 1)).unwrap();
    tensors.insert(name.to_owned(), table.narrow(0, 0, 49408).unwrap());
    candle_core::safetensors::save(&tensors, place.join("model.safetensors")).unwrap();
    let config = serde_json::json!({
        "projection_dim": 24, "extract_layers": [0, 1, 3], "reduce_dim": 16,
        "decoder_intermediate_size": 48, "use_complex_transposed_convolution": true,
        "text_config": {
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
            "num_attention_heads": 4, "max_position_embeddings": 12, "eos_token_id": 2,
        },
        "vision_config": {
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 5,
            "num_attention_heads": 4, "image_size": 32, "patch_size": 16,
        },
    });
    fs::write(place.join("config.json"), config.to_string()).unwrap();
}

#[test]
fn masks_have_their_pictures_sizes_and_follow_the_categories() {
    let Some(data) = std::env::var_os("PASTEBANK_TEST_DATA") else {
        eprintln!("skipped: PASTEBANK_TEST_DATA is not set");
        return;
    };
    let place = tempfile::tempdir().unwrap();
    write_model(place.path(), Path::new(&data));
    let files = ModelFiles::at("clipseg", place.path());
    let segmenter = ClipSeg::load(&files, PROMPT, &Compute::cpu()).unwrap();
    let picture = |width, height, category: &str| Picture {
        pixels: RgbImage::from_fn(width, height, |x, y| {
            Rgb([
                (x * 3 % 256) as u8,
                (y * 5 % 256) as u8,
                (x * y % 256) as u8,
            ])
        }),
        alpha: None,
        category: category.to_owned(),
    };
    let pictures = [
        picture(120, 60, "truck"),
        picture(120, 60, "cat"),
        picture(33, 401, "truck"),
    ];
    let masks = segmenter.segment(&pictures).unwrap();
    for (mask, picture) in masks.iter().zip(&pictures) {
        assert_eq!(mask.dimensions(), picture.pixels.dimensions());
    }
    assert!(masks[0] != masks[1], "categories count");
    for (mask, picture) in masks.iter().zip(&pictures) {
        let alone = segmenter.segment(std::slice::from_ref(picture)).unwrap();
        let differences = mask.as_raw().iter().zip(alone[0].as_raw());
        let largest = differences.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(
            largest <= 1,
            "{largest}: the others of a batch do not count"
        );
    }
    let error = ClipSeg::load(&files, "a photo", &Compute::cpu())
        .map(|_| ())
        .unwrap_err();
    assert!(error.to_string().contains("{name}"), "{error}");
}
