//! What stays and in which order (rule 14), with the masks of what stays.

use super::visible::{Measure, Slot, Visible};
use crate::annotations::rle::Rle;
use crate::compose::batch::{InstanceSource, Settled, words_of};
use crate::compose::encode::{Encoded, EncodedSample};
use crate::compose::error::ComposeError;
use crate::compose::masks::Masks;
use crate::compose::output::MaskOutput;
use crate::compose::simd::Simd;
use crate::geometry::{Rect, Size};
use crate::plan::Keep;

/// Rule 14: whether an instance stays.
fn stays(keep: Keep, full: Measure, seen: Measure) -> bool {
    let (visible, area) = (u64::from(seen.area), u64::from(full.area));
    if visible == 0 || 1000 * visible < u64::from(keep.min_visible_permille) * area {
        return false;
    }
    visible >= u64::from(keep.min_area)
        || keep
            .max_box_shift
            .is_some_and(|shift| largest_shift(full.rect, seen.rect) <= shift)
}

/// How far the furthest of the four edges moved.
fn largest_shift(before: Rect, after: Rect) -> u32 {
    [
        before.x0.abs_diff(after.x0),
        before.y0.abs_diff(after.y0),
        before.x1.abs_diff(after.x1),
        before.y1.abs_diff(after.y1),
    ]
    .into_iter()
    .fold(0, u32::max)
}

/// Writes the masks of one sample: into the batch's bits one after another, or into scratch that
/// becomes run lengths, or nowhere.
struct MaskWriter<'a> {
    output: MaskOutput,
    canvas: Size,
    bits: &'a mut Masks,
    scratch: &'a mut Vec<u32>,
}

impl MaskWriter<'_> {
    /// A blank slot that holds `rect` for the instance that would be number `index` of those
    /// that stay. One that does not stay leaves its slot to the next.
    fn slot(&mut self, index: usize, rect: Rect) -> Slot<'_> {
        if self.output == MaskOutput::Bits {
            return Slot {
                x0: 0,
                y0: 0,
                stride: words_of(self.canvas.width() as usize),
                bits: self.bits.blank(index, rect),
            };
        }
        let x0 = rect.x0 & !31;
        let stride = words_of((rect.x1 - x0).max(0) as usize);
        self.scratch.clear();
        self.scratch.resize(stride * rect.height(), 0);
        Slot {
            x0,
            y0: rect.y0,
            stride,
            bits: self.scratch,
        }
    }

    /// The run lengths of what the last slot, made for `rect`, holds.
    fn run_lengths(&self, rect: Rect) -> Result<Option<Rle>, ComposeError> {
        if self.output != MaskOutput::Rle {
            return Ok(None);
        }
        let x0 = (rect.x0 & !31) as u32;
        let bounds = [
            x0,
            rect.y0 as u32,
            rect.x1 as u32 - x0,
            rect.height() as u32,
        ];
        let (width, height) = (self.canvas.width(), self.canvas.height());
        let stride = words_of(bounds[2] as usize);
        let rle = Rle::from_box_bits(width, height, bounds, stride, self.scratch)?;
        Ok(Some(rle))
    }
}

/// Where one sample's results go.
pub(super) struct Results<'a> {
    pub masks: MaskOutput,
    pub bits: &'a mut Masks,
    pub scratch: &'a mut Vec<u32>,
    pub settled: &'a mut Vec<Settled>,
}

/// Applies rule 14 to a composed sample: scene instances in stored order, then layers in plan
/// order.
pub(super) fn settle(
    encoded: &Encoded<'_>,
    sample: &EncodedSample,
    simd: Simd,
    visible: &mut Visible,
    results: Results<'_>,
) -> Result<(), ComposeError> {
    let settled = results.settled;
    settled.clear();
    let mut writer = MaskWriter {
        output: results.masks,
        canvas: encoded.canvas,
        bits: results.bits,
        scratch: results.scratch,
    };
    settle_instances(encoded, sample, simd, visible, &mut writer, settled)?;
    for (number, layer) in encoded.layers_of(sample).iter().enumerate() {
        let (full, seen) = visible.layer(number);
        if !stays(encoded.keep, full, seen) {
            continue;
        }
        if writer.output != MaskOutput::None {
            let mut slot = writer.slot(settled.len(), seen.rect);
            visible.write_layer(number, &mut slot);
        }
        settled.push(Settled {
            category: layer.category,
            rect: seen.rect,
            area: seen.area,
            full_area: full.area,
            iscrowd: 0,
            ignored: 0,
            source: InstanceSource::Cutout(layer.cutout),
            layer: Some(number as u16),
            rle: writer.run_lengths(seen.rect)?,
        });
    }
    Ok(())
}

fn settle_instances(
    encoded: &Encoded<'_>,
    sample: &EncodedSample,
    simd: Simd,
    visible: &mut Visible,
    writer: &mut MaskWriter<'_>,
    settled: &mut Vec<Settled>,
) -> Result<(), ComposeError> {
    visible.place_scene(sample);
    for (instance, mask) in encoded.instances_of(sample) {
        let rect = visible.instance_rect(instance);
        if rect.is_empty() {
            continue;
        }
        let mut slot = writer.slot(settled.len(), rect);
        let (full, seen) = visible.instance(simd, (instance, mask), rect, &mut slot);
        if !stays(encoded.keep, full, seen) {
            continue;
        }
        settled.push(Settled {
            category: instance.category,
            rect: seen.rect,
            area: seen.area,
            full_area: full.area,
            iscrowd: instance.iscrowd as u8,
            ignored: 0,
            source: InstanceSource::Annotation(instance.annotation),
            layer: None,
            rle: writer.run_lengths(rect)?,
        });
    }
    Ok(())
}

/// Bytes that were moved for one that stays, within its box: its bits, which are cleared and written,
/// and what they come from.
pub(super) fn bytes_of(settled: &Settled) -> usize {
    let rect = settled.rect;
    let words = words_of(rect.x1 as usize) - rect.x0 as usize / 32;
    // A layer's bits come from its visible mask, a scene instance's from those that layers own.
    words * rect.height() * (8 + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(area: u32, x1: i32) -> (Measure, Measure) {
        let rect = |x1| Rect {
            x0: 0,
            y0: 0,
            x1,
            y1: 10,
        };
        let full = Measure {
            area: 1000,
            rect: rect(100),
        };
        let seen = Measure {
            area,
            rect: rect(x1),
        };
        (full, seen)
    }

    fn kept(keep: Keep, area: u32, x1: i32) -> bool {
        let (full, seen) = measured(area, x1);
        stays(keep, full, seen)
    }

    #[test]
    fn the_bounds_themselves_stay() {
        let keep = Keep {
            min_area: 301,
            min_visible_permille: 100,
            max_box_shift: Some(10),
        };
        assert!(kept(keep, 301, 50));
        assert!(!kept(keep, 300, 50));
        assert!(kept(keep, 300, 90));
        assert!(!kept(keep, 300, 89));
        assert!(kept(keep, 100, 100));
        // The box shift excuses a small area, not a small share.
        assert!(!kept(keep, 99, 100));
        assert!(!kept(
            Keep {
                min_area: 0,
                ..keep
            },
            0,
            100
        ));
    }

    #[test]
    fn without_a_shift_the_area_decides() {
        let keep = Keep {
            min_area: 301,
            ..Keep::default()
        };
        assert!(!kept(keep, 300, 100));
        assert!(kept(keep, 301, 100));
    }
}
