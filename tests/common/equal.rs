//! Batches of two back ends, compared in everything that they hold.

use pastebank::compose::{Batch, ElementType, Layout};

/// Says what differs first between two batches of the same form: sample, stage, pixel and both
/// values. There is no tolerance.
pub fn difference(found: &Batch, expected: &Batch) -> Option<String> {
    assert_eq!(found.spec(), expected.spec());
    if (found.len(), found.canvas()) != (expected.len(), expected.canvas()) {
        return Some(format!(
            "{} samples of {}, not {} of {}",
            found.len(),
            found.canvas(),
            expected.len(),
            expected.canvas()
        ));
    }
    image_difference(found, expected).or_else(|| {
        (0..expected.len()).find_map(|sample| {
            let text = instance_difference(found, expected, sample)?;
            Some(format!("sample {sample}: {text}"))
        })
    })
}

fn image_difference(found: &Batch, expected: &Batch) -> Option<String> {
    let (a, b) = (found.image_bytes(), expected.image_bytes());
    assert_eq!(a.len(), b.len());
    let at = a.iter().zip(b).position(|(a, b)| a != b)?;
    let bytes = match found.spec().element {
        ElementType::U8 => 1,
        ElementType::F16 | ElementType::BF16 => 2,
        ElementType::F32 => 4,
    };
    let element = at / bytes;
    let (width, pixels) = (found.canvas().width() as usize, found.canvas().pixels());
    let (sample, within) = (element / (3 * pixels), element % (3 * pixels));
    let (channel, pixel) = match found.spec().layout {
        Layout::Chw => (within / pixels, within % pixels),
        Layout::Hwc => (within % 3, within / 3),
    };
    let value = |image: &[u8]| image[element * bytes..][..bytes].to_vec();
    Some(format!(
        "sample {sample}: compose: channel {channel} of pixel ({}, {}) is {:02x?}, not {:02x?}",
        pixel % width,
        pixel / width,
        value(a),
        value(b)
    ))
}

fn instance_difference(found: &Batch, expected: &Batch, sample: usize) -> Option<String> {
    let (a, b) = (
        found.sample(sample).unwrap(),
        expected.sample(sample).unwrap(),
    );
    if a.image_id != b.image_id || a.labels.len() != b.labels.len() {
        return Some(format!(
            "settle: {} instances of image {}, not {} of {}",
            a.labels.len(),
            a.image_id,
            b.labels.len(),
            b.image_id
        ));
    }
    for index in 0..b.labels.len() {
        let row = |view: &pastebank::compose::SampleView<'_>| {
            (
                (view.boxes[index], view.labels[index]),
                (view.areas[index], view.full_areas[index]),
                view.visible_fractions[index].to_bits(),
                (view.iscrowd[index], view.ignored[index]),
                (view.sources[index], view.layers[index]),
            )
        };
        if row(&a) != row(&b) {
            return Some(format!(
                "settle: instance {index} is {:?}, not {:?}",
                row(&a),
                row(&b)
            ));
        }
        if let (Some(a), Some(b)) = (a.mask(index), b.mask(index))
            && let Some(at) = a.iter().zip(b).position(|(a, b)| a != b)
        {
            let words = found.canvas().width().div_ceil(32) as usize;
            return Some(format!(
                "visible: mask of instance {index}, row {}, word {} is {:#010x}, not {:#010x}",
                at / words,
                at % words,
                a[at],
                b[at]
            ));
        }
    }
    if a.mask_bits != b.mask_bits {
        return Some("visible: masks of other lengths".to_owned());
    }
    if a.run_lengths != b.run_lengths {
        return Some("visible: run lengths differ".to_owned());
    }
    None
}
