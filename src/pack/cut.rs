//! Cutting one object out of a picture.

use multiversion::multiversion;

use crate::bank::{CUTOUT_CHANNELS, Cutout, Provenance, SCENE_CHANNELS, mip};
use crate::geometry::Size;

use crate::annotations::rle::Rle;

/// A cutout with its own pixels, on its way to a shard.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CutoutRow {
    pub size: Size,
    pub chain: Vec<u8>,
    pub category: i64,
    pub area: u32,
    pub bounding_box: [u16; 4],
    pub score: f32,
    pub image: i64,
    pub annotation: i64,
    pub origin: [i32; 2],
    pub source_size: [u16; 2],
    /// Where it is from, in a bank made with models: then every row has this.
    pub provenance: Option<Box<Provenance>>,
}

impl CutoutRow {
    pub fn as_cutout(&self) -> Cutout<'_> {
        Cutout {
            size: self.size,
            chain: &self.chain,
            category: self.category,
            area: self.area,
            bounding_box: self.bounding_box,
            score: self.score,
            image: self.image,
            annotation: self.annotation,
            origin: self.origin,
            source_size: self.source_size,
        }
    }
}

/// Whose cutout it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Identity {
    pub category: i64,
    pub annotation: i64,
    pub image: i64,
    pub score: f32,
}

/// An object's mask: its tight box and the box's pixels.
pub(super) struct Object {
    /// x, y, width, height in the picture.
    pub bounding_box: [u32; 4],
    /// Pixels of the mask.
    pub area: u32,
    /// A byte of 0 or 1 for each pixel of the box, row after row.
    pub plane: Vec<u8>,
}

impl Object {
    /// `None` if the mask is empty.
    pub fn new(mask: &Rle) -> Option<Object> {
        let bounding_box = mask.bounding_box()?;
        Some(Object {
            bounding_box,
            // A picture has at most 2^28 pixels.
            area: mask.area() as u32,
            plane: mask.box_plane(bounding_box).ok()?,
        })
    }
}

/// Cuts an object and `margin` pixels of real context around its box (fewer at the picture's edge)
/// out of `pixels`, which begin with the RGB rows of a picture of `size`. Alpha is 255 on the mask
/// and 0 off it.
pub(super) fn cut(
    pixels: &[u8],
    size: Size,
    object: &Object,
    margin: u32,
    identity: Identity,
) -> Option<CutoutRow> {
    let [x, y, width, height] = object.bounding_box;
    let (x0, y0) = (x.saturating_sub(margin), y.saturating_sub(margin));
    let x1 = (x + width).saturating_add(margin).min(size.width());
    let y1 = (y + height).saturating_add(margin).min(size.height());
    let cut_size = Size::new(x1 - x0, y1 - y0)?;
    let mut chain = Vec::with_capacity(mip::chain_bytes(cut_size, CUTOUT_CHANNELS));
    let stride = size.width() as usize * SCENE_CHANNELS;
    let mut cut_row = vec![0; cut_size.width() as usize * CUTOUT_CHANNELS];
    let mut mask_row = vec![0; cut_size.width() as usize];
    for row in y0..y1 {
        let inside = &mut mask_row[(x - x0) as usize..][..width as usize];
        if (y..y + height).contains(&row) {
            let start = (row - y) as usize * width as usize;
            inside.copy_from_slice(&object.plane[start..][..width as usize]);
        } else {
            inside.fill(0);
        }
        let start = row as usize * stride + x0 as usize * SCENE_CHANNELS;
        add_alpha(&pixels[start..], &mask_row, &mut cut_row);
        chain.extend_from_slice(&cut_row);
    }
    mip::append_chain::<CUTOUT_CHANNELS>(&mut chain, cut_size);
    // All sides are at most 16384.
    Some(CutoutRow {
        size: cut_size,
        chain,
        category: identity.category,
        area: object.area,
        bounding_box: [x - x0, y - y0, width, height].map(|side| side as u16),
        score: identity.score,
        image: identity.image,
        annotation: identity.annotation,
        origin: [x0 as i32, y0 as i32],
        source_size: [size.width() as u16, size.height() as u16],
        provenance: None,
    })
}

/// RGB and a mask of 0 and 1 to RGBA, as far as `cut_row` goes.
#[multiversion(targets = "simd")]
fn add_alpha(row: &[u8], mask: &[u8], cut_row: &mut [u8]) {
    let texels = cut_row.as_chunks_mut::<CUTOUT_CHANNELS>().0;
    let colours = row.as_chunks::<SCENE_CHANNELS>().0;
    for ((texel, &[red, green, blue]), &mask) in texels.iter_mut().zip(colours).zip(mask) {
        *texel = [red, green, blue, 0u8.wrapping_sub(mask)];
    }
}

/// Bytes that [`cut`] will make of an object with that box, margin and all.
pub(super) fn cutout_bytes([width, height]: [f32; 2], margin: u32) -> usize {
    let side = |side: f32| f64::from(side.max(0.0)) + 2.0 * f64::from(margin);
    (side(width) * side(height) * CUTOUT_CHANNELS as f64 * 4.0 / 3.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cutout_keeps_its_context_and_stays_in_the_picture() {
        let size = Size::new(5, 4).unwrap();
        let pixels: Vec<u8> = (0..5 * 4 * 3).collect();
        // Two pixels, (1, 0) and (1, 1), in a picture of 5x4.
        let mask = Rle::from_counts(5, 4, vec![4, 2, 14]).unwrap();
        let identity = Identity {
            category: 3,
            annotation: 4,
            image: 5,
            score: 0.5,
        };
        let object = Object::new(&mask).unwrap();
        let row = cut(&pixels, size, &object, 1, identity).unwrap();
        assert_eq!((row.size.width(), row.size.height()), (3, 3));
        assert_eq!(row.bounding_box, [1, 0, 1, 2]);
        assert_eq!((row.area, row.origin), (2, [0, 0]));
        assert_eq!(row.chain[..8], [0, 1, 2, 0, 3, 4, 5, 255]);
        assert_eq!(row.chain[12..16], [15, 16, 17, 0]);
        assert_eq!(row.chain.len(), (9 + 4 + 1) * 4);
    }
}
