//! What reference implementations gave: files of tests/goldens, made by scripts/make_goldens.py.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

/// The folder of goldens.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens"))
}

/// One file of tensors.
pub(crate) struct Golden(HashMap<String, Tensor>);

impl Golden {
    /// Opens tests/goldens/`name`.safetensors.
    pub fn open(name: &str) -> Golden {
        let file = folder().join(format!("{name}.safetensors"));
        let tensors = candle_core::safetensors::load(&file, &Device::Cpu);
        Golden(tensors.unwrap_or_else(|error| panic!("{}: {error}", file.display())))
    }

    /// A tensor as it is stored.
    pub fn get(&self, name: &str) -> Tensor {
        let tensor = self.0.get(name);
        tensor.unwrap_or_else(|| panic!("no golden {name}")).clone()
    }

    /// The tensors below `prefix.`, in F32: weights are stored as halves, which they are exactly.
    pub fn below(&self, prefix: &str) -> HashMap<String, Tensor> {
        let below = self.0.iter().filter_map(|(name, tensor)| {
            let name = name.strip_prefix(prefix)?.strip_prefix('.')?;
            Some((name.to_owned(), tensor.to_dtype(DType::F32).unwrap()))
        });
        below.collect()
    }

    /// A builder of the weights below `prefix.`.
    pub fn weights(&self, prefix: &str) -> VarBuilder<'static> {
        VarBuilder::from_tensors(self.below(prefix), DType::F32, &Device::Cpu)
    }
}

/// The largest difference, relative to the largest number expected.
pub(crate) fn relative_error(ours: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(ours.dims(), expected.dims());
    let largest = |tensor: &Tensor| {
        let tensor = tensor.abs().unwrap().flatten_all().unwrap();
        let numbers = tensor
            .to_dtype(DType::F64)
            .unwrap()
            .to_vec1::<f64>()
            .unwrap();
        // A number that is none is an error, whatever the others.
        numbers
            .into_iter()
            .fold(0.0, |most: f64, number| match number.is_nan() {
                true => f64::INFINITY,
                false => most.max(number),
            })
    };
    let ours = ours.to_dtype(expected.dtype()).unwrap();
    largest(&(ours - expected).unwrap()) / largest(expected)
}
