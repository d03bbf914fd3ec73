//! The models that are offered, where their files are, and under which licences.
//!
//! Licences are those of the weights. They are listed as their authors state them; whoever uses a
//! model reads its licence. A model marked non-commercial is never a default: it must be named and
//! its terms accepted with a flag of its own.
//!
//! | model | task | weights' licence | non-commercial | from |
//! |---|---|---|---|---|
//! | `u2net` | segmenter | Apache-2.0 | no | github.com/xuebinqin/U-2-Net |
//! | `u2netp` | segmenter | Apache-2.0 | no | github.com/xuebinqin/U-2-Net |
//! | `clipseg` | segmenter | MIT (code); weights: see the hub card | no | CIDAS/clipseg-rd64-refined |
//! | `sam-vit-b` | segmenter | Apache-2.0 | no | github.com/facebookresearch/segment-anything |
//! | `sam-vit-l` | segmenter | Apache-2.0 | no | github.com/facebookresearch/segment-anything |
//! | `sam-vit-h` | segmenter | Apache-2.0 | no | github.com/facebookresearch/segment-anything |
//! | `mobile-sam` | segmenter | Apache-2.0 | no | github.com/ChaoningZhang/MobileSAM |
//! | `clip-vit-b-32` | scorer | MIT | no | openai/clip-vit-base-patch32 |
//! | `clip-vit-b-16` | scorer | MIT | no | openai/clip-vit-base-patch16 |
//! | `clip-vit-l-14` | scorer | MIT | no | openai/clip-vit-large-patch14 |
//! | `clip-vit-l-14-336` | scorer | MIT | no | openai/clip-vit-large-patch14-336 |
//! | `openclip-vit-b-32` | scorer | MIT | no | laion/CLIP-ViT-B-32-laion2B-s34B-b79K |
//! | `siglip` | scorer | Apache-2.0 | no | google/siglip-base-patch16-224 |
//! | `mobileclip` | scorer | Apple Machine Learning Research Model | **yes** | apple/MobileCLIP-S1-OpenCLIP |
//! | `dinov2` | scorer | Apache-2.0 | no | facebook/dinov2-base |
//! | `sd1.5` | generator | CreativeML OpenRAIL-M | no | stable-diffusion-v1-5/stable-diffusion-v1-5 |
//! | `sd2.1` | generator | CreativeML OpenRAIL++-M | no | gone from its authors' page: name a copy |
//! | `sdxl` | generator | CreativeML OpenRAIL++-M | no | stabilityai/stable-diffusion-xl-base-1.0 |
//! | `sdxl-turbo` | generator | Stability AI Non-Commercial Research Community | **yes** | stabilityai/sdxl-turbo |
//!
//! RMBG and other segmenters whose weights are for research alone are not offered. OpenRAIL
//! licences restrict what images may be used for; the restrictions pass on to whoever gets them.

/// What a model does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Masks of images.
    Segmenter,
    /// Vectors of images, of texts, or both.
    Scorer,
    /// Images of texts.
    Generator,
}

/// A model, its files and its licence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered {
    /// The name that it is asked for by.
    pub name: &'static str,
    /// What it does.
    pub task: Task,
    /// Where its files are: a hub id, or a web address of the authors' file.
    pub source: &'static str,
    /// The files, as [`ModelFiles::find`](crate::build::weights::ModelFiles::find) takes them.
    pub files: &'static [&'static str],
    /// The licence of its weights.
    pub licence: &'static str,
    /// Whether the licence forbids commercial use; such a model must be asked for with a flag.
    pub non_commercial: bool,
}

const CLIP_FILES: &[&str] = &["model.safetensors", "config.json", "tokenizer.json"];
const VISION_FILES: &[&str] = &["model.safetensors", "config.json"];
const DIFFUSION_FILES: &[&str] = &[
    "unet/diffusion_pytorch_model.safetensors",
    "unet/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "text_encoder/model.safetensors",
    "text_encoder/config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "scheduler/scheduler_config.json",
    "model_index.json",
];
/// XL has a second text encoder.
const DIFFUSION_XL_FILES: &[&str] = &[
    "unet/diffusion_pytorch_model.safetensors",
    "unet/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "text_encoder/model.safetensors",
    "text_encoder/config.json",
    "text_encoder_2/model.safetensors",
    "text_encoder_2/config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer_2/vocab.json",
    "tokenizer_2/merges.txt",
    "tokenizer_2/special_tokens_map.json",
    "scheduler/scheduler_config.json",
    "model_index.json",
];

/// A row of the table, of a model that may be used commercially.
const fn row(
    name: &'static str,
    task: Task,
    source: &'static str,
    files: &'static [&'static str],
    licence: &'static str,
) -> Offered {
    Offered {
        name,
        task,
        source,
        files,
        licence,
        non_commercial: false,
    }
}

/// All models that are offered.
#[rustfmt::skip]
pub const OFFERED: &[Offered] = &[
    row("u2net", Task::Segmenter, "https://github.com/xuebinqin/U-2-Net", &["u2net.safetensors", "u2net.pth"], "Apache-2.0"),
    row("u2netp", Task::Segmenter, "https://github.com/xuebinqin/U-2-Net", &["u2netp.safetensors", "u2netp.pth"], "Apache-2.0"),
    row("clipseg", Task::Segmenter, "CIDAS/clipseg-rd64-refined", CLIP_FILES, "MIT (code); weights: see the hub card"),
    row("sam-vit-b", Task::Segmenter, "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth", &["sam_vit_b_01ec64.pth"], "Apache-2.0"),
    row("sam-vit-l", Task::Segmenter, "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_l_0b3195.pth", &["sam_vit_l_0b3195.pth"], "Apache-2.0"),
    row("sam-vit-h", Task::Segmenter, "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth", &["sam_vit_h_4b8939.pth"], "Apache-2.0"),
    row("mobile-sam", Task::Segmenter, "https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt", &["mobile_sam.pt"], "Apache-2.0"),
    row("clip-vit-b-32", Task::Scorer, "openai/clip-vit-base-patch32", CLIP_FILES, "MIT"),
    row("clip-vit-b-16", Task::Scorer, "openai/clip-vit-base-patch16", CLIP_FILES, "MIT"),
    row("clip-vit-l-14", Task::Scorer, "openai/clip-vit-large-patch14", CLIP_FILES, "MIT"),
    row("clip-vit-l-14-336", Task::Scorer, "openai/clip-vit-large-patch14-336", CLIP_FILES, "MIT"),
    row("openclip-vit-b-32", Task::Scorer, "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", &["open_clip_model.safetensors", "open_clip_config.json", "tokenizer.json"], "MIT"),
    row("siglip", Task::Scorer, "google/siglip-base-patch16-224", CLIP_FILES, "Apache-2.0"),
    Offered {
        non_commercial: true,
        ..row("mobileclip", Task::Scorer, "apple/MobileCLIP-S1-OpenCLIP", &["open_clip_model.safetensors", "tokenizer.json"], "Apple Machine Learning Research Model")
    },
    row("dinov2", Task::Scorer, "facebook/dinov2-base", VISION_FILES, "Apache-2.0"),
    row("sd1.5", Task::Generator, "stable-diffusion-v1-5/stable-diffusion-v1-5", DIFFUSION_FILES, "CreativeML OpenRAIL-M"),
    row("sd2.1", Task::Generator, "https://huggingface.co/models?search=stable-diffusion-2-1", DIFFUSION_FILES, "CreativeML OpenRAIL++-M"),
    row("sdxl", Task::Generator, "stabilityai/stable-diffusion-xl-base-1.0", DIFFUSION_XL_FILES, "CreativeML OpenRAIL++-M"),
    Offered {
        non_commercial: true,
        ..row("sdxl-turbo", Task::Generator, "stabilityai/sdxl-turbo", DIFFUSION_XL_FILES, "Stability AI Non-Commercial Research Community")
    },
];

/// After the name of a Segment Anything: the centre is pointed at instead of the corners.
pub const CENTRE: &str = "-centre";

/// The model of that name. Segment Anything's other way of asking, as in `sam-vit-b-centre`, is the
/// same model.
pub fn find(name: &str) -> Option<&'static Offered> {
    let family = name
        .strip_suffix(CENTRE)
        .filter(|name| name.contains("sam"));
    let name = family.unwrap_or(name);
    OFFERED.iter().find(|offered| offered.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::weights::HubId;

    #[test]
    fn every_model_is_in_the_documentation_as_in_the_table() {
        let documentation = include_str!("licences.rs");
        for offered in OFFERED {
            let line = format!("//! | `{}` |", offered.name);
            let line = documentation
                .lines()
                .find(|found| found.starts_with(&line))
                .unwrap();
            assert!(line.contains(offered.licence), "{line}");
            assert_eq!(line.contains("**yes**"), offered.non_commercial, "{line}");
            let task = format!("{:?}", offered.task).to_lowercase();
            assert!(line.contains(&task), "{line}");
        }
    }

    #[test]
    fn names_are_unique_and_sources_can_be_followed() {
        for (index, offered) in OFFERED.iter().enumerate() {
            assert!(
                OFFERED[..index]
                    .iter()
                    .all(|other| other.name != offered.name)
            );
            let web = offered.source.starts_with("https://");
            assert!(
                web || offered.source.parse::<HubId>().is_ok(),
                "{}",
                offered.source
            );
            assert!(!offered.files.is_empty());
            assert_eq!(find(offered.name), Some(offered));
        }
        assert_eq!(find("sam-vit-b-centre").unwrap().name, "sam-vit-b");
        assert_eq!(find("rmbg"), None);
    }
}
