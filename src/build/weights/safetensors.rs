//! The table of contents of a safetensors file.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use candle_core::DType;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::stored::Stored;

/// The format's own limit of its header.
const MOST_HEADER_BYTES: u64 = 100_000_000;

/// Names and places of all tensors.
///
/// # Errors
/// What was found and what was expected, for people.
pub(super) fn read_contents(
    path: &Path,
    mut file: File,
    length: u64,
) -> Result<Vec<(String, Stored)>, String> {
    let mut size = [0; 8];
    file.read_exact(&mut size)
        .map_err(|error| error.to_string())?;
    let size = u64::from_le_bytes(size);
    if size > MOST_HEADER_BYTES || size > length.saturating_sub(8) {
        return Err(format!(
            "says that its header has {size} bytes, but the file has {length} in all: it is cut \
             short or not safetensors"
        ));
    }
    let mut header = Vec::new();
    file.take(size)
        .read_to_end(&mut header)
        .map_err(|error| error.to_string())?;
    // This also holds the bytes of each tensor against its shape and type.
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|error| format!("its safetensors header cannot be read: {error}"))?;
    let place = Place {
        file: path.into(),
        start: size + 8,
        length,
    };
    let tensors = metadata.tensors().into_iter();
    tensors
        .map(|(name, info)| match place.stored(info) {
            Ok(stored) => Ok((name, stored)),
            Err(problem) => Err(format!("tensor {name:?} {problem}")),
        })
        .collect()
}

struct Place {
    file: Arc<Path>,
    start: u64,
    length: u64,
}

impl Place {
    fn stored(&self, info: &TensorInfo) -> Result<Stored, String> {
        let (first, end) = info.data_offsets;
        let within = |offset: usize| self.start.checked_add(u64::try_from(offset).ok()?);
        let (Some(offset), Some(end)) = (within(first), within(end)) else {
            return Err("lies past what a file can hold".into());
        };
        if end > self.length {
            return Err(format!(
                "ends at byte {end}, but the file has {}: it is cut short",
                self.length
            ));
        }
        Ok(Stored {
            file: Arc::clone(&self.file),
            offset,
            dtype: element_type(info.dtype),
            shape: info.shape.clone(),
            order: None,
        })
    }
}

fn element_type(dtype: Dtype) -> Result<DType, String> {
    match dtype {
        Dtype::F64 => Ok(DType::F64),
        Dtype::F32 => Ok(DType::F32),
        Dtype::F16 => Ok(DType::F16),
        Dtype::BF16 => Ok(DType::BF16),
        Dtype::I64 => Ok(DType::I64),
        Dtype::I32 => Ok(DType::I32),
        Dtype::I16 => Ok(DType::I16),
        Dtype::U32 => Ok(DType::U32),
        Dtype::U8 | Dtype::BOOL => Ok(DType::U8),
        other => Err(format!("{other:?}")),
    }
}
