//! Vectors of texts: from a file that others made, or computed once and kept.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{D, DType, Device, Tensor};

use super::error::BuildError;
use super::models::{ModelError, TextEmbedder};
use super::npy;
use crate::bank::write::replace_file;

/// Texts embedded at once.
const BATCH: usize = 64;

/// A text's vector for each of the categories `ids`, from a NumPy file of shape [categories,
/// dimension], a row for each in order of the ids: the format of Detic's and X-Paste's text
/// embeddings. Rows need not be unit vectors; what comes back is.
///
/// # Errors
/// [`BuildError::File`] if the file cannot be read or has another shape.
pub fn read_text_table(file: &Path, ids: &[i64]) -> Result<HashMap<i64, Vec<f32>>, BuildError> {
    let error = |problem: String| BuildError::File {
        path: file.to_owned(),
        problem,
    };
    let table = npy::read_table(file).map_err(error)?;
    let (rows, dimension) = table.dims2().map_err(|source| error(source.to_string()))?;
    if rows != ids.len() || dimension == 0 {
        return Err(error(format!(
            "shape [{rows}, {dimension}]; a row for each of {} categories was expected",
            ids.len()
        )));
    }
    let vectors = unit_vectors(&table).map_err(|source| error(source.to_string()))?;
    if let Some(row) = vectors
        .iter()
        .position(|row| row.iter().any(|value| !value.is_finite()))
    {
        return Err(error(format!("row {row} is zero or not finite")));
    }
    Ok(ids.iter().copied().zip(vectors).collect())
}

fn unit_vectors(table: &Tensor) -> candle_core::Result<Vec<Vec<f32>>> {
    let table = table.to_dtype(DType::F64)?;
    let norms = table.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    table.broadcast_div(&norms)?.to_dtype(DType::F32)?.to_vec2()
}

/// Vectors of texts by one model, kept in a safetensors file: a tensor for each text, named by it.
pub struct TextCache {
    file: PathBuf,
    vectors: BTreeMap<String, Vec<f32>>,
}

impl TextCache {
    /// Opens the cache; an empty one where there is no file.
    ///
    /// # Errors
    /// [`BuildError::File`] if the file is none of ours.
    pub fn open(file: &Path) -> Result<TextCache, BuildError> {
        let error = |source: candle_core::Error| BuildError::File {
            path: file.to_owned(),
            problem: source.to_string(),
        };
        let mut vectors = BTreeMap::new();
        if file.is_file() {
            let tensors = candle_core::safetensors::load(file, &Device::Cpu).map_err(error)?;
            for (text, vector) in tensors {
                vectors.insert(text, vector.to_vec1().map_err(error)?);
            }
        }
        Ok(TextCache {
            file: file.to_owned(),
            vectors,
        })
    }

    /// Unit vectors of `texts`. The model is loaded only if one of them is new; then the file is
    /// written again.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn embed(
        &mut self,
        texts: &[&str],
        load: impl FnOnce() -> Result<Box<dyn TextEmbedder>, ModelError>,
    ) -> Result<Vec<Vec<f32>>, BuildError> {
        let mut missing: Vec<&str> = texts.to_vec();
        missing.retain(|text| !self.vectors.contains_key(*text));
        missing.sort_unstable();
        missing.dedup();
        if !missing.is_empty() {
            let embedder = load()?;
            for batch in missing.chunks(BATCH) {
                let vectors = embedder.embed_texts(batch)?;
                let vectors: Vec<Vec<f32>> =
                    vectors.to_vec2().map_err(|source| self.error(source))?;
                let named = batch.iter().map(|text| (*text).to_owned()).zip(vectors);
                self.vectors.extend(named);
            }
            self.write()?;
        }
        Ok(texts
            .iter()
            .filter_map(|text| self.vectors.get(*text).cloned())
            .collect())
    }

    fn error(&self, source: impl ToString) -> BuildError {
        BuildError::File {
            path: self.file.clone(),
            problem: source.to_string(),
        }
    }

    fn write(&self) -> Result<(), BuildError> {
        if let Some(folder) = self.file.parent() {
            std::fs::create_dir_all(folder).map_err(|source| self.error(source))?;
        }
        let mut tensors = HashMap::new();
        for (text, vector) in &self.vectors {
            let tensor =
                Tensor::new(&vector[..], &Device::Cpu).map_err(|source| self.error(source))?;
            tensors.insert(text.clone(), tensor);
        }
        let bytes = safetensors::serialize(&tensors, None).map_err(|source| self.error(source))?;
        Ok(replace_file(&self.file, &bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn tables_have_a_row_for_each_category() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("texts.npy");
        let table = Tensor::new(&[[3f32, 4.0], [0.0, -2.0]], &Device::Cpu).unwrap();
        table.write_npy(&file).unwrap();
        let vectors = read_text_table(&file, &[4, 9]).unwrap();
        assert_eq!(vectors[&4], [0.6, 0.8]);
        assert_eq!(vectors[&9], [0.0, -1.0]);
        let error = read_text_table(&file, &[1]).unwrap_err().to_string();
        assert!(
            error.contains("texts.npy") && error.contains("[2, 2]"),
            "{error}"
        );
        std::fs::write(&file, b"\x93NUMPY").unwrap();
        assert!(read_text_table(&file, &[1]).is_err());
        Tensor::zeros((1, 2), DType::F32, &Device::Cpu)
            .unwrap()
            .write_npy(&file)
            .unwrap();
        let error = read_text_table(&file, &[1]).unwrap_err().to_string();
        assert!(error.contains("row 0"), "{error}");
    }

    /// A vector that tells the text's length.
    struct Lengths;

    static COUNT: AtomicUsize = AtomicUsize::new(0);

    impl TextEmbedder for Lengths {
        fn embed_texts(&self, texts: &[&str]) -> Result<Tensor, ModelError> {
            COUNT.fetch_add(texts.len(), Ordering::SeqCst);
            let rows: Vec<f32> = texts
                .iter()
                .flat_map(|text| [text.len() as f32, 1.0])
                .collect();
            Ok(Tensor::from_vec(rows, (texts.len(), 2), &Device::Cpu).unwrap())
        }
    }

    #[test]
    fn texts_are_embedded_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/texts.safetensors");
        let load = || -> Result<Box<dyn TextEmbedder>, ModelError> { Ok(Box::new(Lengths)) };
        let mut cache = TextCache::open(&file).unwrap();
        let vectors = cache.embed(&["a cat", "tea", "a cat"], load).unwrap();
        assert_eq!(vectors, [[5.0, 1.0], [3.0, 1.0], [5.0, 1.0]]);
        let mut again = TextCache::open(&file).unwrap();
        assert_eq!(
            again.embed(&["tea", "ox"], load).unwrap(),
            [[3.0, 1.0], [2.0, 1.0]]
        );
        assert_eq!(COUNT.load(Ordering::SeqCst), 3);
        std::fs::write(&file, "none").unwrap();
        assert!(TextCache::open(&file).is_err());
    }
}
