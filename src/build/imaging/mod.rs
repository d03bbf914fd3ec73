//! From images to tensors and back: the arithmetic that models' authors did around their networks.

mod resize;

use candle_core::{Result, Tensor, bail};
use image::{GrayImage, Rgb, RgbImage};

use super::device::Compute;
pub use super::nn::maps::upsample_bilinear;
pub use resize::{Filter, resize, resize_gray};

/// Mean of the channels of ImageNet's images, in parts of 255.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of the channels of ImageNet's images, in parts of 255.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Images of one size as [images, 3, height, width]: `(value / 255 - mean) / std`, as torchvision's
/// `ToTensor` and `Normalize` do it.
///
/// # Errors
/// No images, images of several sizes, and what candle says of the device.
pub fn to_tensor(
    images: &[RgbImage],
    mean: [f32; 3],
    std: [f32; 3],
    compute: &Compute,
) -> Result<Tensor> {
    let Some((width, height)) = images.first().map(RgbImage::dimensions) else {
        bail!("no images to make a tensor of");
    };
    let area = width as usize * height as usize;
    let mut values = Vec::with_capacity(images.len() * 3 * area);
    for image in images {
        if image.dimensions() != (width, height) {
            bail!(
                "images of one tensor must have one size: {width}x{height} and {}x{}",
                image.width(),
                image.height()
            );
        }
        for (channel, (mean, std)) in mean.into_iter().zip(std).enumerate() {
            let normalise = |pixel: &Rgb<u8>| (f32::from(pixel.0[channel]) / 255.0 - mean) / std;
            values.extend(image.pixels().map(normalise));
        }
    }
    let shape = (images.len(), 3, height as usize, width as usize);
    Tensor::from_vec(values, shape, &compute.device)?.to_dtype(compute.dtype)
}

/// The image on white, by its transparency: 0 is white, 255 is the image. Where the mask is
/// smaller than the image, what it does not reach is white.
pub fn on_white(image: &RgbImage, alpha: &GrayImage) -> RgbImage {
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let alpha = alpha.get_pixel_checked(x, y).map_or(0, |pixel| pixel.0[0]);
        let (alpha, rest) = (u32::from(alpha), u32::from(255 - alpha));
        // The nearest integer: the quotient is at most 255.
        let blend = |value: u8| (u32::from(value) * alpha + 255 * rest + 127) / 255;
        Rgb(image.get_pixel(x, y).0.map(|value| blend(value) as u8))
    })
}

/// Each map of [maps, ...] stretched to [0, 1]: `(value - least) / (greatest - least)`. A map of
/// one value becomes zeros.
///
/// # Errors
/// What candle says; a tensor without dimensions.
pub fn min_max(maps: &Tensor) -> Result<Tensor> {
    let flat = maps.flatten_from(1)?;
    let least = flat.min_keepdim(1)?;
    let range = flat.max_keepdim(1)?.sub(&least)?;
    let is_flat = range.eq(0f64)?.to_dtype(range.dtype())?;
    let stretched = flat
        .broadcast_sub(&least)?
        .broadcast_div(&(range + is_flat)?)?;
    stretched.reshape(maps.shape())
}

#[cfg(test)]
mod tests;
