//! What CLIP's tokenizer does to a text before it looks for words in it.
//!
//! OpenAI's `simple_tokenizer.py` runs ftfy over the text, resolves HTML entities twice, joins
//! whitespace and writes all in lower case. Of ftfy's repairs these are done as ftfy 6.3 does them:
//! entities, ligatures, character widths, curly quotes, line breaks, control characters and
//! Unicode's composed form (NFC). Words that were once decoded by a wrong encoding (`cafÃ©`) stay as
//! they are, and so do terminal escapes.

use std::borrow::Cow;
use std::iter;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use unicode_normalization::UnicodeNormalization;

/// Entities that end as they should, the only ones that ftfy resolves.
static ENTITY: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("&(#?[0-9A-Za-z]{1,24});").expect("a pattern"));

/// What Windows writes where Latin-1 has control characters, from byte 0x80 on.
const WINDOWS_1252: &str = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ";

/// The text as the vocabulary's words were counted in: clean, in lower case, single spaces.
pub fn clean(text: &str) -> String {
    let repaired = repair(text);
    let resolved = htmlize::unescape(&*repaired);
    let resolved = htmlize::unescape(&*resolved);
    let words: Vec<&str> = resolved.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

/// ftfy's `fix_text`, line by line. From the first line on that holds a `<`, the text is HTML whose
/// entities mean themselves.
fn repair(text: &str) -> String {
    let mut resolve = true;
    let mut repaired = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        resolve &= !line.contains('<');
        repaired += &repair_line(line, resolve);
    }
    repaired
}

/// Repairs until nothing changes.
fn repair_line(line: &str, resolve: bool) -> String {
    let mut line = line.to_owned();
    loop {
        let resolved = if resolve {
            ENTITY.replace_all(&line, resolve_entity)
        } else {
            Cow::Borrowed(&*line)
        };
        let mut replaced = String::with_capacity(line.len());
        for character in resolved.replace("\r\n", "\n").chars() {
            push_replaced(&mut replaced, character);
        }
        let composed: String = replaced.nfc().collect();
        if composed == line {
            return line;
        }
        line = composed;
    }
}

/// An entity's character. Names in capitals are resolved too, as a text in capitals has them:
/// `&EACUTE;` is `É`.
fn resolve_entity(captures: &Captures) -> String {
    let whole = &captures[0];
    let resolved = htmlize::unescape(whole);
    if !resolved.ends_with(';') {
        return resolved.into_owned();
    }
    // What the rules of HTML resolve only in part stays whole.
    let name = &captures[1];
    let lower = whole.to_lowercase();
    let resolved_lower = htmlize::unescape(&*lower);
    let in_capitals = name == name.to_uppercase() && !name.starts_with('#');
    if resolved == whole && in_capitals && !resolved_lower.ends_with(';') {
        return resolved_lower.to_uppercase();
    }
    whole.to_owned()
}

/// Appends what takes the place of a character.
fn push_replaced(text: &mut String, character: char) {
    match character {
        // Ligatures of Latin letters, which text is seldom meant to hold.
        'Ĳ' => text.push_str("IJ"),
        'ĳ' => text.push_str("ij"),
        'ŉ' => text.push_str("'n"),
        'Ǳ' => text.push_str("DZ"),
        'ǲ' => text.push_str("Dz"),
        'ǳ' => text.push_str("dz"),
        'Ǆ' => text.push_str("DŽ"),
        'ǅ' => text.push_str("Dž"),
        'ǆ' => text.push_str("dž"),
        'Ǉ' => text.push_str("LJ"),
        'ǈ' => text.push_str("Lj"),
        'ǉ' => text.push_str("lj"),
        'Ǌ' => text.push_str("NJ"),
        'ǋ' => text.push_str("Nj"),
        'ǌ' => text.push_str("nj"),
        'ﬀ' => text.push_str("ff"),
        'ﬁ' => text.push_str("fi"),
        'ﬂ' => text.push_str("fl"),
        'ﬃ' => text.push_str("ffi"),
        'ﬄ' => text.push_str("ffl"),
        'ﬅ' => text.push_str("ſt"),
        'ﬆ' => text.push_str("st"),
        // Curly quotes.
        'ʼ' | '\u{2018}'..='\u{201b}' => text.push('\''),
        '\u{201c}'..='\u{201f}' => text.push('"'),
        // Line breaks.
        '\r' | '\u{2028}' | '\u{2029}' => text.push('\n'),
        // Bytes that were taken for Latin-1's.
        '\u{80}'..='\u{9f}' => {
            let place = character as usize - 0x80;
            text.extend(WINDOWS_1252.chars().nth(place));
        }
        // Forms of another width.
        '\u{3000}' => text.push(' '),
        '\u{ff01}'..='\u{ffef}' => text.extend(iter::once(character).nfkc()),
        // Control characters that text is not meant to hold.
        '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' => {}
        '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}' => {}
        _ => text.push(character),
    }
}

#[cfg(test)]
mod tests {
    use super::clean;

    /// Against `whitespace_clean(basic_clean(text)).lower()` of OpenAI's tokenizer with ftfy 6.3.1.
    #[test]
    fn texts_are_cleaned_as_openai_does() {
        let cases = [
            ("&amp;amp;lt;b&gt;", "<b>"),
            ("P&EACUTE;REZ &nTILDE;", "pérez &ntilde;"),
            ("a < b &amp;amp;amp; c", "a < b &amp; c"),
            ("one\n<two\n&amp;amp;amp; three", "one <two &amp; three"),
            ("it’s “quoted” ŉ ﬃ ﬅ Ǆ", "it's \"quoted\" 'n ffi ſt dž"),
            ("ＬＯＵＤ　ﾊﾟ ｶﾞ", "loud パ ガ"),
            (
                "e\u{301}\u{0} a\u{feff}b\u{2028}c\u{92}d\r\ne\u{85}",
                "é ab c'd e…",
            ),
            ("ΟΔΟΣ", "οδος"),
            ("&copy &ampx &#8217; &#x2019;", "© &x ' '"),
        ];
        for (text, expected) in cases {
            assert_eq!(clean(text), expected, "{text:?}");
        }
    }
}
