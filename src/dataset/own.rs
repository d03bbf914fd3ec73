//! A scene's own instances on its canvas where nothing is pasted.
//!
//! Nothing has to be composed to know them: by rule 5 of the specification a texel of the mask is
//! shown by so many canvas columns times so many canvas rows, and without layers all that is shown
//! is visible.

use crate::compose::Encoded;
use crate::compose::encode::{EncodedInstance, EncodedSample};
use crate::compose::rules;
use crate::plan::Keep;

/// An instance that stays where nothing is pasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OwnInstance {
    pub category: i64,
    pub is_crowd: bool,
}

/// The scene's own instances of a sample, whatever its layers, that stay where nothing is pasted.
pub(super) fn own_instances(encoded: &Encoded<'_>, sample: &EncodedSample) -> Vec<OwnInstance> {
    let Some(least) = least_area(encoded.keep) else {
        return Vec::new();
    };
    let shown = [0, 1].map(|axis| shown_by(sample, axis));
    encoded
        .instances_of(sample)
        .filter(|(instance, mask)| covers(instance, mask, &shown, least))
        .map(|(instance, _)| OwnInstance {
            category: instance.category,
            is_crowd: instance.iscrowd != 0,
        })
        .collect()
}

/// Rule 14 for what is visible as a whole: the pixels from which on an instance stays, or `None`
/// if none ever does. Its box is where it was, so any shift that is allowed excuses a small area.
fn least_area(keep: Keep) -> Option<u64> {
    let least = match keep.max_box_shift {
        Some(_) => 1,
        None => u64::from(keep.min_area).max(1),
    };
    (keep.min_visible_permille <= 1000).then_some(least)
}

/// How many canvas columns (axis 0) or rows (axis 1) show each texel along that axis.
fn shown_by(sample: &EncodedSample, axis: usize) -> Vec<u32> {
    let (side, sampling) = (sample.size[axis], &sample.sampling);
    let positions = match axis {
        0 => sample.inside.x0..sample.inside.x1,
        _ => sample.inside.y0..sample.inside.y1,
    };
    let flip = axis == 0 && sampling.flip != 0;
    let mut shown = vec![0; side as usize];
    for position in positions {
        let (offset, resized) = (sampling.offset[axis], sampling.resized[axis]);
        let doubled = rules::doubled_distance(position, offset, resized, flip);
        shown[rules::nearest(doubled, sample.nearest_step[axis], side) as usize] += 1;
    }
    shown
}

/// Whether an instance covers at least so many pixels of the canvas.
fn covers(
    instance: &EncodedInstance,
    mask: &[u8],
    [columns, rows]: &[Vec<u32>; 2],
    least: u64,
) -> bool {
    let [x, y, width, height] = instance.bounding_box.map(|side| side as usize);
    // Boxes lie within their scenes, as opening a pack checks.
    let (Some(columns), Some(rows)) = (columns.get(x..x + width), rows.get(y..y + height)) else {
        return false;
    };
    let mut area = 0;
    for (row, &times) in rows.iter().enumerate() {
        if times == 0 {
            continue;
        }
        for (column, &across) in columns.iter().enumerate() {
            let bit = row * width + column;
            let is_set = mask
                .get(bit / 8)
                .is_some_and(|byte| byte >> (bit % 8) & 1 != 0);
            area += u64::from(is_set) * u64::from(across) * u64::from(times);
        }
        if area >= least {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bank::test_banks::{category, instance, write_bank, write_scenes};
    use crate::bank::{CutoutBank, ScenePack};
    use crate::compose::{Backend, Batch, CpuBackend, MaskOutput, OutputSpec};
    use crate::plan::{CheckedPlan, Plan};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use serde_json::json;

    /// A plan of one scene without layers, placed and kept at random.
    fn random_plan(draw: &mut ChaCha8Rng) -> Plan {
        let mut sides = |from, to| [draw.random_range(from..to), draw.random_range(from..to)];
        let (resized, offset) = (sides(1, 160), sides(-120, 90));
        let min_area = [0, 1, 30, 301][draw.random_range(0..4)];
        let permille = [0, 1000][draw.random_range(0..2)];
        let plan = json!({
            "canvas": [90, 70],
            "keep": {"min_area": min_area, "min_visible_permille": permille},
            "samples": [{"layers": [], "scene": {"index": 0, "resized": resized,
                "offset": offset, "flip": draw.random_bool(0.5)}}],
        });
        let mut plan = Plan::from_json(plan.to_string().as_bytes()).unwrap();
        plan.keep.max_box_shift = [None, Some(0), Some(10)][draw.random_range(0..3)];
        plan
    }

    #[test]
    fn what_stays_is_what_composing_without_layers_keeps() {
        let folder = tempfile::tempdir().unwrap();
        let [scenes, bank] = ["scenes", "bank"].map(|name| folder.path().join(name));
        let categories = [category(1, "cup"), category(2, "fork")];
        let objects = [
            instance(1, [2, 3, 30, 20], 0),
            instance(2, [0, 30, 60, 30], 1),
            instance(2, [40, 5, 12, 9], 0),
        ];
        write_scenes(&scenes, &categories, &[64], &objects);
        write_bank(&bank, &categories, &[]);
        let scenes = ScenePack::open(&scenes).unwrap();
        let bank = CutoutBank::open(&bank).unwrap();
        let mut backend = CpuBackend::new(std::num::NonZero::new(1));
        let mut batch = Batch::new(OutputSpec {
            masks: MaskOutput::None,
            ..OutputSpec::default()
        });
        let mut draw = ChaCha8Rng::seed_from_u64(6);
        let mut kept = [0; 4];
        for _ in 0..600 {
            let plan = random_plan(&mut draw);
            let checked = CheckedPlan::new(&plan, &scenes, &bank).unwrap();
            let encoded = Encoded::new(&checked).unwrap();
            backend.compose(&encoded, &mut batch).unwrap();
            let view = batch.sample(0).unwrap();
            let composed: Vec<OwnInstance> = (view.labels.iter().zip(view.iscrowd))
                .map(|(&category, &is_crowd)| OwnInstance {
                    category,
                    is_crowd: is_crowd != 0,
                })
                .collect();
            let own = own_instances(&encoded, &encoded.samples[0]);
            assert_eq!(own, composed, "{plan:?}");
            kept[own.len()] += 1;
        }
        // The draws meet all of them.
        assert!(kept.iter().all(|&plans| plans > 5), "{kept:?}");
    }
}
