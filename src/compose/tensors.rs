//! Batches as candle tensors (feature `candle`).

use candle_core::{DType, Device, Result, Tensor};

use super::batch::{Batch, ImageData, InstanceSource, words_of};
use super::output::{Layout, MaskOutput};

/// The instances of one sample as tensors, n of them.
#[derive(Clone, Debug)]
pub struct SampleTensors {
    /// x0, y0, x1, y1 in pixels, half open: f32 `[n, 4]`.
    pub boxes: Tensor,
    /// Category ids: i64 `[n]`.
    pub labels: Tensor,
    /// Visible pixels: u32 `[n]`.
    pub areas: Tensor,
    /// Pixels on the canvas before occlusion: u32 `[n]`.
    pub full_areas: Tensor,
    /// Visible shares, 0..=1: f32 `[n]`.
    pub visible_fractions: Tensor,
    /// COCO's crowd flags: u8 `[n]`.
    pub iscrowd: Tensor,
    /// 1 where the label was dropped, so that no loss should count the instance: u8 `[n]`.
    pub ignored: Tensor,
    /// 1 for instances pasted from the bank, 0 for those of the scene: u8 `[n]`.
    pub is_pasted: Tensor,
    /// Index of the cutout for pasted instances, annotation id for the others: i64 `[n]`.
    pub source_ids: Tensor,
    /// Number of the layer for pasted instances, -1 for the others: i64 `[n]`.
    pub layers: Tensor,
    /// Masks of 0 and 1: u8 `[n, height, width]`; `None` unless the batch holds mask bits.
    pub masks: Option<Tensor>,
    /// Id of the scene's image.
    pub image_id: i64,
}

impl Batch {
    /// The images as a tensor of the batch's element type: `[batch, 3, height, width]`, or
    /// `[batch, height, width, 3]` in [`Layout::Hwc`].
    ///
    /// # Errors
    /// Those of candle, such as a device without memory.
    pub fn image_tensor(&self, device: &Device) -> Result<Tensor> {
        let [width, height] = [self.canvas().width(), self.canvas().height()].map(|s| s as usize);
        let shape = match self.spec().layout {
            Layout::Chw => (self.len(), 3, height, width),
            Layout::Hwc => (self.len(), height, width, 3),
        };
        match self.image() {
            ImageData::U8(values) => Tensor::from_slice(values, shape, device),
            ImageData::F16(values) => Tensor::from_slice(values, shape, device),
            ImageData::BF16(values) => Tensor::from_slice(values, shape, device),
            ImageData::F32(values) => Tensor::from_slice(values, shape, device),
        }
    }

    /// The instances of one sample as tensors, or `None` past the end.
    ///
    /// # Errors
    /// Those of candle, such as a device without memory.
    pub fn sample_tensors(&self, sample: usize, device: &Device) -> Result<Option<SampleTensors>> {
        let Some(view) = self.sample(sample) else {
            return Ok(None);
        };
        let n = view.labels.len();
        let (is_pasted, source_ids): (Vec<u8>, Vec<i64>) = view
            .sources
            .iter()
            .map(|source| match *source {
                InstanceSource::Annotation(id) => (0, id),
                InstanceSource::Cutout(index) => (1, index as i64),
            })
            .unzip();
        let layer = |layer: &Option<u16>| layer.map_or(-1, i64::from);
        let layers: Vec<i64> = view.layers.iter().map(layer).collect();
        Ok(Some(SampleTensors {
            boxes: Tensor::from_slice(view.boxes.as_flattened(), (n, 4), device)?,
            labels: Tensor::from_slice(view.labels, n, device)?,
            areas: Tensor::from_slice(view.areas, n, device)?,
            full_areas: Tensor::from_slice(view.full_areas, n, device)?,
            is_pasted: Tensor::from_vec(is_pasted, n, device)?,
            source_ids: Tensor::from_vec(source_ids, n, device)?,
            layers: Tensor::from_vec(layers, n, device)?,
            visible_fractions: Tensor::from_slice(view.visible_fractions, n, device)?,
            iscrowd: Tensor::from_slice(view.iscrowd, n, device)?,
            ignored: Tensor::from_slice(view.ignored, n, device)?,
            masks: self.mask_tensor(sample, n, device)?,
            image_id: view.image_id,
        }))
    }

    fn mask_tensor(&self, sample: usize, n: usize, device: &Device) -> Result<Option<Tensor>> {
        if self.spec().masks != MaskOutput::Bits {
            return Ok(None);
        }
        let [width, height] = [self.canvas().width(), self.canvas().height()].map(|s| s as usize);
        if n == 0 {
            return Tensor::zeros((0, height, width), DType::U8, device).map(Some);
        }
        let mut masks = Vec::with_capacity(n * height * words_of(width) * 32);
        self.masks_u8(sample, &mut masks);
        Tensor::from_vec(masks, (n, height, width), device).map(Some)
    }
}
