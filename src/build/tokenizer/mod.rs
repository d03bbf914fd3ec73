//! CLIP's tokenizer: byte pairs over lower-case words.
//!
//! What OpenAI's `simple_tokenizer.py` does, from any of the three forms in which its vocabulary is
//! published.

mod clean;
mod vocabulary;

use std::path::Path;
use std::sync::LazyLock;

use candle_core::{Device, Tensor};
use regex::Regex;

pub use clean::clean;
use vocabulary::Vocabulary;

use super::weights::{ModelFiles, WeightsError};

/// Tokens of a text, the start and the end among them.
pub const CONTEXT: usize = 77;

/// Words, as the vocabulary counted them.
static WORDS: LazyLock<Regex> = LazyLock::new(|| {
    let words = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+";
    let special = r"<\|startoftext\|>|<\|endoftext\|>";
    Regex::new(&format!("(?i){special}|{words}")).expect("a pattern")
});

/// Turns texts into tokens.
#[derive(Clone, Debug)]
pub struct ClipTokenizer {
    vocabulary: Vocabulary,
}

impl ClipTokenizer {
    /// From `tokenizer.json`, from `vocab.json` with `merges.txt`, or from
    /// `bpe_simple_vocab_16e6.txt.gz`: the first that is there.
    ///
    /// # Errors
    /// [`WeightsError`]: none is there, or one is not what it should be.
    pub fn from_files(files: &ModelFiles) -> Result<ClipTokenizer, WeightsError> {
        ClipTokenizer::from_folder(files, "")
    }

    /// The same in a folder of the model, such as `tokenizer_2/`.
    ///
    /// # Errors
    /// [`WeightsError`]: none is there, or one is not what it should be.
    pub fn from_folder(files: &ModelFiles, folder: &str) -> Result<ClipTokenizer, WeightsError> {
        let names = [
            "tokenizer.json",
            "vocab.json",
            "bpe_simple_vocab_16e6.txt.gz",
        ];
        let [whole, tokens, pairs] = names.map(|name| format!("{folder}{name}"));
        let found = files.find(&[&whole, &tokens, &pairs])?;
        let model = files.model();
        let vocabulary = if found.ends_with("vocab.json") {
            let merges = files.find(&[&format!("{folder}merges.txt")])?;
            Vocabulary::from_tokens_and_merges(model, &found, &merges)?
        } else if found
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            Vocabulary::from_tokenizer(model, &found)?
        } else {
            Vocabulary::from_pairs(model, &found)?
        };
        Ok(ClipTokenizer { vocabulary })
    }

    /// From OpenAI's `bpe_simple_vocab_16e6.txt.gz`, wherever it is.
    ///
    /// # Errors
    /// [`WeightsError::File`].
    pub fn from_pairs(model: &str, file: &Path) -> Result<ClipTokenizer, WeightsError> {
        let vocabulary = Vocabulary::from_pairs(model, file)?;
        Ok(ClipTokenizer { vocabulary })
    }

    /// The token that starts every text.
    pub fn start(&self) -> u32 {
        self.vocabulary.start()
    }

    /// The token that ends every text.
    pub fn end(&self) -> u32 {
        self.vocabulary.end()
    }

    /// The text's tokens from the start token to the end token; of more than [`CONTEXT`] the first
    /// ones, the last of them being the end token.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.encode_within(text, CONTEXT)
    }

    /// Tokens of the texts, [texts, length] of U32 on the CPU, each followed by `pad`.
    ///
    /// Pad with 0 where the end is to be found: the end token is then in a row once, unless the text
    /// spells it out. Stable Diffusion's first text encoder was trained with the end token as padding.
    ///
    /// # Errors
    /// Candle's.
    pub fn encode_padded(
        &self,
        texts: &[&str],
        length: usize,
        pad: u32,
    ) -> candle_core::Result<Tensor> {
        let mut ids = Vec::with_capacity(texts.len() * length);
        for text in texts {
            let mut row = self.encode_within(text, length);
            row.resize(length, pad);
            ids.append(&mut row);
        }
        Tensor::from_vec(ids, (texts.len(), length), &Device::Cpu)
    }

    fn encode_within(&self, text: &str, most: usize) -> Vec<u32> {
        let text = clean(text);
        let mut ids = vec![self.start()];
        for word in WORDS.find_iter(&text) {
            self.vocabulary.encode_word(word.as_str(), &mut ids);
        }
        ids.push(self.end());
        if ids.len() > most {
            ids.truncate(most);
            if let Some(last) = ids.last_mut() {
                *last = self.end();
            }
        }
        ids
    }
}

#[cfg(test)]
mod tests;
