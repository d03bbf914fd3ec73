//! The rules in words, and why an image fell at one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The rules at which an image can fall, in the order in which they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The same file as another image.
    DuplicateFile,
    /// It looks like another image.
    LookAlike,
    /// No mask.
    NoMask,
    /// Score below the category's bar.
    BelowBar,
    /// The mask covers too little.
    TooSmall,
    /// The mask covers too much.
    TooLarge,
    /// Not similar enough to real crops.
    Dissimilar,
    /// Its embedding is that of another image, or nearly.
    NearDuplicate,
    /// Others of the category are better, and there are enough of them.
    OverCap,
    /// Its picture or mask cannot be loaded, or they do not fit each other.
    Unreadable,
    /// Nothing of the mask is left when it is cleaned.
    Empty,
}

impl Rule {
    /// All of them, in the order in which they are applied.
    pub const ALL: [Rule; 11] = [
        Rule::DuplicateFile,
        Rule::LookAlike,
        Rule::NoMask,
        Rule::BelowBar,
        Rule::TooSmall,
        Rule::TooLarge,
        Rule::Dissimilar,
        Rule::NearDuplicate,
        Rule::OverCap,
        Rule::Unreadable,
        Rule::Empty,
    ];

    /// The rule in a word or two, as tables head a column with it.
    pub fn words(self) -> &'static str {
        match self {
            Rule::DuplicateFile => "same file",
            Rule::LookAlike => "look-alike",
            Rule::NoMask => "no mask",
            Rule::BelowBar => "below bar",
            Rule::TooSmall => "too small",
            Rule::TooLarge => "too large",
            Rule::Dissimilar => "dissimilar",
            Rule::NearDuplicate => "near-duplicate",
            Rule::OverCap => "over cap",
            Rule::Unreadable => "unreadable",
            Rule::Empty => "empty",
        }
    }
}

/// Why an image fell: the rule, and by what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum Reason {
    /// [`Rule::DuplicateFile`]
    DuplicateFile {
        /// Key of the image that stays.
        of: String,
    },
    /// [`Rule::LookAlike`]
    LookAlike {
        /// Key of the first image that stays and looks like it.
        of: String,
        /// In how many bits their hashes differ.
        bits: u32,
    },
    /// [`Rule::NoMask`]
    NoMask,
    /// [`Rule::BelowBar`]
    BelowBar {
        /// Its score.
        clip: f32,
        /// The category's bar.
        bar: f32,
    },
    /// [`Rule::TooSmall`]
    TooSmall {
        /// The part that is covered.
        area: f32,
    },
    /// [`Rule::TooLarge`]
    TooLarge {
        /// The part that is covered.
        area: f32,
    },
    /// [`Rule::Dissimilar`]
    Dissimilar {
        /// Its similarity, where one was computed.
        similarity: Option<f32>,
    },
    /// [`Rule::NearDuplicate`]
    NearDuplicate {
        /// Key of the best image that stays and is so near.
        of: String,
        /// The cosine of their embeddings.
        cosine: f32,
    },
    /// [`Rule::OverCap`]
    OverCap {
        /// Its place among the images that were left, from 1 on.
        place: usize,
    },
    /// [`Rule::Unreadable`]
    Unreadable {
        /// What was found and what was expected.
        problem: String,
    },
    /// [`Rule::Empty`]
    Empty,
}

impl Reason {
    /// The rule that was broken.
    pub fn rule(&self) -> Rule {
        match self {
            Reason::DuplicateFile { .. } => Rule::DuplicateFile,
            Reason::LookAlike { .. } => Rule::LookAlike,
            Reason::NoMask => Rule::NoMask,
            Reason::BelowBar { .. } => Rule::BelowBar,
            Reason::TooSmall { .. } => Rule::TooSmall,
            Reason::TooLarge { .. } => Rule::TooLarge,
            Reason::Dissimilar { .. } => Rule::Dissimilar,
            Reason::NearDuplicate { .. } => Rule::NearDuplicate,
            Reason::OverCap { .. } => Rule::OverCap,
            Reason::Unreadable { .. } => Rule::Unreadable,
            Reason::Empty => Rule::Empty,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.rule().words())?;
        match self {
            Reason::DuplicateFile { of } => write!(formatter, " as {of}"),
            Reason::LookAlike { of, bits } => write!(formatter, " of {of}, {bits} bits"),
            Reason::BelowBar { clip, bar } => write!(formatter, ": {clip:.2} < {bar:.2}"),
            Reason::TooSmall { area } | Reason::TooLarge { area } => {
                write!(formatter, ": {:.1}%", 100.0 * area)
            }
            Reason::Dissimilar { similarity } => match similarity {
                Some(similarity) => write!(formatter, ": {similarity:.3}"),
                None => write!(formatter, ": not computed"),
            },
            Reason::NearDuplicate { of, cosine } => write!(formatter, " of {of}, {cosine:.3}"),
            Reason::OverCap { place } => write!(formatter, ": place {place}"),
            Reason::Unreadable { problem } => write!(formatter, ": {problem}"),
            Reason::NoMask | Reason::Empty => Ok(()),
        }
    }
}
