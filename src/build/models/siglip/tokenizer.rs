//! SigLIP's tokenizer: SentencePiece, read from a `tokenizer.json`.

use candle_core::{Device, Tensor};
use tokenizers::Tokenizer;

use crate::build::weights::{ModelFiles, WeightsError};

/// Turns texts into tokens.
pub struct SiglipTokenizer {
    tokenizer: Tokenizer,
    length: usize,
    pad: u32,
}

impl SiglipTokenizer {
    /// From `tokenizer.json`; texts become `length` tokens, short ones by `pad`.
    ///
    /// # Errors
    /// [`WeightsError`]: the file is not there, or not what it should be.
    pub fn from_files(
        files: &ModelFiles,
        length: usize,
        pad: u32,
    ) -> Result<SiglipTokenizer, WeightsError> {
        let file = files.find(&["tokenizer.json"])?;
        let tokenizer = Tokenizer::from_file(&file).map_err(|source| WeightsError::File {
            model: files.model().to_owned(),
            file: file.clone(),
            problem: source.to_string(),
        })?;
        let mut tokenizer = tokenizer;
        // The file may ask for other lengths than the network's.
        tokenizer.with_padding(None);
        let cut = tokenizer.with_truncation(None).map(|_| ());
        cut.map_err(|source| WeightsError::File {
            model: files.model().to_owned(),
            file,
            problem: source.to_string(),
        })?;
        Ok(SiglipTokenizer {
            tokenizer,
            length,
            pad,
        })
    }

    /// Tokens of the texts, [texts, length] of U32 on the CPU. Of more tokens than that the first
    /// ones stay, and the last one, which ends the text.
    ///
    /// # Errors
    /// The tokenizer's, or candle's.
    pub fn encode(&self, texts: &[&str]) -> candle_core::Result<Tensor> {
        let mut ids = Vec::with_capacity(texts.len() * self.length);
        for text in texts {
            let encoding = self.tokenizer.encode(canonical(text), true);
            let encoding = encoding.map_err(candle_core::Error::msg)?;
            let mut row = encoding.get_ids().to_vec();
            if row.len() > self.length {
                let end = row.last().copied();
                row.truncate(self.length.saturating_sub(1));
                row.extend(end);
            }
            row.resize(self.length, self.pad);
            ids.append(&mut row);
        }
        Tensor::from_vec(ids, (texts.len(), self.length), &Device::Cpu)
    }
}

/// The text as the authors' `canonicalize_text` leaves it: lower case, no punctuation of ASCII's,
/// single spaces.
fn canonical(text: &str) -> String {
    let text = text.to_lowercase();
    let text: String = text.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
