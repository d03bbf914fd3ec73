//! The names and shapes that a network asks for, held against those of published files.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::Init;
use candle_nn::var_builder::{SimpleBackend, VarBuilder};

/// Names and shapes.
pub(crate) type Names = BTreeMap<String, Vec<usize>>;

/// Gives zeros that take no memory, and remembers what was asked for.
struct Recorder {
    published: Names,
    asked_for: Arc<Mutex<Names>>,
}

impl SimpleBackend for Recorder {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, on: &Device) -> Result<Tensor> {
        let mut names = self.asked_for.lock().unwrap();
        names.insert(name.to_owned(), shape.dims().to_vec());
        Tensor::zeros((), dtype, on)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("{name} was asked for without a shape")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.published.contains_key(name)
    }
}

/// What `make` asks for of a file with the names of `published`.
pub(crate) fn asked_for<T>(
    published: &Names,
    make: impl FnOnce(VarBuilder<'static>) -> Result<T>,
) -> Names {
    let asked_for = Arc::default();
    let backend = Recorder {
        published: published.clone(),
        asked_for: Arc::clone(&asked_for),
    };
    let vb = VarBuilder::from_backend(Box::new(backend), DType::F32, Device::Cpu);
    make(vb).unwrap();
    asked_for.lock().unwrap().clone()
}

/// Names and shapes of a published network: lines of `name shape`, where `{0..12}` in a name stands
/// for twelve numbers and a shape is written `768x3x16x16`, or `-` for a single number.
pub(crate) fn published(list: &str) -> Names {
    let mut names = Names::new();
    for line in list.lines() {
        let (name, shape) = line.split_once(' ').unwrap();
        let sides = shape.split('x').filter(|side| *side != "-");
        let shape: Vec<usize> = sides.map(|side| side.parse().unwrap()).collect();
        match name.split_once('{') {
            None => {
                names.insert(name.to_owned(), shape);
            }
            Some((before, rest)) => {
                let (range, after) = rest.split_once('}').unwrap();
                let (from, to) = range.split_once("..").unwrap();
                for index in from.parse::<usize>().unwrap()..to.parse().unwrap() {
                    names.insert(format!("{before}{index}{after}"), shape.clone());
                }
            }
        }
    }
    names
}

/// Panics with the names and shapes that one has and the other has not; `unused` holds the
/// beginnings of names that a network has no use for.
pub(crate) fn assert_same(asked_for: &Names, published: &Names, unused: &[&str]) {
    let needless = |name: &str| unused.iter().any(|beginning| name.starts_with(beginning));
    let of_use: Names = published
        .iter()
        .filter(|(name, _)| !needless(name))
        .map(|(name, shape)| (name.clone(), shape.clone()))
        .collect();
    let without = |names: &Names, others: &Names| -> Names {
        let alone = names
            .iter()
            .filter(|(name, shape)| others.get(*name) != Some(shape));
        alone
            .map(|(name, shape)| (name.clone(), shape.clone()))
            .collect()
    };
    assert_eq!(without(asked_for, &of_use), Names::new(), "asked for alone");
    assert_eq!(without(&of_use, asked_for), Names::new(), "published alone");
}
