use super::*;
use crate::build::models::goldens::{Golden, relative_error};

fn save(place: &std::path::Path) {
    let tensors = Golden::open("mobileclip").below("weights");
    candle_core::safetensors::save(&tensors, place.join("open_clip_model.safetensors")).unwrap();
}

#[test]
fn images_are_as_timm_has_them() {
    let golden = Golden::open("mobileclip");
    let place = tempfile::tempdir().unwrap();
    save(place.path());
    let files = ModelFiles::at("mobileclip", place.path());
    let (config, dimension) = image_config(&files.weights(&FILES).unwrap()).unwrap();
    assert_eq!(
        (config.in_channels, config.blocks, dimension),
        (8, [1, 2, 1, 1], 24)
    );
    let embedder = MobileClipImages::load(&files, &Compute::cpu()).unwrap();
    let output = embedder.network.forward(&golden.get("images")).unwrap();
    let error = relative_error(&output, &golden.get("image"));
    assert!(error <= 1e-4, "{error}");
    let image = RgbImage::from_fn(300, 280, |x, y| image::Rgb([x as u8, y as u8, 9]));
    let vectors = embedder.embed_images(&[image]).unwrap();
    let length = vectors
        .sqr()
        .unwrap()
        .sum_all()
        .unwrap()
        .to_scalar::<f32>()
        .unwrap();
    assert!((length - 1.).abs() < 1e-5, "{length}");
}

#[test]
fn texts_are_as_open_clip_has_them() {
    let golden = Golden::open("mobileclip");
    let place = tempfile::tempdir().unwrap();
    save(place.path());
    let files = ModelFiles::at("mobileclip", place.path());
    let config = TextConfig {
        vocab_size: 60,
        hidden_size: 16,
        intermediate_size: 64,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        max_position_embeddings: 8,
        projection_dim: 24,
        eos_token_id: 58,
        ..text_config()
    };
    let make = |vb| TextNetwork::new(vb, &config).map(TextNetwork::bidirectional);
    let weights = files.weights(&FILES).unwrap();
    let network = build(&weights, &Compute::cpu(), make).unwrap();
    let ids = golden.get("ids").to_dtype(DType::U32).unwrap();
    let output = network.forward(&ids).unwrap();
    let error = relative_error(&output, &golden.get("text"));
    assert!(error <= 1e-4, "{error}");
}

#[test]
fn files_of_other_models_are_told() {
    let place = tempfile::tempdir().unwrap();
    let tensors = Golden::open("dinov2").below("weights");
    candle_core::safetensors::save(&tensors, place.path().join("model.safetensors")).unwrap();
    let files = ModelFiles::at("mobileclip", place.path());
    let images = MobileClipImages::load(&files, &Compute::cpu()).map(|_| ());
    let texts = MobileClipTexts::load(&files, &Compute::cpu()).map(|_| ());
    for error in [images.unwrap_err(), texts.unwrap_err()] {
        assert!(
            error.to_string().contains("no tensors of a FastViT"),
            "{error}"
        );
    }
}
