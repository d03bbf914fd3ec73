use std::fs;

use candle_core::DType;
use candle_transformers::models::siglip::{TextConfig, VisionConfig};

use super::*;
use crate::build::models::goldens::{Golden, relative_error};

const CONFIG: &str = r#"{
    "text_config": {
        "vocab_size": 60, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 12
    },
    "vision_config": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "image_size": 32, "patch_size": 8
    }
}"#;

#[test]
fn both_halves_are_as_transformers_has_them() {
    let golden = Golden::open("siglip");
    let config: Config = serde_json::from_str(CONFIG).unwrap();
    let (text, vision): (TextConfig, VisionConfig) = (config.text_config, config.vision_config);
    let vb = golden.weights("weights");
    let network = VisionModel::new(&vision, true, vb.pp("vision_model")).unwrap();
    let images = network.forward(&golden.get("images")).unwrap();
    let error = relative_error(&images, &golden.get("image"));
    assert!(error <= 1e-4, "{error}");
    let network = TextModel::new(&text, vb.pp("text_model")).unwrap();
    let ids = golden.get("ids").to_dtype(DType::U32).unwrap();
    let texts = network.forward(&ids).unwrap();
    let error = relative_error(&texts, &golden.get("text"));
    assert!(error <= 1e-4, "{error}");
}

/// Another activation or another eps would be seen above.
#[test]
fn wrong_settings_are_far_from_transformers() {
    let golden = Golden::open("siglip");
    for (what, setting) in [
        ("activation", r#""hidden_act": "gelu","#),
        ("eps", r#""layer_norm_eps": 1e-5,"#),
    ] {
        let json = CONFIG.replace(r#""hidden_size""#, &format!(r#"{setting} "hidden_size""#));
        let config: Config = serde_json::from_str(&json).unwrap();
        let vb = golden.weights("weights");
        let vision = VisionModel::new(&config.vision_config, true, vb.pp("vision_model")).unwrap();
        let images = vision.forward(&golden.get("images")).unwrap();
        let text = TextModel::new(&config.text_config, vb.pp("text_model")).unwrap();
        let texts = text
            .forward(&golden.get("ids").to_dtype(DType::U32).unwrap())
            .unwrap();
        for (name, output) in [("image", images), ("text", texts)] {
            let error = relative_error(&output, &golden.get(name));
            assert!(error > 1e-4, "{name}, {what}: {error}");
        }
    }
}

/// A tokenizer of whole words, with the end token that SigLIP's has.
fn write_model(place: &std::path::Path) {
    let tensors = Golden::open("siglip").below("weights");
    candle_core::safetensors::save(&tensors, place.join("model.safetensors")).unwrap();
    fs::write(place.join("config.json"), CONFIG).unwrap();
    let tokenizer = serde_json::json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        "padding": null,
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}},
        },
        "decoder": null,
        "model": {
            "type": "WordLevel", "unk_token": "<unk>",
            "vocab": {"<unk>": 0, "</s>": 1, "a": 2, "cat": 3, "dogs": 4, "photo": 5},
        },
    });
    fs::write(place.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}

#[test]
fn texts_become_as_many_tokens_as_there_are_positions() {
    let place = tempfile::tempdir().unwrap();
    write_model(place.path());
    let files = ModelFiles::at("siglip", place.path());
    let tokenizer = SiglipTokenizer::from_files(&files, 6, 1).unwrap();
    let ids = tokenizer
        .encode(&["A  Cat!", "a dog's photo, a cat cat cat cat"])
        .unwrap();
    let expected = [[2, 3, 1, 1, 1, 1], [2, 4, 5, 2, 3, 1]];
    assert_eq!(ids.to_vec2::<u32>().unwrap(), expected);
    fs::remove_file(place.path().join("tokenizer.json")).unwrap();
    let error = SiglipTexts::load(&files, &Compute::cpu())
        .map(|_| ())
        .unwrap_err();
    assert!(error.to_string().contains("tokenizer.json"), "{error}");
}

#[test]
fn images_and_texts_become_unit_vectors() {
    let place = tempfile::tempdir().unwrap();
    write_model(place.path());
    let files = ModelFiles::at("siglip", place.path());
    let texts = SiglipTexts::load(&files, &Compute::cpu()).unwrap();
    let texts = texts.embed_texts(&["a cat", "dogs"]).unwrap();
    let images = SiglipImages::load(&files, &Compute::cpu()).unwrap();
    let image = RgbImage::from_fn(50, 20, |x, y| image::Rgb([x as u8, y as u8, 9]));
    let images = images.embed_images(&[image]).unwrap();
    assert_eq!((texts.dims(), images.dims()), (&[2, 32][..], &[1, 32][..]));
    for vectors in [texts, images] {
        let lengths = vectors
            .sqr()
            .unwrap()
            .sum(1)
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        assert!(
            lengths.iter().all(|length| (length - 1.).abs() < 1e-5),
            "{lengths:?}"
        );
    }
}

#[test]
fn sizes_that_do_not_go_together_are_told() {
    let place = tempfile::tempdir().unwrap();
    write_model(place.path());
    let files = ModelFiles::at("siglip", place.path());
    for (field, value, expected) in [
        ("image_size", 7, "image_size is 7; 8, which is patch_size,"),
        ("image_size", 4097, "image_size is 4097"),
        ("patch_size", 0, "patch_size is 0"),
        ("num_attention_heads", 0, "num_attention_heads is 0"),
    ] {
        let mut config: serde_json::Value = serde_json::from_str(CONFIG).unwrap();
        config["vision_config"][field] = serde_json::json!(value);
        fs::write(place.path().join("config.json"), config.to_string()).unwrap();
        let error = SiglipImages::load(&files, &Compute::cpu())
            .map(|_| ())
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
