//! Tokens and the pairs of them that make longer ones.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use crate::build::weights::WeightsError;

/// Ends the tokens that end a word.
const WORD_END: &str = "</w>";
const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
/// Pairs of OpenAI's file that CLIP uses: of 49,152 tokens without the 256 bytes and the two that
/// start and end a text.
const PAIRS: usize = 49152 - 256 - 2;
/// OpenAI's file has about three million bytes: no memory is for one that unpacks to far more.
const MOST_BYTES: u64 = 16 << 20;

/// Byte-pair encoding, by ids.
#[derive(Clone, Debug)]
pub(super) struct Vocabulary {
    /// Each byte's token within a word and at its end.
    bytes: Vec<[u32; 2]>,
    /// The rank of a pair, low ones going first, and what it becomes.
    merges: HashMap<(u32, u32), (usize, u32)>,
    start: u32,
    end: u32,
}

/// What is read of a `tokenizer.json`.
#[derive(Deserialize)]
struct TokenizerFile {
    model: ModelSection,
}

#[derive(Deserialize)]
struct ModelSection {
    vocab: HashMap<String, u32>,
    merges: Vec<Merge>,
}

/// A pair, which early files write with a space between.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Joined(String),
    Pair(String, String),
}

impl Vocabulary {
    /// From the `tokenizer.json` of the tokenizers crate.
    pub(super) fn from_tokenizer(model: &str, file: &Path) -> Result<Vocabulary, WeightsError> {
        let error = |problem: String| file_error(model, file, problem);
        let json = fs::read(file).map_err(|source| error(source.to_string()))?;
        let read: TokenizerFile =
            serde_json::from_slice(&json).map_err(|source| error(source.to_string()))?;
        let merges = read.model.merges.iter().map(|merge| match merge {
            Merge::Joined(joined) => split(joined),
            Merge::Pair(left, right) => Ok((left.as_str(), right.as_str())),
        });
        Vocabulary::new(&read.model.vocab, merges).map_err(error)
    }

    /// From `vocab.json` and `merges.txt`.
    pub(super) fn from_tokens_and_merges(
        model: &str,
        tokens: &Path,
        merges: &Path,
    ) -> Result<Vocabulary, WeightsError> {
        let error = |problem: String| file_error(model, tokens, problem);
        let json = fs::read(tokens).map_err(|source| error(source.to_string()))?;
        let ids: HashMap<String, u32> =
            serde_json::from_slice(&json).map_err(|source| error(source.to_string()))?;
        let error = |problem: String| file_error(model, merges, problem);
        let pairs = fs::read_to_string(merges).map_err(|source| error(source.to_string()))?;
        // The first line states the version.
        let pairs = pairs
            .lines()
            .skip_while(|line| line.starts_with("#version"));
        let pairs = pairs.filter(|line| !line.is_empty()).map(split);
        Vocabulary::new(&ids, pairs).map_err(error)
    }

    /// From OpenAI's `bpe_simple_vocab_16e6.txt.gz`, which holds pairs alone: the tokens are the
    /// bytes, the bytes that end words, what the pairs become, the start and the end.
    pub(super) fn from_pairs(model: &str, file: &Path) -> Result<Vocabulary, WeightsError> {
        let error = |problem: String| file_error(model, file, problem);
        let mut pairs = String::new();
        let packed = fs::File::open(file).map_err(|source| error(source.to_string()))?;
        let unpacked = flate2::read::GzDecoder::new(packed);
        let read = unpacked.take(MOST_BYTES + 1).read_to_string(&mut pairs);
        read.map_err(|source| error(source.to_string()))?;
        if pairs.len() as u64 > MOST_BYTES {
            return Err(error(format!("unpacks to more than {MOST_BYTES} bytes")));
        }
        let pairs: Vec<_> = pairs.lines().skip(1).take(PAIRS).collect();
        if pairs.len() < PAIRS {
            let found = pairs.len();
            return Err(error(format!("{found} pairs; {PAIRS} were expected")));
        }
        let symbols = byte_symbols();
        let mut by_id: Vec<char> = symbols.clone();
        // Ids go by the symbol, but for the bytes that had none of their own.
        by_id.sort_by_key(|&symbol| symbol);
        let mut tokens: Vec<String> = by_id.iter().map(char::to_string).collect();
        tokens.extend(by_id.iter().map(|symbol| format!("{symbol}{WORD_END}")));
        tokens.extend(pairs.iter().map(|pair| pair.replacen(' ', "", 1)));
        tokens.extend([START, END].map(str::to_owned));
        let ids = tokens.into_iter().zip(0..).collect();
        Vocabulary::new(&ids, pairs.iter().map(|pair| split(pair))).map_err(error)
    }

    fn new<'a>(
        ids: &HashMap<String, u32>,
        pairs: impl Iterator<Item = Result<(&'a str, &'a str), String>>,
    ) -> Result<Vocabulary, String> {
        let id = |token: &str| {
            let missing = || format!("token {token:?} is not among the {}", ids.len());
            ids.get(token).copied().ok_or_else(missing)
        };
        let byte = |symbol: char| -> Result<[u32; 2], String> {
            Ok([
                id(&symbol.to_string())?,
                id(&format!("{symbol}{WORD_END}"))?,
            ])
        };
        let mut merges = HashMap::new();
        for (rank, pair) in pairs.enumerate() {
            let (left, right) = pair?;
            let merged = id(&format!("{left}{right}"))?;
            merges.insert((id(left)?, id(right)?), (rank, merged));
        }
        Ok(Vocabulary {
            bytes: byte_symbols()
                .into_iter()
                .map(byte)
                .collect::<Result<_, _>>()?,
            merges,
            start: id(START)?,
            end: id(END)?,
        })
    }

    pub(super) fn start(&self) -> u32 {
        self.start
    }

    pub(super) fn end(&self) -> u32 {
        self.end
    }

    /// Appends the tokens of a word.
    pub(super) fn encode_word(&self, word: &str, ids: &mut Vec<u32>) {
        match word {
            START => return ids.push(self.start),
            END => return ids.push(self.end),
            _ => {}
        }
        let last = word.len().saturating_sub(1);
        let bytes = word.bytes().enumerate();
        let token = |(place, byte)| self.bytes[usize::from(byte)][usize::from(place == last)];
        let mut tokens: Vec<u32> = bytes.map(token).collect();
        while let Some(merge) = self.first_merge(&tokens) {
            tokens = apply(&tokens, merge);
        }
        ids.append(&mut tokens);
    }

    /// The pair of neighbours with the lowest rank, and what it becomes.
    fn first_merge(&self, tokens: &[u32]) -> Option<((u32, u32), u32)> {
        let pairs = tokens.windows(2).map(|pair| (pair[0], pair[1]));
        let ranked = pairs.filter_map(|pair| Some((self.merges.get(&pair)?, pair)));
        let (&(_, merged), pair) = ranked.min_by_key(|((rank, _), _)| *rank)?;
        Some((pair, merged))
    }
}

/// Replaces the pair wherever it is, from the left.
fn apply(tokens: &[u32], (pair, merged): ((u32, u32), u32)) -> Vec<u32> {
    let mut applied = Vec::with_capacity(tokens.len());
    let mut rest = tokens;
    while let [first, after @ ..] = rest {
        match after {
            [second, after @ ..] if (*first, *second) == pair => {
                applied.push(merged);
                rest = after;
            }
            _ => {
                applied.push(*first);
                rest = after;
            }
        }
    }
    applied
}

/// The symbol that stands for each byte: printable ones of Latin-1 for themselves, the others from
/// U+0100 on.
fn byte_symbols() -> Vec<char> {
    let mut others = '\u{100}'..;
    let symbol = |byte: u8| match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        // There are 68 of them.
        _ => others.next().unwrap_or(char::REPLACEMENT_CHARACTER),
    };
    (0..=u8::MAX).map(symbol).collect()
}

fn split(pair: &str) -> Result<(&str, &str), String> {
    let problem = || format!("{pair:?} is not two tokens with a space between");
    pair.split_once(' ').ok_or_else(problem)
}

fn file_error(model: &str, file: &Path, problem: String) -> WeightsError {
    WeightsError::File {
        model: model.to_owned(),
        file: file.to_owned(),
        problem,
    }
}
