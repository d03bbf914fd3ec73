//! The annotation file: streamed from the journal, and known again later.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::counts::{Counts, DatasetReport};
use super::error::DatasetError;
use super::journal::Journal;
use super::{Style, counts};
use crate::bank::BankError;
use crate::bank::write::replace_file_with;
use crate::resume::Settings;
use crate::sampler::Sampler;

/// The name of the annotation file.
pub const INSTANCES_FILE: &str = "instances.json";

/// The file's `info`, which comes first.
#[derive(Serialize, Deserialize)]
struct Info {
    description: String,
    /// What decides the data set.
    settings: Settings,
    report: DatasetReport,
}

/// Writes the annotation file of a finished journal: images, annotations and categories, an entry a
/// line, never more than one sample in memory.
pub(super) fn write(
    path: &Path,
    settings: &Settings,
    sampler: &Sampler,
    style: Style,
    journal: &Journal,
    counts: &Counts,
) -> Result<(), DatasetError> {
    let manifest = sampler.ground().scenes.manifest();
    let info = Info {
        description: "Copy-paste composed data set".to_owned(),
        settings: settings.clone(),
        report: counts.report.clone(),
    };
    let categories = counts::categories_of(&sampler.ground().scenes, &sampler.ground().bank);
    let categories = counts.categories(style, categories);
    let failed = |source: io::Error| BankError::write(path, source);
    replace_file_with(path, |file| {
        let mut out = List::new(file);
        out.key("{\"info\":", &info).map_err(failed)?;
        if let Some(licenses) = manifest.other.get("licenses") {
            out.key(",\n\"licenses\":", licenses).map_err(failed)?;
        }
        out.begin(",\n\"images\":[").map_err(failed)?;
        let mut images = 0;
        for record in journal.records()? {
            out.entry(&record?.image).map_err(failed)?;
            images += 1;
        }
        if images != counts.report.images {
            return Err(journal.changed().into());
        }
        out.begin("],\n\"annotations\":[").map_err(failed)?;
        let mut last_id = 0;
        for record in journal.records()? {
            for mut annotation in record?.annotations {
                last_id += 1;
                annotation.id = last_id;
                out.entry(&annotation).map_err(failed)?;
            }
        }
        if last_id != counts.annotations {
            return Err(journal.changed().into());
        }
        out.begin("],\n\"categories\":[").map_err(failed)?;
        for category in &categories {
            out.entry(category).map_err(failed)?;
        }
        out.end("]}\n").map_err(failed)?;
        Ok(())
    })
}

/// JSON lists that are written entry by entry.
struct List<'a> {
    out: BufWriter<&'a File>,
    is_first: bool,
}

impl<'a> List<'a> {
    fn new(file: &'a File) -> List<'a> {
        List {
            out: BufWriter::with_capacity(1 << 18, file),
            is_first: true,
        }
    }

    fn key(&mut self, key: &str, value: &impl Serialize) -> io::Result<()> {
        self.out.write_all(key.as_bytes())?;
        Ok(serde_json::to_writer(&mut self.out, value)?)
    }

    fn begin(&mut self, text: &str) -> io::Result<()> {
        self.is_first = true;
        self.out.write_all(text.as_bytes())
    }

    fn entry(&mut self, value: &impl Serialize) -> io::Result<()> {
        let separator = if self.is_first { "\n" } else { ",\n" };
        self.is_first = false;
        self.key(separator, value)
    }

    fn end(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

/// The settings that the annotation file at `path` was made with, and its report; `None` if there
/// is no such file or it is not ours. Reads only the file's beginning.
pub(super) fn made_with(path: &Path) -> Option<(Settings, DatasetReport)> {
    let file = BufReader::new(File::open(path).ok()?);
    let mut info = None;
    // The rest of the file is left unread, which the parser calls an error.
    let _ = FirstKey(&mut info).deserialize(&mut serde_json::Deserializer::from_reader(file));
    let info: Info = serde_json::from_value(info?).ok()?;
    Some((info.settings, info.report))
}

/// The value of an object's first key, if that is `info`.
struct FirstKey<'a>(&'a mut Option<Value>);

impl<'de> DeserializeSeed<'de> for FirstKey<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FirstKey<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object that begins with `info`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if map.next_key::<String>()?.as_deref() == Some("info") {
            *self.0 = Some(map.next_value()?);
        } else {
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::annotate::tests::{record, with_sampler};

    #[test]
    fn a_journal_that_changed_between_the_passes_gives_no_file() {
        with_sampler(|sampler| {
            let folder = tempfile::tempdir().unwrap();
            let settings = Settings::new();
            let mut journal = Journal::create(folder.path(), &settings).unwrap();
            let record = record(sampler, Style::Coco, &[]);
            journal.append(&record).unwrap();
            let mut counts = Counts::default();
            counts.add(&record);
            let path = folder.path().join(INSTANCES_FILE);
            let write = |counts: &Counts| {
                super::write(&path, &settings, sampler, Style::Coco, &journal, counts)
            };
            // Of another number of images or annotations than was counted.
            for change in [[1, 0], [0, 1]] {
                let mut counts = counts.clone();
                counts.report.images += change[0];
                counts.annotations += change[1];
                let error = write(&counts).unwrap_err().to_string();
                assert!(error.contains("somebody else changed it"), "{error}");
                assert!(!path.exists());
            }
            write(&counts).unwrap();
            assert!(path.exists());
        });
    }
}
