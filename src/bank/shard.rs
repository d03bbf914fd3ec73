//! One safetensors shard: its header parsed, its columns checked for type and shape.
//!
//! Columns are read value by value as little-endian bytes, so a shard needs no alignment and its
//! contents are never reinterpreted.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::ops::Range;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::error::BankError;
use super::manifest::ShardEntry;
use super::map::MappedFile;

/// The longest header that the format allows.
const MOST_HEADER_BYTES: usize = 100_000_000;

/// A mapped shard whose header has been checked against the file's length.
#[derive(Debug)]
pub(crate) struct Shard {
    file: MappedFile,
    tensors: HashMap<String, Tensor>,
    rows: usize,
}

/// One tensor as the header describes it.
#[derive(Debug)]
pub(crate) struct Tensor {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub range: Range<usize>,
}

/// A type that columns hold.
pub(crate) trait Element: Copy + 'static {
    const DTYPE: Dtype;
    const BYTES: usize;
    fn from_bytes(bytes: &[u8]) -> Self;
}

macro_rules! element {
    ($($type:ty => $dtype:ident),*) => {$(
        impl Element for $type {
            const DTYPE: Dtype = Dtype::$dtype;
            const BYTES: usize = size_of::<$type>();
            #[inline]
            fn from_bytes(bytes: &[u8]) -> $type {
                let mut array = [0; size_of::<$type>()];
                array.copy_from_slice(bytes);
                <$type>::from_le_bytes(array)
            }
        }
    )*};
}
element!(u8 => U8, u16 => U16, u32 => U32, u64 => U64, i32 => I32, i64 => I64, f32 => F32);

/// Where a column of `N` values a row lies in its shard.
#[derive(Clone, Debug)]
pub(crate) struct Column<T, const N: usize> {
    range: Range<usize>,
    element: PhantomData<T>,
}

impl<T: Element, const N: usize> Column<T, N> {
    pub fn len(&self) -> usize {
        self.range.len() / (T::BYTES * N)
    }

    /// Row `row`, which must be below [`Column::len`].
    #[inline]
    pub fn get(&self, shard: &Shard, row: usize) -> [T; N] {
        let row_bytes = T::BYTES * N;
        let bytes = &shard.blob(&self.range)[row * row_bytes..][..row_bytes];
        std::array::from_fn(|index| T::from_bytes(&bytes[index * T::BYTES..][..T::BYTES]))
    }
}

impl<T: Element> Column<T, 1> {
    #[inline]
    pub fn value(&self, shard: &Shard, row: usize) -> T {
        self.get(shard, row)[0]
    }

    /// All values in order.
    pub fn iter<'a>(&self, shard: &'a Shard) -> impl Iterator<Item = T> + 'a {
        shard
            .blob(&self.range)
            .chunks_exact(T::BYTES)
            .map(T::from_bytes)
    }
}

/// A list of values a row: the values of all rows, and where each row's begin.
#[derive(Clone, Debug)]
pub(crate) struct ListColumn<T> {
    starts: Column<u64, 1>,
    values: Column<T, 1>,
}

impl<T: Element> ListColumn<T> {
    /// Row `row`'s list; empty where the starts have been changed under us and no longer fit.
    pub fn get<'a>(&self, shard: &'a Shard, row: usize) -> impl Iterator<Item = T> + 'a {
        let [first, end] = [row, row + 1].map(|row| self.starts.value(shard, row) as usize);
        let bytes = shard.blob(&self.values.range);
        let list = bytes.get(first.saturating_mul(T::BYTES)..end.saturating_mul(T::BYTES));
        list.unwrap_or_default()
            .chunks_exact(T::BYTES)
            .map(T::from_bytes)
    }
}

impl Shard {
    /// Maps the file that a manifest lists, and checks its length and header.
    pub fn open(path: &Path, entry: &ShardEntry) -> Result<Shard, BankError> {
        let file = MappedFile::open(path)?;
        let shard_error = |problem| BankError::Shard {
            shard: path.to_owned(),
            problem,
        };
        let length = file.bytes().len();
        if length as u64 != entry.bytes {
            return Err(shard_error(format!(
                "the file has {length} bytes; the manifest says {}",
                entry.bytes
            )));
        }
        let rows = usize::try_from(entry.rows)
            .map_err(|_| shard_error(format!("{} rows are too many", entry.rows)))?;
        let (data, metadata) = read_header(file.bytes())
            .map_err(|problem| shard_error(format!("no valid safetensors header: {problem}")))?;
        let tensors = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| {
                let tensor = Tensor {
                    dtype: info.dtype,
                    shape: info.shape.clone(),
                    range: data + info.data_offsets.0..data + info.data_offsets.1,
                };
                (name, tensor)
            })
            .collect();
        Ok(Shard {
            file,
            tensors,
            rows,
        })
    }

    /// Rows, as the manifest says; every row column was checked to have as many.
    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn file(&self) -> &MappedFile {
        &self.file
    }

    /// The names of all columns and blobs, in no order; those that no reader knows included.
    pub fn column_names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The tensor of that name, whatever it is.
    pub fn tensor_named(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// The bytes of a range that came from this shard's own header.
    #[inline]
    pub fn blob(&self, range: &Range<usize>) -> &[u8] {
        &self.file.bytes()[range.clone()]
    }

    /// A column with `N` values a row and `rows` rows; shape `[rows]` where `N` is 1, else `[rows, N]`.
    pub fn column<T: Element, const N: usize>(
        &self,
        name: &'static str,
        rows: usize,
    ) -> Result<Column<T, N>, BankError> {
        let tensor = self.tensor::<T>(name)?;
        let expected = if N == 1 { vec![rows] } else { vec![rows, N] };
        if tensor.shape != expected {
            let problem = format!("shape {:?}; {expected:?} was expected", tensor.shape);
            return Err(self.column_error(name, None, problem));
        }
        Ok(Column {
            range: tensor.range.clone(),
            element: PhantomData,
        })
    }

    /// A one-dimensional column of any length.
    pub fn vector<T: Element>(&self, name: &'static str) -> Result<Column<T, 1>, BankError> {
        let tensor = self.tensor::<T>(name)?;
        match tensor.shape[..] {
            [rows] => self.column(name, rows),
            _ => {
                let problem = format!("shape {:?}; one dimension was expected", tensor.shape);
                Err(self.column_error(name, None, problem))
            }
        }
    }

    /// A column of `rows` + 1 starts of lists whose values number `total` in all.
    pub fn starts(
        &self,
        name: &'static str,
        rows: usize,
        total: usize,
    ) -> Result<Column<u64, 1>, BankError> {
        let starts = self.column::<u64, 1>(name, rows.saturating_add(1))?;
        let mut previous = 0;
        for (row, start) in starts.iter(self).enumerate() {
            let rises = (row > 0 || start == 0) && start >= previous && start <= total as u64;
            if !rises || (row == rows && start != total as u64) {
                let problem = format!(
                    "{start} after {previous}; starts that rise from 0 to {total} were expected"
                );
                return Err(self.column_error(name, Some(row), problem));
            }
            previous = start;
        }
        Ok(starts)
    }

    /// A column with a list a row, or `None` where the shard does not have it.
    pub fn optional_list<T: Element>(
        &self,
        (start, values): (&'static str, &'static str),
        rows: usize,
    ) -> Result<Option<ListColumn<T>>, BankError> {
        if !self.tensors.contains_key(values) {
            return Ok(None);
        }
        let values = self.vector::<T>(values)?;
        let starts = self.starts(start, rows, values.len())?;
        Ok(Some(ListColumn { starts, values }))
    }

    /// A column of one value a row, or `None` where the shard does not have it.
    pub fn optional_column<T: Element>(
        &self,
        name: &'static str,
        rows: usize,
    ) -> Result<Option<Column<T, 1>>, BankError> {
        let present = self.tensors.contains_key(name);
        present.then(|| self.column(name, rows)).transpose()
    }

    /// The range of a blob of bytes, such as `pixels`.
    pub fn bytes_of(&self, name: &'static str) -> Result<Range<usize>, BankError> {
        Ok(self.vector::<u8>(name)?.range)
    }

    pub fn column_error(
        &self,
        column: &'static str,
        row: Option<usize>,
        problem: String,
    ) -> BankError {
        BankError::Column {
            shard: self.file.path().to_owned(),
            row: row.map(|row| row as u64),
            column,
            problem,
        }
    }

    fn tensor<T: Element>(&self, name: &'static str) -> Result<&Tensor, BankError> {
        let tensor = self.tensors.get(name).ok_or_else(|| {
            self.column_error(name, None, "the shard does not have this column".into())
        })?;
        if tensor.dtype != T::DTYPE {
            let problem = format!("type {:?}; {:?} was expected", tensor.dtype, T::DTYPE);
            return Err(self.column_error(name, None, problem));
        }
        Ok(tensor)
    }
}

/// The start of the data and the tensors, which fill the rest of the file without gaps.
///
/// The library's own reader of whole files adds lengths that the file made up without a check, so
/// only its reader of the header's JSON is used, which does check that tensors follow one another.
fn read_header(file: &[u8]) -> Result<(usize, Metadata), String> {
    let length: [u8; 8] = *file.first_chunk().ok_or("fewer than 8 bytes")?;
    let length = u64::from_le_bytes(length);
    let data = usize::try_from(length)
        .ok()
        .filter(|&length| length <= MOST_HEADER_BYTES)
        .map(|length| length + 8)
        .filter(|&data| data <= file.len())
        .ok_or_else(|| format!("a header of {length} bytes in a file of {}", file.len()))?;
    let metadata: Metadata =
        serde_json::from_slice(&file[8..data]).map_err(|error| error.to_string())?;
    let expected = file.len() - data;
    match metadata.data_len() {
        found if found == expected => Ok((data, metadata)),
        found => Err(format!(
            "its tensors have {found} bytes; {expected} bytes follow the header"
        )),
    }
}

/// The part of a blob of `blob_bytes` that starts at `offset` and has `length` bytes, or `None`
/// where it does not fit: the one place where a file's offsets become indices.
pub(crate) fn part(blob_bytes: usize, offset: u64, length: usize) -> Option<Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(length)?;
    (end <= blob_bytes).then_some(start..end)
}
