use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use image::RgbImage;

use super::config::ClipConfig;
use super::layers::Activation;
use super::layout::Layout;
use super::text::{TextConfig, TextTransformer};
use super::vision::{VisionConfig, VisionTransformer};
use super::{ClipImages, ClipTexts, TextNetwork, VisionNetwork};
use crate::build::device::Compute;
use crate::build::models::goldens::{Golden, folder, relative_error};
use crate::build::models::names::{Names, asked_for, assert_same, published};
use crate::build::models::preprocess::Preprocessing;
use crate::build::models::{ImageEmbedder, ModelError, TextEmbedder};
use crate::build::weights::ModelFiles;

const TOLERANCE: f64 = 1e-4;

fn assert_near(ours: &Tensor, golden: &Golden, name: &str) {
    let error = relative_error(ours, &golden.get(name));
    assert!(error <= TOLERANCE, "{name}: {error}");
}

fn small_text(hidden_act: Activation, eos_token_id: u32) -> TextConfig {
    TextConfig {
        vocab_size: 60,
        hidden_size: 32,
        intermediate_size: 64,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        max_position_embeddings: 12,
        hidden_act,
        projection_dim: 24,
        eos_token_id,
        ..TextConfig::default()
    }
}

fn small_vision(hidden_act: Activation) -> VisionConfig {
    VisionConfig {
        hidden_size: 32,
        intermediate_size: 64,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        image_size: 32,
        patch_size: 8,
        hidden_act,
        projection_dim: 24,
        ..VisionConfig::default()
    }
}

/// Both activations and both ways of finding the end.
const KINDS: [(&str, Activation, u32); 2] = [
    ("quick_gelu.58", Activation::QuickGelu, 58),
    ("gelu.2", Activation::Gelu, 2),
];

fn ids(golden: &Golden) -> Tensor {
    golden.get("ids").to_dtype(DType::U32).unwrap()
}

#[test]
fn texts_are_as_transformers_has_them() {
    let golden = Golden::open("clip");
    for (kind, activation, end) in KINDS {
        let vb = golden.weights(&format!("{kind}.weights"));
        let config = small_text(activation, end);
        let tower = TextTransformer::new(vb.pp("text_model"), &config).unwrap();
        let output = tower.forward(&ids(&golden)).unwrap();
        assert_eq!(output.hidden_states.len(), 4);
        for (index, state) in output.hidden_states.iter().enumerate() {
            assert_near(state, &golden, &format!("{kind}.text.hidden.{index}"));
        }
        assert_near(&output.last, &golden, &format!("{kind}.text.last"));
        assert_near(&output.pooled, &golden, &format!("{kind}.text.pooled"));
        let network = TextNetwork::new(vb, &config).unwrap();
        let projected = network.forward(&ids(&golden)).unwrap();
        assert_near(&projected, &golden, &format!("{kind}.text.projected"));
    }
}

#[test]
fn texts_too_long_are_told() {
    let golden = Golden::open("clip");
    let vb = golden.weights("quick_gelu.58.weights.text_model");
    let tower = TextTransformer::new(vb, &small_text(Activation::QuickGelu, 58)).unwrap();
    let ids = Tensor::zeros((1, 13), DType::U32, &Device::Cpu).unwrap();
    let error = tower.forward(&ids).unwrap_err().to_string();
    assert!(error.contains("13 tokens; at most 12"), "{error}");
}

#[test]
fn images_of_any_size_are_as_transformers_has_them() {
    let golden = Golden::open("clip");
    for (kind, activation, _) in KINDS {
        let vb = golden.weights(&format!("{kind}.weights"));
        let config = small_vision(activation);
        let tower = VisionTransformer::new(vb.pp("vision_model"), &config).unwrap();
        let network = VisionNetwork::new(vb, &config).unwrap();
        for size in ["32x32", "48x40", "24x24"] {
            let key = format!("{kind}.vision.{size}");
            let images = golden.get(&format!("{key}.images"));
            let output = tower.forward(&images).unwrap();
            assert_eq!(output.hidden_states.len(), 4);
            for (index, state) in output.hidden_states.iter().enumerate() {
                assert_near(state, &golden, &format!("{key}.hidden.{index}"));
            }
            assert_near(&output.pooled, &golden, &format!("{key}.pooled"));
            let projected = network.forward(&images).unwrap();
            assert_near(&projected, &golden, &format!("{key}.projected"));
        }
    }
}

/// Another activation, another eps or a bias of zeros would be seen by the tests above.
#[test]
fn wrong_settings_are_far_from_transformers() {
    let golden = Golden::open("clip");
    let far = |output: Tensor, name: &str, what: &str| {
        let error = relative_error(&output, &golden.get(name));
        assert!(error > TOLERANCE, "{name} with {what}: {error}");
    };
    for (kind, activation, end) in KINDS {
        let vb = golden.weights(&format!("{kind}.weights"));
        let text = |vb, config: &TextConfig| {
            let network = TextNetwork::new(vb, config).unwrap();
            network.forward(&ids(&golden)).unwrap()
        };
        let key = format!("{kind}.vision.32x32");
        let vision = |vb, config: &VisionConfig| {
            let network = VisionNetwork::new(vb, config).unwrap();
            network
                .forward(&golden.get(&format!("{key}.images")))
                .unwrap()
        };
        let (texts, images) = (format!("{kind}.text.projected"), format!("{key}.projected"));
        let all = [
            Activation::QuickGelu,
            Activation::Gelu,
            Activation::GeluPytorchTanh,
        ];
        for wrong in all.into_iter().filter(|other| *other != activation) {
            far(
                text(vb.clone(), &small_text(wrong, end)),
                &texts,
                "another activation",
            );
            far(
                vision(vb.clone(), &small_vision(wrong)),
                &images,
                "another activation",
            );
        }
        let mut config = small_vision(activation);
        config.layer_norm_eps = 1e-6;
        far(vision(vb.clone(), &config), &images, "another eps");
        let mut config = small_text(activation, end);
        config.layer_norm_eps = 1e-6;
        far(text(vb, &config), &texts, "another eps");
        for bias in ["self_attn.v_proj.bias", "mlp.fc1.bias", "layer_norm2.bias"] {
            let mut weights = golden.below(&format!("{kind}.weights"));
            for tower in ["text_model", "vision_model"] {
                let name = format!("{tower}.encoder.layers.1.{bias}");
                let zeros = weights[&name].zeros_like().unwrap();
                weights.insert(name, zeros);
            }
            let vb = candle_nn::VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
            far(text(vb.clone(), &small_text(activation, end)), &texts, bias);
            far(vision(vb, &small_vision(activation)), &images, bias);
        }
    }
}

/// As GPUs compute it: nothing is left in another precision, and nothing overflows.
#[test]
fn half_precision_is_near() {
    let golden = Golden::open("clip");
    let weights = golden.below("gelu.2.weights");
    let vb = candle_nn::VarBuilder::from_tensors(weights, DType::F16, &Device::Cpu);
    let text = TextNetwork::new(vb.clone(), &small_text(Activation::Gelu, 2)).unwrap();
    let texts = text.forward(&ids(&golden)).unwrap();
    let vision = VisionNetwork::new(vb, &small_vision(Activation::Gelu)).unwrap();
    let images = golden
        .get("gelu.2.vision.48x40.images")
        .to_dtype(DType::F16)
        .unwrap();
    let images = vision.forward(&images).unwrap();
    let both = [(texts, "text"), (images, "vision.48x40")];
    for (output, name) in both {
        let error = relative_error(&output, &golden.get(&format!("gelu.2.{name}.projected")));
        assert!(error < 0.03, "{name}: {error}");
    }
}

/// `CustomTextCLIP` has its text tower under `text.`, and here QuickGELU.
#[test]
fn open_clips_layouts_are_read() {
    let golden = Golden::open("clip");
    let kinds = [
        ("open_clip", Layout::OpenClip, Activation::Gelu),
        (
            "open_clip_text",
            Layout::OpenClipWithText,
            Activation::QuickGelu,
        ),
    ];
    for (name, expected, activation) in kinds {
        let weights = golden.below(&format!("{name}.weights"));
        let layout = Layout::of(weights.keys().map(String::as_str));
        assert_eq!(layout, expected);
        let vb = layout.apply(golden.weights(&format!("{name}.weights")));
        let text = TextConfig {
            hidden_size: 16,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            max_position_embeddings: 8,
            ..small_text(activation, 2)
        };
        let vision = VisionConfig {
            intermediate_size: 128,
            num_hidden_layers: 2,
            ..small_vision(activation)
        };
        let ids = ids(&golden).minimum(58u32).unwrap();
        let texts = TextNetwork::new(vb.clone(), &text).unwrap().forward(&ids);
        assert_near(&texts.unwrap(), &golden, &format!("{name}.text"));
        let images = golden.get(&format!("{name}.images"));
        let images = VisionNetwork::new(vb, &vision).unwrap().forward(&images);
        assert_near(&images.unwrap(), &golden, &format!("{name}.image"));
    }
}

#[test]
fn images_are_processed_as_transformers_does_on_pillow() {
    let golden = Golden::open("clip");
    for (width, height) in [(40, 40), (53, 31), (20, 47), (32, 32), (16, 21)] {
        let key = format!("processor.{width}x{height}");
        let bytes = golden.get(&format!("{key}.image")).flatten_all().unwrap();
        let image = RgbImage::from_raw(width, height, bytes.to_vec1().unwrap()).unwrap();
        let values = Preprocessing::clip(32).apply(&[image], &Compute::cpu());
        assert_near(&values.unwrap(), &golden, &format!("{key}.values"));
    }
}

fn names(file: &str) -> Names {
    published(&fs::read_to_string(folder().join(file)).unwrap())
}

#[test]
fn published_files_have_the_names_that_are_asked_for() {
    let files = [
        ("clip-vit-b32", Layout::Transformers),
        ("clip-vit-l14-336", Layout::Transformers),
        ("openclip", Layout::OpenClip),
    ];
    for (preset, expected) in files {
        let names = names(&format!("{preset}.names"));
        let layout = Layout::of(names.keys().map(String::as_str));
        assert_eq!(layout, expected);
        let config = ClipConfig::preset(preset).unwrap();
        let asked = asked_for(&names, |vb| {
            let vb = layout.apply(vb);
            TextNetwork::new(vb.clone(), &config.text)?;
            VisionNetwork::new(vb, &config.vision)
        });
        assert_same(&asked, &names, &["logit_scale", "attn_mask"]);
    }
}

const B32: &str = r#"{
    "projection_dim": 512,
    "text_config": {"eos_token_id": 2, "hidden_act": "quick_gelu", "projection_dim": 256},
    "text_config_dict": {"hidden_act": "gelu"},
    "vision_config_dict": null,
    "vision_config": {"patch_size": 16}
}"#;

const OPEN_CLIP: &str = r#"{
    "model_cfg": {
        "embed_dim": 640,
        "vision_cfg": {"image_size": 240, "layers": 12, "width": 896, "patch_size": 16},
        "text_cfg": {
            "context_length": 77, "vocab_size": 49408, "width": 640, "heads": 10, "layers": 12
        }
    },
    "preprocess_cfg": {"mean": [0.5, 0.25, 0.125], "std": [1, 2, 4]}
}"#;

#[test]
fn configuration_files_of_both_kinds_are_read() {
    let config = ClipConfig::from_json(B32).unwrap();
    let mut expected = ClipConfig::preset("clip-vit-b16").unwrap();
    expected.text.eos_token_id = 2;
    expected.text.hidden_act = Activation::Gelu;
    assert_eq!(config, expected);

    let config = ClipConfig::from_json(OPEN_CLIP).unwrap();
    assert_eq!(config.text.hidden_act, Activation::Gelu);
    assert_eq!(config.text.num_attention_heads, 10);
    assert_eq!(config.text.intermediate_size, 2560);
    assert_eq!(config.vision.num_attention_heads, 14);
    assert_eq!(config.vision.image_size, 240);
    assert_eq!(config.vision.projection_dim, 640);
    assert_eq!((config.mean[0], config.std[2]), (0.5, 4.));

    let wrong = r#"{"text_config": {"hidden_act": "tanh"}, "vision_config": {}}"#;
    let error = ClipConfig::from_json(wrong).unwrap_err();
    assert!(
        error.to_string().contains("unknown variant `tanh`"),
        "{error}"
    );
    for other in [
        r#"{"architecture": "vit_base_patch16"}"#,
        r#"{"text_config": {}}"#,
        r#"{"text_config": {}, "vision_config": null}"#,
    ] {
        let error = ClipConfig::from_json(other).unwrap_err().to_string();
        assert!(
            error.contains("neither model_cfg") && error.contains("text_config and vision_config"),
            "{error}"
        );
    }
}

#[test]
fn open_clips_own_files_go_first_for_its_models() {
    let place = tempfile::tempdir().unwrap();
    let at = |model: &str| ModelFiles::at(model, place.path());
    fs::write(place.path().join("config.json"), B32).unwrap();
    fs::write(place.path().join("open_clip_config.json"), OPEN_CLIP).unwrap();
    let side = |model: &str| {
        let config = ClipConfig::find(&at(model)).unwrap();
        config.vision.image_size
    };
    assert_eq!(side("openclip-vit-b-32"), 240);
    assert_eq!(side("clip-vit-b-32"), 224);

    fs::remove_file(place.path().join("open_clip_config.json")).unwrap();
    write_model(place.path());
    let load = |model: &str| ClipImages::load(&at(model), &Compute::cpu()).map(|_| ());
    load("openclip-vit-b-32").unwrap();
    fs::write(place.path().join("open_clip_model.safetensors"), "text").unwrap();
    load("clip-vit-b-32").unwrap();
    let error = load("openclip-vit-b-32").unwrap_err().to_string();
    assert!(error.contains("open_clip_model.safetensors"), "{error}");
}

/// A whole small model on disk: weights, configuration and vocabulary.
fn write_model(place: &Path) {
    let golden = Golden::open("clip");
    let mut tensors = golden.below("quick_gelu.58.weights");
    // The vocabulary is OpenAI's, so that the table of tokens must be as long.
    let name = "text_model.embeddings.token_embedding.weight";
    let table = tensors[name].repeat((49408 / 60 + 1, 1)).unwrap();
    tensors.insert(name.to_owned(), table.narrow(0, 0, 49408).unwrap());
    candle_core::safetensors::save(&tensors, place.join("model.safetensors")).unwrap();
    let config = serde_json::json!({
        "projection_dim": 24,
        "text_config": {
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
            "num_attention_heads": 4, "max_position_embeddings": 12, "eos_token_id": 2,
        },
        "vision_config": {
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
            "num_attention_heads": 4, "image_size": 32, "patch_size": 8,
        },
    });
    fs::write(place.join("config.json"), config.to_string()).unwrap();
}

fn assert_unit_rows(vectors: &Tensor) {
    let lengths = vectors.sqr().unwrap().sum(1).unwrap().to_vec1::<f32>();
    for length in lengths.unwrap() {
        assert!((length - 1.).abs() < 1e-5, "{length}");
    }
}

fn rows(vectors: &Tensor) -> Vec<Vec<f32>> {
    vectors.to_vec2().unwrap()
}

#[test]
fn images_become_unit_vectors_whatever_the_batch() {
    let place = tempfile::tempdir().unwrap();
    write_model(place.path());
    let files = ModelFiles::at("clip-vit-b32", place.path());
    let embedder = ClipImages::load(&files, &Compute::cpu()).unwrap();
    let image = |seed: u32| {
        let value = move |x: u32, y: u32, channel: u32| {
            ((x * 7 + y * 13 + channel * 50) * seed % 256) as u8
        };
        RgbImage::from_fn(40 + seed, 37, |x, y| {
            image::Rgb([0u32, 1, 2].map(|channel| value(x, y, channel)))
        })
    };
    let both = embedder.embed_images(&[image(3), image(11)]).unwrap();
    assert_eq!(both.dims(), [2, 24]);
    assert_unit_rows(&both);
    let alone = embedder.embed_images(&[image(11)]).unwrap();
    assert!(relative_error(&both.narrow(0, 1, 1).unwrap(), &alone) < TOLERANCE);
    assert!(rows(&both)[0] != rows(&both)[1]);
}

#[test]
fn texts_become_unit_vectors_whatever_the_batch() {
    let Some(data) = std::env::var_os("PASTEBANK_TEST_DATA") else {
        eprintln!("skipped: PASTEBANK_TEST_DATA is not set");
        return;
    };
    let place = tempfile::tempdir().unwrap();
    write_model(place.path());
    let vocabulary = "bpe_simple_vocab_16e6.txt.gz";
    let from = Path::new(&data).join("clip").join(vocabulary);
    fs::copy(from, place.path().join(vocabulary)).unwrap();
    let files = ModelFiles::at("clip-vit-b32", place.path());
    let embedder = ClipTexts::load(&files, &Compute::cpu()).unwrap();
    let cat = "a photo of a cat";
    let long = "a photo of a cat ".repeat(20);
    let all = embedder.embed_texts(&[cat, "a dog", &long]).unwrap();
    assert_eq!(all.dims(), [3, 24]);
    assert_unit_rows(&all);
    let alone = embedder.embed_texts(&[cat]).unwrap();
    assert!(relative_error(&all.narrow(0, 0, 1).unwrap(), &alone) < TOLERANCE);
    assert!(rows(&all)[0] != rows(&all)[1]);
}

#[test]
fn what_is_missing_is_told() {
    let place = tempfile::tempdir().unwrap();
    let load = |model: &str| {
        let files = ModelFiles::at(model, place.path());
        ClipImages::load(&files, &Compute::cpu())
            .map(|_| ())
            .unwrap_err()
    };
    let error = load("clip-vit-b64");
    assert!(matches!(&error, ModelError::Setting { .. }), "{error}");
    assert!(error.to_string().contains("clip-vit-l14-336"), "{error}");
    let error = load("clip-vit-b32").to_string();
    assert!(error.contains("open_clip_pytorch_model.bin"), "{error}");
    write_model(place.path());
    let weights = place.path().join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&weights, &Device::Cpu).unwrap();
    tensors.remove("visual_projection.weight");
    candle_core::safetensors::save(&tensors, &weights).unwrap();
    let error = load("clip-vit-b32").to_string();
    assert!(error.contains("\"visual_projection.weight\""), "{error}");
}

#[test]
fn images_without_room_for_a_patch_are_told() {
    let golden = Golden::open("clip");
    let make = |config: &VisionConfig| {
        let vb = golden.weights("quick_gelu.58.weights");
        VisionTransformer::new(vb.pp("vision_model"), config)
    };
    let config = small_vision(Activation::QuickGelu);
    let tower = make(&config).unwrap();
    let images = Tensor::zeros((1, 3, 7, 32), DType::F32, &Device::Cpu).unwrap();
    let error = tower.forward(&images).unwrap_err().to_string();
    assert!(error.contains("images of 32 × 7 pixels"), "{error}");
    for (image_size, patch_size, expected) in [
        (7, 8, "image_size is 7; 8, which is patch_size,"),
        (usize::MAX, 8, "to 4096 was expected"),
        (32, 0, "patch_size is 0"),
    ] {
        let config = VisionConfig {
            image_size,
            patch_size,
            ..config.clone()
        };
        let error = make(&config).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
