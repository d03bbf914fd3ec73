//! Parity with diffusers and transformers: scripts/goldens/diffusion.py and diffusion_names.py.

mod loading;

use std::fs;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use serde_json::{Value, json};

use super::config::{UNetConfig, VaeConfig};
use super::pipeline::Networks;
use super::schedulers::{SchedulerConfig, SchedulerKind};
use super::text::{Conditioning, TextEncoders, encoder, projected};
use super::unet::{Added, UNet};
use super::vae::Decoder;
use crate::build::device::Compute;
use crate::build::models::clip::text::TextConfig;
use crate::build::models::goldens::{Golden, folder, relative_error};

/// As near as F32 must come.
const NEAR: f64 = 1e-4;

struct Tiny {
    golden: Golden,
    configs: Value,
}

impl Tiny {
    fn open() -> Tiny {
        let text = fs::read_to_string(folder().join("diffusion.json")).unwrap();
        Tiny {
            golden: Golden::open("diffusion"),
            configs: serde_json::from_str(&text).unwrap(),
        }
    }

    fn get(&self, name: &str) -> Tensor {
        self.golden.get(name)
    }

    fn config(&self, name: &str) -> String {
        self.configs[name].to_string()
    }

    fn unet(&self, name: &str) -> UNet {
        let config = UNetConfig::from_json(&self.config(&format!("unet.{name}"))).unwrap();
        UNet::new(self.golden.weights(&format!("unet.{name}")), &config).unwrap()
    }

    fn decoder(&self, name: &str) -> Decoder {
        let config = VaeConfig::from_json(&self.config(&format!("vae.{name}"))).unwrap();
        Decoder::new(self.golden.weights(&format!("vae.{name}")), &config).unwrap()
    }

    fn text(&self, name: &str) -> (VarBuilder<'static>, TextConfig) {
        let name = format!("text.{name}");
        let config = TextConfig::from_json(&self.config(&name)).unwrap();
        (self.golden.weights(&name), config)
    }

    fn text_encoders(&self, name: &str) -> TextEncoders {
        let (vb, config) = self.text(name);
        let first = encoder(vb, &config).unwrap();
        if name != "xl" {
            return TextEncoders::One(first);
        }
        let (vb, config) = self.text("xl_2");
        let (second, projection) = projected(vb, &config).unwrap();
        TextEncoders::Two(Box::new([first, second]), projection)
    }

    fn conditioning(&self, name: &str, texts: &str) -> Conditioning {
        let ids = self
            .get(&format!("ids.{texts}"))
            .to_dtype(DType::U32)
            .unwrap();
        let ids = vec![ids; if name == "xl" { 2 } else { 1 }];
        self.text_encoders(name).forward(&ids).unwrap()
    }

    fn networks(&self, name: &str, guidance: f64) -> Networks {
        Networks {
            unet: self.unet(name),
            decoder: self.decoder(name),
            schedule: SchedulerConfig::from_json(&self.config("scheduler")).unwrap(),
            kind: SchedulerKind::Ddim,
            steps: 3,
            guidance,
            compute: Compute::cpu(),
        }
    }
}

fn assert_near(ours: &Tensor, expected: &Tensor, what: &str) {
    let error = relative_error(ours, expected);
    assert!(error <= NEAR, "{what}: {error:e}");
}

#[test]
fn the_unet_is_diffusers() {
    let tiny = Tiny::open();
    for name in ["sd1", "sd2", "xl"] {
        let unet = tiny.unet(name);
        let texts = tiny.get(&format!("{name}.texts"));
        let added = (name == "xl").then(|| Added {
            pooled: tiny.get("xl.pooled"),
            sizes: tiny.get("xl.sizes"),
        });
        for (index, timestep) in [981.0, 1.0, 500.0].into_iter().enumerate() {
            let latents = tiny.get(&format!("{name}.{index}.latents"));
            let ours = unet.forward(&latents, timestep, &texts, added.as_ref());
            let expected = tiny.get(&format!("{name}.{index}.output"));
            assert_near(&ours.unwrap(), &expected, &format!("{name} at {timestep}"));
        }
    }
}

#[test]
fn a_network_with_added_conditioning_refuses_to_go_without() {
    let tiny = Tiny::open();
    let (latents, texts) = (tiny.get("xl.0.latents"), tiny.get("xl.texts"));
    let error = tiny
        .unet("xl")
        .forward(&latents, 1.0, &texts, None)
        .unwrap_err();
    assert!(error.to_string().contains("no pooled texts"), "{error}");
}

#[test]
fn the_decoder_is_diffusers_under_today_s_and_old_names() {
    let tiny = Tiny::open();
    for name in ["sd1", "xl"] {
        let latents = tiny.get(&format!("{name}.decoder.latents"));
        let expected = tiny.get(&format!("{name}.decoder.output"));
        let ours = tiny.decoder(name).forward(&latents).unwrap();
        assert_near(&ours, &expected, name);
        let weights = tiny.golden.below(&format!("vae.{name}")).into_iter();
        let old = weights
            .map(|(name, tensor)| (old_name(&name), tensor))
            .collect();
        let vb = VarBuilder::from_tensors(old, DType::F32, &Device::Cpu);
        let config = VaeConfig::from_json(&tiny.config(&format!("vae.{name}"))).unwrap();
        let ours = Decoder::new(vb, &config)
            .unwrap()
            .forward(&latents)
            .unwrap();
        assert_near(&ours, &expected, &format!("{name} by old names"));
    }
}

fn old_name(name: &str) -> String {
    let pairs = [
        ("to_q", "query"),
        ("to_k", "key"),
        ("to_v", "value"),
        ("to_out.0", "proj_attn"),
    ];
    let old = |name: String, (new, old): (&str, &str)| name.replace(new, old);
    pairs.into_iter().fold(name.to_owned(), old)
}

#[test]
fn texts_are_encoded_as_in_diffusers_pipelines() {
    let tiny = Tiny::open();
    for name in ["sd1", "xl"] {
        for (ids, prefix, pooled) in [
            ("zero", "texts", "pooled"),
            ("end", "negatives", "negative_pooled"),
        ] {
            let ours = tiny.conditioning(name, ids);
            let what = format!("{name} padded with {ids}");
            assert_near(&ours.texts, &tiny.get(&format!("{name}.{prefix}")), &what);
            match ours.pooled {
                Some(ours) => assert_near(&ours, &tiny.get(&format!("{name}.{pooled}")), &what),
                None => assert_eq!(name, "sd1"),
            }
        }
    }
}

/// From tokens to pixels in three steps of DDIM with guidance, against diffusers' pipelines.
#[test]
fn images_are_those_of_diffusers_pipelines() {
    let tiny = Tiny::open();
    for name in ["sd1", "xl"] {
        let networks = tiny.networks(name, 5.0);
        let negatives = tiny.conditioning(name, "end");
        let conditioning = negatives.then(&tiny.conditioning(name, "zero")).unwrap();
        let noise = |_| Ok(tiny.get(&format!("{name}.decoder.latents")));
        let latents = networks.denoise(&conditioning, (16, 24), &noise).unwrap();
        let images = networks.decode(&latents).unwrap();
        let expected = tiny.get(&format!("{name}.images"));
        let decoded = networks.decoder.forward(&latents).unwrap();
        let decoded = ((decoded / 2.0).unwrap() + 0.5)
            .unwrap()
            .clamp(0.0, 1.0)
            .unwrap();
        let decoded = decoded.permute((0, 2, 3, 1)).unwrap();
        assert_near(&decoded, &expected, name);
        for (index, image) in images.iter().enumerate() {
            let values = expected.get(index).unwrap().flatten_all().unwrap();
            let values = values.to_vec1::<f32>().unwrap();
            assert_eq!(image.dimensions(), (24, 16));
            for (&ours, value) in image.as_raw().iter().zip(values) {
                // A half may be rounded either way.
                assert!(
                    (f32::from(ours) - 255.0 * value).abs() < 0.53,
                    "{ours} {value}"
                );
            }
        }
    }
}

#[test]
fn without_guidance_negative_prompts_do_not_count() {
    let tiny = Tiny::open();
    let networks = tiny.networks("sd1", 1.0);
    let conditioning = tiny.conditioning("sd1", "zero");
    let noise = |_| Ok(tiny.get("sd1.decoder.latents"));
    let plain = networks.denoise(&conditioning, (16, 24), &noise).unwrap();
    // Guidance by 1 would be the same as none, but for the work.
    let both = tiny.conditioning("sd1", "end").then(&conditioning).unwrap();
    let guided = tiny
        .networks("sd1", 1.0 + 1e-9)
        .denoise(&both, (16, 24), &noise)
        .unwrap();
    assert_near(&plain, &guided, "guidance of 1");
}

mod names {
    use super::*;
    use crate::build::models::names::{Names, asked_for, assert_same, published};

    fn list(name: &str) -> Names {
        let file = folder().join(format!("diffusion_{name}.txt"));
        published(&fs::read_to_string(file).unwrap())
    }

    /// `unet/config.json` as published, without what is not read.
    fn unet(changes: Value) -> UNetConfig {
        let mut json = json!({
            "act_fn": "silu", "attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280],
            "center_input_sample": false, "cross_attention_dim": 768,
            "down_block_types": [
                "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D",
            ],
            "downsample_padding": 1, "flip_sin_to_cos": true, "freq_shift": 0, "in_channels": 4,
            "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-5,
            "norm_num_groups": 32, "out_channels": 4, "sample_size": 64,
            "up_block_types": [
                "UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D",
            ],
        });
        for (field, value) in changes.as_object().unwrap() {
            json[field] = value.clone();
        }
        UNetConfig::from_json(&json.to_string()).unwrap()
    }

    fn xl() -> Value {
        json!({
            "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
            "attention_head_dim": [5, 10, 20], "block_out_channels": [320, 640, 1280],
            "cross_attention_dim": 2048,
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "projection_class_embeddings_input_dim": 2816, "sample_size": 128,
            "transformer_layers_per_block": [1, 2, 10], "upcast_attention": null,
            "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            "use_linear_projection": true,
        })
    }

    #[test]
    fn published_unets_load_unchanged() {
        let sd2 = json!({
            "attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024, "sample_size": 96,
            "use_linear_projection": true, "upcast_attention": true,
        });
        for (name, changes) in [("sd1.5", json!({})), ("sd2.1", sd2), ("xl", xl())] {
            let list = list(&format!("unet_{name}"));
            let asked_for = asked_for(&list, |vb| UNet::new(vb, &unet(changes)));
            assert!(asked_for.len() > 600, "{name}");
            assert_same(&asked_for, &list, &[]);
        }
    }

    #[test]
    fn published_decoders_load_unchanged() {
        let json = json!({
            "block_out_channels": [128, 256, 512, 512], "latent_channels": 4,
            "layers_per_block": 2, "norm_num_groups": 32, "out_channels": 3,
        });
        let config = VaeConfig::from_json(&json.to_string()).unwrap();
        let list = list("vae");
        let asked_for = asked_for(&list, |vb| Decoder::new(vb, &config));
        assert_same(&asked_for, &list, &["encoder.", "quant_conv."]);
        // Stable Diffusion 1.5's file has the old names.
        let renamed = list
            .into_iter()
            .map(|(name, shape)| (old_name(&name), shape));
        let list: Names = renamed.collect();
        let asked_for = self::asked_for(&list, |vb| Decoder::new(vb, &config));
        assert!(asked_for.contains_key("decoder.mid_block.attentions.0.proj_attn.bias"));
        assert_same(&asked_for, &list, &["encoder.", "quant_conv."]);
    }

    #[test]
    fn published_text_encoders_load_unchanged() {
        let config = |changes: Value| TextConfig::from_json(&changes.to_string()).unwrap();
        let sd1 = config(json!({
            "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12,
            "num_hidden_layers": 12, "hidden_act": "quick_gelu",
        }));
        let sd2 = config(json!({
            "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16,
            "num_hidden_layers": 23, "hidden_act": "gelu",
        }));
        let second = config(json!({
            "hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 20,
            "num_hidden_layers": 32, "hidden_act": "gelu", "projection_dim": 1280,
        }));
        // Stable Diffusion 1.5's is XL's first, too.
        for (name, config) in [("sd1.5", sd1), ("sd2.1", sd2)] {
            let list = list(&format!("text_{name}"));
            assert_same(&asked_for(&list, |vb| encoder(vb, &config)), &list, &[]);
        }
        let list = list("text_xl_2");
        assert_same(&asked_for(&list, |vb| projected(vb, &second)), &list, &[]);
    }
}
