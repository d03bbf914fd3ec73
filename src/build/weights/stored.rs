//! A tensor in a file: where its bytes are and what they mean.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::{pth, safetensors};

/// A tensor that has not been read yet.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// The file.
    pub(super) file: Arc<Path>,
    /// The first byte's place in the file.
    pub(super) offset: u64,
    /// The element type, or the name of one that candle has not.
    pub(super) dtype: Result<DType, String>,
    /// The shape.
    pub(super) shape: Vec<usize>,
    /// Axes from the slowest to the fastest, where they are not stored in their own order.
    pub(super) order: Option<Vec<usize>>,
}

impl Stored {
    /// The bytes that `shape` takes; `None` when there is no such number.
    pub(super) fn byte_count(shape: &[usize], dtype: DType) -> Option<usize> {
        let mut sizes = shape.iter();
        sizes.try_fold(dtype.size_in_bytes(), |count, &size| {
            count.checked_mul(size)
        })
    }

    /// Reads the tensor as it is stored, onto the CPU.
    ///
    /// # Errors
    /// What was found and what was expected, for people.
    pub(super) fn read(&self) -> Result<Tensor, String> {
        let dtype = self.dtype.clone().map_err(|found| {
            format!("has elements of type {found}; floats of 16, 32 or 64 bits were expected")
        })?;
        let bytes = Stored::byte_count(&self.shape, dtype)
            .and_then(|count| Some((count, u64::try_from(count).ok()?)));
        let (count, end) = bytes.ok_or_else(|| format!("is too large: {:?}", self.shape))?;
        let mut file = File::open(&self.file).map_err(|error| error.to_string())?;
        let length = file.metadata().map_err(|error| error.to_string())?.len();
        // No memory is asked for that the file could not fill.
        if self.offset.checked_add(end).is_none_or(|end| end > length) {
            return Err(format!("ends past the file's {length} bytes"));
        }
        let mut buffer = vec![0; count];
        file.seek(SeekFrom::Start(self.offset))
            .and_then(|_| file.read_exact(&mut buffer))
            .map_err(|error| error.to_string())?;
        self.tensor(&buffer, dtype)
            .map_err(|error| error.to_string())
    }

    fn tensor(&self, bytes: &[u8], dtype: DType) -> candle_core::Result<Tensor> {
        let Some(order) = &self.order else {
            return Tensor::from_raw_buffer(bytes, dtype, &self.shape, &Device::Cpu);
        };
        let stored: Vec<usize> = order
            .iter()
            .filter_map(|&axis| self.shape.get(axis).copied())
            .collect();
        let mut back = vec![0; order.len()];
        for (place, &axis) in order.iter().enumerate() {
            if let Some(entry) = back.get_mut(axis) {
                *entry = place;
            }
        }
        Tensor::from_raw_buffer(bytes, dtype, &stored, &Device::Cpu)?
            .permute(back)?
            .contiguous()
    }
}

/// Names and places of all tensors in a file.
///
/// # Errors
/// What was found and what was expected, for people.
pub(super) fn read_contents(path: &Path) -> Result<Vec<(String, Stored)>, String> {
    let words = |error: std::io::Error| error.to_string();
    let mut file = File::open(path).map_err(words)?;
    let length = file.metadata().map_err(words)?.len();
    let mut start = Vec::new();
    (&mut file)
        .take(16)
        .read_to_end(&mut start)
        .map_err(words)?;
    file.rewind().map_err(words)?;
    match start.as_slice() {
        [b'P', b'K', 3, 4, ..] => pth::read_contents(path, file, length),
        [0x80, _, 0x8a, 0x0a, ..] => Err(OLD_ARCHIVE.to_owned()),
        [_, _, _, _, _, _, _, _, b'{', ..] => safetensors::read_contents(path, file, length),
        [b'v', b'e', b'r', b's', b'i', b'o', b'n', b' ', ..] => Err(
            "is a pointer of Git LFS and not the file itself; fetch it with `git lfs pull`".into(),
        ),
        [b'<', ..] => Err("is a web page and not a file of weights; download it again".into()),
        [] => Err("is empty; safetensors or a PyTorch archive was expected".into()),
        other => Err(format!(
            "begins with the bytes {other:02x?}; safetensors or a PyTorch archive was expected"
        )),
    }
}

const OLD_ARCHIVE: &str = "is in PyTorch's format from before version 1.6, which cannot be read \
    without executing it; convert it once with PyTorch: python -c 'import torch; \
    torch.save(torch.load(\"old.pth\", map_location=\"cpu\", weights_only=True), \"new.pth\")'";
