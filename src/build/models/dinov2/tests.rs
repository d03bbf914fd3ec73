use std::collections::HashMap;
use std::fs;

use super::*;
use crate::build::models::clip::layers::Activation;
use crate::build::models::goldens::{Golden, folder, relative_error};
use crate::build::models::names::{asked_for, assert_same, published};

fn small() -> Dinov2Config {
    Dinov2Config {
        hidden_size: 32,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        mlp_ratio: 2,
        image_size: 70,
        ..Dinov2Config::default()
    }
}

#[test]
fn images_of_any_size_are_as_transformers_has_them() {
    let golden = Golden::open("dinov2");
    let network = Dinov2Network::new(golden.weights("weights"), &small()).unwrap();
    for size in ["70x70", "42x42", "28x56"] {
        let output = network
            .forward(&golden.get(&format!("{size}.images")))
            .unwrap();
        let error = relative_error(&output, &golden.get(&format!("{size}.pooled")));
        assert!(error <= 1e-4, "{size}: {error}");
    }
}

/// As GPUs compute it.
#[test]
fn half_precision_is_near() {
    let golden = Golden::open("dinov2");
    let half = candle_core::DType::F16;
    let vb = candle_nn::VarBuilder::from_tensors(golden.below("weights"), half, &Device::Cpu);
    let network = Dinov2Network::new(vb, &small()).unwrap();
    let images = golden.get("42x42.images").to_dtype(half).unwrap();
    let error = relative_error(
        &network.forward(&images).unwrap(),
        &golden.get("42x42.pooled"),
    );
    assert!(error < 0.03, "{error}");
}

type Change = fn(&mut Dinov2Config);

/// Another activation or another eps would be seen above.
#[test]
fn wrong_settings_are_far_from_transformers() {
    let golden = Golden::open("dinov2");
    let wrong: [(&str, Change); 3] = [
        ("activation", |config| {
            config.hidden_act = Activation::GeluPytorchTanh
        }),
        ("activation", |config| {
            config.hidden_act = Activation::QuickGelu
        }),
        ("eps", |config| config.layer_norm_eps = 1e-5),
    ];
    for (what, change) in wrong {
        let mut config = small();
        change(&mut config);
        let network = Dinov2Network::new(golden.weights("weights"), &config).unwrap();
        let output = network.forward(&golden.get("70x70.images")).unwrap();
        let error = relative_error(&output, &golden.get("70x70.pooled"));
        assert!(error > 1e-4, "{what}: {error}");
    }
}

/// The same weights under the authors' names, with queries, keys and values in one.
fn authors_weights(golden: &Golden) -> HashMap<String, Tensor> {
    let weights = golden.below("weights");
    let mut renamed = HashMap::new();
    for (name, tensor) in &weights {
        let name = name.replace("embeddings.cls_token", "cls_token");
        let name = name.replace("embeddings.mask_token", "mask_token");
        let name = name.replace("embeddings.position_embeddings", "pos_embed");
        let name = name.replace("embeddings.patch_embeddings.projection", "patch_embed.proj");
        let name = name.replace("encoder.layer", "blocks");
        let name = name.replace("attention.output.dense", "attn.proj");
        let name = name.replace("layer_scale1.lambda1", "ls1.gamma");
        let name = name.replace("layer_scale2.lambda1", "ls2.gamma");
        let name = name.replace("layernorm", "norm");
        if !name.contains("attention.attention") {
            renamed.insert(name, tensor.clone());
        }
    }
    for layer in 0..3 {
        for kind in ["weight", "bias"] {
            let part = |part| {
                let name = format!("encoder.layer.{layer}.attention.attention.{part}.{kind}");
                weights[&name].clone()
            };
            let parts = [part("query"), part("key"), part("value")];
            let joined = Tensor::cat(&parts, 0).unwrap();
            renamed.insert(format!("blocks.{layer}.attn.qkv.{kind}"), joined);
        }
    }
    renamed
}

#[test]
fn the_authors_layout_is_read() {
    let golden = Golden::open("dinov2");
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("dinov2_vits14_pretrain.safetensors");
    candle_core::safetensors::save(&authors_weights(&golden), &file).unwrap();
    let weights = ModelFiles::at("dinov2", &file).weights(&FILES).unwrap();
    let make = |vb| Dinov2Network::from_authors(vb, &small());
    let network = weights.build(&Compute::cpu(), make).unwrap();
    let output = network.forward(&golden.get("70x70.images")).unwrap();
    let error = relative_error(&output, &golden.get("70x70.pooled"));
    assert!(error <= 1e-4, "{error}");
    let config = Dinov2Config::of(|name| weights.shape(name));
    assert_eq!((config.hidden_size, config.num_hidden_layers), (32, 3));
}

#[test]
fn the_published_file_has_the_names_that_are_asked_for() {
    let names = published(&fs::read_to_string(folder().join("dinov2-base.names")).unwrap());
    let config = Dinov2Config::of(|name| names.get(name).map(Vec::as_slice));
    assert_eq!(config, Dinov2Config::default());
    let asked = asked_for(&names, |vb| Dinov2Network::new(vb, &config));
    // What hides patches in training.
    assert_same(&asked, &names, &["embeddings.mask_token"]);
}

#[test]
fn images_become_unit_vectors() {
    let place = tempfile::tempdir().unwrap();
    let tensors = Golden::open("dinov2").below("weights");
    candle_core::safetensors::save(&tensors, place.path().join("model.safetensors")).unwrap();
    let config = |swiglu: bool| {
        let config = serde_json::json!({
            "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "mlp_ratio": 2,
            "image_size": 70, "use_swiglu_ffn": swiglu,
        });
        fs::write(place.path().join("config.json"), config.to_string()).unwrap();
    };
    config(false);
    let files = ModelFiles::at("dinov2", place.path());
    let embedder = Dinov2::load(&files, &Compute::cpu()).unwrap();
    let image = |shade: u8| RgbImage::from_fn(90, 70, |x, y| image::Rgb([shade, x as u8, y as u8]));
    let vectors = embedder.embed_images(&[image(0), image(200)]).unwrap();
    assert_eq!(vectors.dims(), [2, 32]);
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
    let alone = embedder.embed_images(&[image(200)]).unwrap();
    assert!(relative_error(&vectors.narrow(0, 1, 1).unwrap(), &alone) < 1e-4);
    config(true);
    let error = Dinov2::load(&files, &Compute::cpu())
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(error.contains("use_swiglu_ffn"), "{error}");
}

#[test]
fn networks_with_registers_are_refused() {
    for name in ["embeddings.register_tokens", "register_tokens"] {
        let place = tempfile::tempdir().unwrap();
        let mut tensors = Golden::open("dinov2").below("weights");
        let registers = Tensor::zeros((1, 4, 32), candle_core::DType::F32, &Device::Cpu).unwrap();
        tensors.insert(name.to_owned(), registers);
        candle_core::safetensors::save(&tensors, place.path().join("model.safetensors")).unwrap();
        let files = ModelFiles::at("dinov2", place.path());
        let error = Dinov2::load(&files, &Compute::cpu())
            .map(|_| ())
            .unwrap_err();
        assert!(matches!(error, ModelError::Setting { .. }), "{error}");
        let told = format!("tensor {name:?}, of DINOv2 with registers");
        assert!(error.to_string().contains(&told), "{error}");
    }
}

#[test]
fn images_without_room_for_a_patch_are_told() {
    let golden = Golden::open("dinov2");
    let make = |config: &Dinov2Config| Dinov2Network::new(golden.weights("weights"), config);
    let network = make(&small()).unwrap();
    let images = Tensor::zeros((1, 3, 28, 13), candle_core::DType::F32, &Device::Cpu).unwrap();
    let error = network.forward(&images).unwrap_err().to_string();
    assert!(error.contains("images of 13 × 28 pixels"), "{error}");
    for (image_size, patch_size, expected) in [
        (13, 14, "image_size is 13; 14, which is patch_size,"),
        (usize::MAX, 14, "to 4096 was expected"),
        (70, 0, "patch_size is 0"),
    ] {
        let config = Dinov2Config {
            image_size,
            patch_size,
            ..small()
        };
        let error = make(&config).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
