use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use super::{CONTEXT, ClipTokenizer};
use crate::build::weights::ModelFiles;

#[derive(Deserialize)]
struct Goldens {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
}

fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("PASTEBANK_TEST_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: PASTEBANK_TEST_DATA is not set");
    }
    folder.map(|folder| folder.join("clip"))
}

fn goldens(folder: &Path) -> Vec<Case> {
    let json = fs::read(folder.join("token_goldens.json")).unwrap();
    let goldens: Goldens = serde_json::from_slice(&json).unwrap();
    assert_eq!(goldens.cases.len(), 269);
    goldens.cases
}

/// Texts that OpenAI's own tokenizer has encoded.
#[test]
fn texts_are_encoded_as_openai_does() {
    let Some(folder) = data() else { return };
    let tokenizer = ClipTokenizer::from_files(&ModelFiles::at("clip", &folder)).unwrap();
    assert_eq!((tokenizer.start(), tokenizer.end()), (49406, 49407));
    for case in goldens(&folder) {
        assert_eq!(tokenizer.encode(&case.text), case.ids, "{:?}", case.text);
    }
}

/// The other two forms hold what OpenAI's file says, written out.
#[test]
fn every_form_of_the_vocabulary_serves() {
    let Some(folder) = data() else { return };
    let mut text = String::new();
    let packed = fs::File::open(folder.join("bpe_simple_vocab_16e6.txt.gz")).unwrap();
    flate2::read::GzDecoder::new(packed)
        .read_to_string(&mut text)
        .unwrap();
    let pairs: Vec<&str> = text.lines().skip(1).take(48894).collect();
    let visible = (0x21..=0x7e).chain(0xa1..=0xac).chain(0xae..=0xff);
    let symbols = visible
        .chain(0x100..0x144)
        .map(|code| char::from_u32(code).unwrap());
    let symbols: Vec<String> = symbols.map(String::from).collect();
    let mut tokens = symbols.clone();
    tokens.extend(symbols.iter().map(|symbol| format!("{symbol}</w>")));
    tokens.extend(pairs.iter().map(|pair| pair.replace(' ', "")));
    tokens.extend(["<|startoftext|>".into(), "<|endoftext|>".into()]);
    let ids: serde_json::Map<_, _> = tokens
        .into_iter()
        .zip((0..).map(|id: u32| json!(id)))
        .collect();
    let split: Vec<Vec<&str>> = pairs.iter().map(|pair| pair.split(' ').collect()).collect();
    let merges = format!("#version: 0.2\n{}\n", pairs.join("\n"));
    let forms: [&[(&str, String)]; 3] = [
        &[
            ("vocab.json", json!(ids).to_string()),
            ("merges.txt", merges),
        ],
        &[(
            "tokenizer.json",
            json!({"model": {"vocab": ids, "merges": pairs}}).to_string(),
        )],
        &[(
            "tokenizer.json",
            json!({"model": {"vocab": ids, "merges": split}}).to_string(),
        )],
    ];
    for form in forms {
        let written = tempfile::tempdir().unwrap();
        for (name, content) in form {
            fs::write(written.path().join(name), content).unwrap();
        }
        let files = ModelFiles::at("clip", written.path());
        let tokenizer = ClipTokenizer::from_files(&files).unwrap();
        for case in goldens(&folder) {
            assert_eq!(tokenizer.encode(&case.text), case.ids, "{:?}", case.text);
        }
    }
}

#[test]
fn rows_are_padded_and_cut() {
    let Some(folder) = data() else { return };
    let tokenizer = ClipTokenizer::from_files(&ModelFiles::at("clip", &folder)).unwrap();
    let ids = tokenizer
        .encode_padded(&["a cat", "", "cat cat cat cat"], 5, 0)
        .unwrap();
    let expected = [
        [49406, 320, 2368, 49407, 0],
        [49406, 49407, 0, 0, 0],
        [49406, 2368, 2368, 2368, 49407],
    ];
    assert_eq!(ids.to_vec2::<u32>().unwrap(), expected);
    let long = "cat ".repeat(100);
    assert_eq!(tokenizer.encode(&long).len(), CONTEXT);
}

#[test]
fn a_vocabulary_that_unpacks_without_end_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = fs::File::create(folder.path().join("bpe_simple_vocab_16e6.txt.gz")).unwrap();
    let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    packed.write_all(&vec![b'a'; (16 << 20) + 1]).unwrap();
    packed.finish().unwrap();
    let files = ModelFiles::at("clip", folder.path());
    let problem = ClipTokenizer::from_files(&files).unwrap_err().to_string();
    assert!(
        problem.contains("unpacks to more than 16777216 bytes"),
        "{problem}"
    );
}

#[test]
fn broken_vocabularies_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let files = ModelFiles::at("clip", folder.path());
    let told = |name: &str, content: &str| {
        fs::write(folder.path().join(name), content).unwrap();
        ClipTokenizer::from_files(&files).unwrap_err().to_string()
    };
    let none = ClipTokenizer::from_files(&files).unwrap_err().to_string();
    assert!(
        none.contains("bpe_simple_vocab_16e6.txt.gz was not found"),
        "{none}"
    );
    let no_pairs = told("bpe_simple_vocab_16e6.txt.gz", "text");
    assert!(
        no_pairs.contains("bpe_simple_vocab_16e6.txt.gz: "),
        "{no_pairs}"
    );
    let no_merges = told("vocab.json", "{}");
    assert!(
        no_merges.contains("merges.txt was not found"),
        "{no_merges}"
    );
    let no_space = told("merges.txt", "ab");
    assert!(no_space.contains("\"ab\" is not two tokens"), "{no_space}");
    let no_token = told("merges.txt", "a b");
    assert!(
        no_token.contains("token \"ab\" is not among the 0"),
        "{no_token}"
    );
    let no_model = told("tokenizer.json", "{}");
    assert!(no_model.contains("missing field `model`"), "{no_model}");
}
