//! The table of contents of a PyTorch archive (.pth, .pt, .bin): a zip file with a pickle that
//! describes tensors and a file of raw bytes for each storage.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use candle_core::DType;
use zip::{CompressionMethod, ZipArchive};

use super::pickle::{Id, Node, Pickle};
use super::stored::Stored;

/// A network of ten thousand tensors takes about two million.
const MOST_PICKLE_BYTES: u64 = 16 << 20;

/// Where training scripts put the network among its optimiser's state.
const NETWORK_KEYS: [&str; 7] = [
    "state_dict",
    "model_state_dict",
    "model",
    "params_ema",
    "params",
    "network",
    "net",
];

/// Names and places of all tensors.
///
/// # Errors
/// What was found and what was expected, for people.
pub(super) fn read_contents(
    path: &Path,
    file: File,
    length: u64,
) -> Result<Vec<(String, Stored)>, String> {
    let mut archive = ZipArchive::new(BufReader::new(file))
        .map_err(|error| format!("is not a whole PyTorch archive, it may be cut short: {error}"))?;
    let (folder, pickle) = read_pickle(&mut archive)?;
    let pickle = Pickle::read(&pickle)?;
    let contents = Contents {
        file: path.into(),
        storages: storages(&mut archive, &folder, length)?,
        pickle,
    };
    contents.tensors()
}

/// The pickle, and the folder within the archive that it lies in.
fn read_pickle(archive: &mut ZipArchive<BufReader<File>>) -> Result<(String, Vec<u8>), String> {
    let words = |error: zip::result::ZipError| error.to_string();
    let names: Vec<String> = archive
        .file_names()
        .map(|name| name.map(|name| name.into_owned()))
        .collect::<Result<_, _>>()
        .map_err(words)?;
    if names.iter().any(|name| name.ends_with("/constants.pkl")) {
        return Err(
            "is a TorchScript program and not a file of weights; save its tensors once \
            with PyTorch: python -c 'import torch; torch.save(torch.jit.load(\"in.pt\", \
            map_location=\"cpu\").state_dict(), \"out.pth\")'"
                .into(),
        );
    }
    let mut numbered = names.iter().enumerate();
    let pickle = numbered.find(|(_, name)| name.ends_with("data.pkl"));
    let (index, pickle) =
        pickle.ok_or("is a zip file without the data.pkl that torch.save writes")?;
    let method = archive.by_index_raw(index).map_err(words)?.compression();
    expect_stored(pickle, method)?;
    let entry = archive.by_index(index).map_err(words)?;
    let mut bytes = Vec::new();
    entry
        .take(MOST_PICKLE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("{pickle}: {error}"))?;
    if bytes.len() as u64 > MOST_PICKLE_BYTES {
        return Err(format!("{pickle} has more than {MOST_PICKLE_BYTES} bytes"));
    }
    let folder = pickle.strip_suffix("data.pkl").unwrap_or_default();
    Ok((folder.to_owned(), bytes))
}

/// What is compressed could unpack to far more than the file holds.
fn expect_stored(name: &str, method: CompressionMethod) -> Result<(), String> {
    match method {
        CompressionMethod::Stored => Ok(()),
        _ => Err(format!("{name} is compressed; torch.save stores as it is")),
    }
}

/// Where each storage's bytes are: the first one's place in the file, and how many there are.
fn storages(
    archive: &mut ZipArchive<BufReader<File>>,
    folder: &str,
    length: u64,
) -> Result<HashMap<String, (u64, u64)>, String> {
    let folder = format!("{folder}data/");
    let mut storages = HashMap::new();
    for index in 0..archive.len() {
        let entry = archive
            .by_index_raw(index)
            .map_err(|error| error.to_string())?;
        let name = entry
            .name()
            .map_err(|error| error.to_string())?
            .into_owned();
        let Some(key) = name.strip_prefix(&folder) else {
            continue;
        };
        expect_stored(&name, entry.compression())?;
        let start = entry.data_start().ok_or("has an entry without a place")?;
        let size = entry.size();
        if start.checked_add(size).is_none_or(|end| end > length) {
            return Err(format!("{name} ends past the file's {length} bytes"));
        }
        storages.insert(key.to_owned(), (start, size));
    }
    Ok(storages)
}

struct Contents {
    file: Arc<Path>,
    storages: HashMap<String, (u64, u64)>,
    pickle: Pickle,
}

impl Contents {
    fn tensors(&self) -> Result<Vec<(String, Stored)>, String> {
        let mut pairs = self.network()?;
        // As in Python, the last of two entries with one key counts.
        let mut tensors = HashMap::new();
        for (key, value) in pairs.drain(..) {
            let (Some(name), Some(arguments)) = (self.pickle.text(key), self.tensor(value)) else {
                continue;
            };
            let stored = self
                .stored(arguments)
                .map_err(|problem| format!("tensor {name:?} {problem}"))?;
            tensors.insert(name.to_owned(), stored);
        }
        Ok(tensors.into_iter().collect())
    }

    /// The first dictionary with tensors in it, from the outermost inwards.
    fn network(&self) -> Result<Vec<(Id, Id)>, String> {
        let mut node = self.pickle.root();
        for _ in 0..4 {
            let Node::Dict(pairs) = node else { break };
            if pairs.iter().any(|&(_, value)| self.tensor(value).is_some()) {
                return Ok(pairs.clone());
            }
            let inner = NETWORK_KEYS.iter().find_map(|wanted| {
                let found = |(key, _): &&(Id, Id)| self.pickle.text(*key) == Some(wanted);
                pairs.iter().rfind(found)
            });
            let Some(&(_, value)) = inner else {
                let keys: Vec<_> = pairs
                    .iter()
                    .filter_map(|&(key, _)| self.pickle.text(key))
                    .collect();
                return Err(format!(
                    "holds no tensors, and none of its keys is {}: {:?}",
                    NETWORK_KEYS.join(", "),
                    keys.get(..10).unwrap_or(&keys)
                ));
            };
            node = self.pickle.node(value);
        }
        Err("holds no dictionary of tensors, but an object of Python; save its state_dict()".into())
    }

    fn global(&self, id: Id) -> &str {
        match self.pickle.node(id) {
            Node::Global(name) => name,
            _ => "",
        }
    }

    fn items(&self, id: Id) -> &[Id] {
        match self.pickle.node(id) {
            Node::Sequence(items) => items,
            _ => &[],
        }
    }

    /// What `torch._utils._rebuild_tensor_v2` would be called with to make the value; parameters
    /// and tensors of subclasses are wrapped around it.
    fn tensor(&self, mut id: Id) -> Option<&[Id]> {
        for _ in 0..3 {
            let &Node::Called(mut function, mut arguments) = self.pickle.node(id) else {
                return None;
            };
            if self.global(function) == "torch._tensor _rebuild_from_type_v2" {
                let &[inner, _, inner_arguments, ..] = self.items(arguments) else {
                    return None;
                };
                (function, arguments) = (inner, inner_arguments);
            }
            match self.global(function) {
                "torch._utils _rebuild_tensor_v2" => return Some(self.items(arguments)),
                "torch._utils _rebuild_parameter" => id = *self.items(arguments).first()?,
                _ => return None,
            }
        }
        None
    }

    fn stored(&self, arguments: &[Id]) -> Result<Stored, String> {
        let &[storage, first, size, stride, ..] = arguments else {
            return Err("is described by too little".into());
        };
        let &Node::Outside(storage) = self.pickle.node(storage) else {
            return Err("has no storage".into());
        };
        let &[_, kind, key, ..] = self.items(storage) else {
            return Err("has a storage that is described by too little".into());
        };
        let key = self.pickle.text(key).unwrap_or_default();
        let &(start, bytes) = (self.storages.get(key))
            .ok_or_else(|| format!("has its values in data/{key}, which is not in the archive"))?;
        let dtype = element_type(self.global(kind));
        let shape = self.numbers(size)?;
        let order = order(&shape, &self.numbers(stride)?)?;
        let first = self.number(first)?;
        let mut offset = 0;
        if let Ok(dtype) = dtype {
            let size = dtype.size_in_bytes() as u64;
            let count =
                Stored::byte_count(&shape, dtype).and_then(|count| u64::try_from(count).ok());
            offset = first.saturating_mul(size);
            let end = count.and_then(|count| count.checked_add(offset));
            if end.is_none_or(|end| end > bytes) {
                return Err(format!(
                    "of shape {shape:?} from element {first} does not fit its storage of {bytes} bytes"
                ));
            }
        }
        Ok(Stored {
            file: Arc::clone(&self.file),
            offset: start.saturating_add(offset),
            dtype,
            shape,
            order,
        })
    }

    fn number(&self, id: Id) -> Result<u64, String> {
        match self.pickle.node(id) {
            Node::Int(number) => {
                u64::try_from(*number).map_err(|_| format!("has a size of {number}"))
            }
            _ => Err("has a size that is not a number".into()),
        }
    }

    fn numbers(&self, id: Id) -> Result<Vec<usize>, String> {
        let numbers = self.items(id).iter().map(|&id| {
            let number = self.number(id)?;
            usize::try_from(number).map_err(|_| format!("has a size of {number}"))
        });
        numbers.collect()
    }
}

/// Axes from the slowest to the fastest, or `None` when they are in order as they stand.
fn order(shape: &[usize], stride: &[usize]) -> Result<Option<Vec<usize>>, String> {
    if shape.len() != stride.len() {
        return Err(format!("has shape {shape:?} but strides {stride:?}"));
    }
    let axes = shape.iter().zip(stride);
    let mut order: Vec<_> = axes.enumerate().collect();
    // Where an axis of one element lies does not matter: it stays in its place.
    order.sort_by_key(|&(axis, (&size, &stride))| {
        let stride = if size == 1 { usize::MAX } else { stride };
        (std::cmp::Reverse(stride), axis)
    });
    let mut expected = 1_usize;
    for &(_, (&size, &stride)) in order.iter().rev() {
        if size != 1 && stride != expected && !shape.contains(&0) {
            return Err(format!(
                "of shape {shape:?} has gaps (strides {stride}, where {expected} was expected); \
                 save a contiguous copy"
            ));
        }
        expected = expected.saturating_mul(size);
    }
    let order: Vec<usize> = order.into_iter().map(|(axis, _)| axis).collect();
    Ok((!order.is_sorted()).then_some(order))
}

fn element_type(kind: &str) -> Result<DType, String> {
    match kind.strip_prefix("torch ").unwrap_or(kind) {
        "DoubleStorage" => Ok(DType::F64),
        "FloatStorage" => Ok(DType::F32),
        "HalfStorage" => Ok(DType::F16),
        "BFloat16Storage" => Ok(DType::BF16),
        "LongStorage" => Ok(DType::I64),
        "IntStorage" => Ok(DType::I32),
        "ShortStorage" => Ok(DType::I16),
        "ByteStorage" | "BoolStorage" => Ok(DType::U8),
        other => Err(other.to_owned()),
    }
}
