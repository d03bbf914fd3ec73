//! Whether what was measured is right.

use crate::compose::{Batch, SampleView};

/// What differs first between two batches of the same form; `None` if they are equal to the bit.
pub fn difference(found: &Batch, expected: &Batch) -> Option<String> {
    let form = |batch: &Batch| (*batch.spec(), batch.len(), batch.canvas());
    if form(found) != form(expected) {
        return Some(format!("{:?}, not {:?}", form(found), form(expected)));
    }
    if found.image_bytes() != expected.image_bytes() {
        let bytes = found.image_bytes().iter().zip(expected.image_bytes());
        let at = bytes.clone().position(|(a, b)| a != b).unwrap_or_default();
        let image = expected.image_bytes().len() / expected.len().max(1);
        return Some(format!(
            "the image of sample {} differs from byte {} on, in {} bytes of the batch",
            at / image.max(1),
            at % image.max(1),
            bytes.filter(|(a, b)| a != b).count()
        ));
    }
    (0..expected.len()).find_map(|sample| {
        let [found, expected] = [found.sample(sample)?, expected.sample(sample)?];
        let problem = view_difference(&found, &expected)?;
        Some(format!("{problem} of sample {sample} differ"))
    })
}

fn view_difference(found: &SampleView<'_>, expected: &SampleView<'_>) -> Option<&'static str> {
    // Zeros of either sign, of which integers make but one, are equal; nothing here is NaN.
    let SampleView {
        image_id,
        boxes,
        labels,
        areas,
        full_areas,
        visible_fractions,
        iscrowd,
        ignored,
        sources,
        layers,
        mask_bits,
        run_lengths,
    } = *expected;
    let checks = [
        ("image ids", found.image_id == image_id),
        ("labels", found.labels == labels),
        ("boxes", found.boxes == boxes),
        ("areas", found.areas == areas),
        ("areas before occlusion", found.full_areas == full_areas),
        (
            "visible fractions",
            found.visible_fractions == visible_fractions,
        ),
        ("crowd flags", found.iscrowd == iscrowd),
        ("ignore flags", found.ignored == ignored),
        ("sources", found.sources == sources),
        ("layer numbers", found.layers == layers),
        ("masks", found.mask_bits == mask_bits),
        ("run lengths", found.run_lengths == run_lengths),
    ];
    let wrong = checks.into_iter().find(|(_, is_equal)| !is_equal);
    wrong.map(|(name, _)| name)
}
