//! What a workload's choices are called, in flags and in reports.

use crate::compose::{ElementType, Layout, MaskOutput};
use crate::pack::Encoding;
use crate::plan::Blend;

/// Element types of images.
pub const ELEMENTS: [(&str, ElementType); 4] = [
    ("u8", ElementType::U8),
    ("f16", ElementType::F16),
    ("bf16", ElementType::BF16),
    ("f32", ElementType::F32),
];

/// Orders of the images' dimensions.
pub const LAYOUTS: [(&str, Layout); 2] = [("chw", Layout::Chw), ("hwc", Layout::Hwc)];

/// Forms of masks.
pub const MASKS: [(&str, MaskOutput); 3] = [
    ("bits", MaskOutput::Bits),
    ("rle", MaskOutput::Rle),
    ("none", MaskOutput::None),
];

/// How scenes are stored.
pub const ENCODINGS: [(&str, Encoding); 2] = [("raw", Encoding::Raw), ("jpeg", Encoding::Jpeg)];

/// What `value` is called in such a list.
pub fn name_of<T: PartialEq>(list: &[(&'static str, T)], value: T) -> &'static str {
    let found = list.iter().find(|(_, named)| *named == value);
    found.map_or("unknown", |(name, _)| name)
}

/// What is called `name` in such a list.
pub fn named<T: Copy>(list: &[(&str, T)], name: &str) -> Option<T> {
    let found = list.iter().find(|(named, _)| *named == name);
    found.map(|(_, value)| *value)
}

/// A blend as flags name it: `hard`, `soft`, `gaussian:SIGMA` or `box:RADIUS`.
pub fn blend_name(blend: Blend) -> String {
    match blend {
        Blend::Hard => "hard".to_owned(),
        Blend::Soft => "soft".to_owned(),
        Blend::Gaussian { sigma } => format!("gaussian:{sigma}"),
        Blend::Box { radius } => format!("box:{radius}"),
    }
}

/// The blend that is named so; else what was expected. Its limits are the specification's.
pub fn parse_blend(name: &str) -> Result<Blend, String> {
    let blend = match name.split_once(':') {
        None if name == "hard" => Some(Blend::Hard),
        None if name == "soft" => Some(Blend::Soft),
        Some(("gaussian", sigma)) => {
            let sigma = sigma.parse().ok();
            let sigma = sigma.filter(|sigma| (0.1..=10.0).contains(sigma));
            sigma.map(|sigma| Blend::Gaussian { sigma })
        }
        Some(("box", radius)) => {
            let radius = radius.parse().ok();
            let radius = radius.filter(|radius| (1..=30).contains(radius));
            radius.map(|radius| Blend::Box { radius })
        }
        _ => None,
    };
    blend.ok_or_else(|| {
        "hard, soft, gaussian:SIGMA with 0.1..=10 or box:RADIUS with 1..=30 was expected".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blends_are_parsed_or_refused() {
        for name in ["hard", "soft", "gaussian:2", "gaussian:0.5", "box:30"] {
            assert_eq!(blend_name(parse_blend(name).unwrap()), name);
        }
        let wrong = [
            "",
            "gaussian",
            "gaussian:",
            "gaussian:0",
            "gaussian:NaN",
            "gaussian:11",
            "box:0",
            "box:1.5",
            "box:31",
            "hard:1",
            "Soft",
        ];
        for name in wrong {
            let message = parse_blend(name).unwrap_err();
            assert!(message.contains("gaussian:SIGMA"), "{name}: {message}");
        }
    }

    #[test]
    fn names_are_found_again() {
        for (name, element) in ELEMENTS {
            assert_eq!(named(&ELEMENTS, name), Some(element));
            assert_eq!(name_of(&ELEMENTS, element), name);
        }
        assert_eq!(named(&MASKS, "polygons"), None);
    }
}
