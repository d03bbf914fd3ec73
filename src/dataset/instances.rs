//! The annotation file: streamed from the journal, and known again later.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::num::NonZero;
use std::path::Path;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::counts::{Counts, DatasetReport};
use super::error::DatasetError;
use super::journal::{Block, Journal};
use super::record::Record;
use super::{Style, counts};
use crate::bank::BankError;
use crate::bank::write::replace_file_with;
use crate::ordered;
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
/// line. Entries are made by that many threads, block after block of the journal; memory does not
/// grow with the data set.
pub(super) fn write(
    path: &Path,
    settings: &Settings,
    sampler: &Sampler,
    (style, threads): (Style, NonZero<usize>),
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
    let failed = |source: io::Error| DatasetError::from(BankError::write(path, source));
    replace_file_with(path, |file| {
        let mut out = Lists {
            out: BufWriter::with_capacity(1 << 18, file),
            path,
            journal,
            threads,
        };
        out.value("{\"info\":", &info).map_err(failed)?;
        if let Some(licenses) = manifest.other.get("licenses") {
            out.value(",\n\"licenses\":", licenses).map_err(failed)?;
        }
        let images = out.list(",\n\"images\":[", images_of)?;
        if images != counts.report.images {
            return Err(journal.changed().into());
        }
        let annotations = out.list("],\n\"annotations\":[", annotations_of)?;
        if annotations != counts.annotations {
            return Err(journal.changed().into());
        }
        let mut entries = Entries::default();
        categories
            .iter()
            .try_for_each(|category| entries.add(category))
            .map_err(failed)?;
        out.text("],\n\"categories\":[").map_err(failed)?;
        out.entries(&entries, true).map_err(failed)?;
        out.text("]}\n").map_err(failed)?;
        out.out.flush().map_err(failed)
    })
}

/// Some entries of a list as text, a comma and a new line before each.
#[derive(Default)]
struct Entries {
    text: Vec<u8>,
    count: u64,
}

impl Entries {
    fn add(&mut self, entry: &impl Serialize) -> io::Result<()> {
        self.text.extend_from_slice(b",\n");
        self.count += 1;
        Ok(serde_json::to_writer(&mut self.text, entry)?)
    }
}

/// The entries of the images of a block's records.
fn images_of(records: Vec<Record>, _: &Block) -> io::Result<Entries> {
    let mut entries = Entries::default();
    for record in &records {
        entries.add(&record.image)?;
    }
    Ok(entries)
}

/// The entries of the annotations of a block's records, numbered from 1 over all blocks.
fn annotations_of(records: Vec<Record>, block: &Block) -> io::Result<Entries> {
    let mut entries = Entries::default();
    for record in records {
        for mut annotation in record.annotations {
            annotation.id = block.annotations_before + entries.count + 1;
            entries.add(&annotation)?;
        }
    }
    Ok(entries)
}

/// Bytes of journal and text under way at once.
const MEMORY_BUDGET: usize = 64 << 20;

/// A JSON file of lists, being written.
struct Lists<'a> {
    out: BufWriter<&'a File>,
    path: &'a Path,
    journal: &'a Journal,
    threads: NonZero<usize>,
}

impl Lists<'_> {
    fn text(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())
    }

    fn value(&mut self, key: &str, value: &impl Serialize) -> io::Result<()> {
        self.text(key)?;
        Ok(serde_json::to_writer(&mut self.out, value)?)
    }

    /// No comma stands before a list's first entry.
    fn entries(&mut self, entries: &Entries, are_first: bool) -> io::Result<()> {
        let begin = usize::from(are_first).min(entries.text.len());
        self.out.write_all(&entries.text[begin..])
    }

    /// Writes a list of what `make` makes of each block's records; gives how many entries it has.
    fn list(
        &mut self,
        begin: &str,
        make: fn(Vec<Record>, &Block) -> io::Result<Entries>,
    ) -> Result<u64, DatasetError> {
        let (journal, path) = (self.journal, self.path);
        let blocks = journal.blocks();
        let plan = ordered::Plan {
            threads: self.threads,
            budget: MEMORY_BUDGET,
            // The lines, their records, and what is made of them.
            estimate: &|index| 3 * blocks[index].bytes as usize,
        };
        let failed = |source| DatasetError::from(BankError::write(path, source));
        self.text(begin).map_err(failed)?;
        let mut count = 0;
        ordered::run(
            0..blocks.len(),
            &plan,
            |index| {
                let block = &blocks[index];
                make(journal.read(block)?, block).map_err(failed)
            },
            |_, entries: Result<Entries, DatasetError>| {
                let entries = entries?;
                self.entries(&entries, count == 0).map_err(failed)?;
                count += entries.count;
                Ok(())
            },
        )
        .map_err(|ended| match ended {
            ordered::Ended::Consumer(error) => error,
            ordered::Ended::Panic(message) => DatasetError::Panic { message },
        })?;
        Ok(count)
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
    use crate::dataset::journal::Line;

    #[test]
    fn a_journal_that_changed_between_the_passes_gives_no_file() {
        with_sampler(|sampler| {
            let folder = tempfile::tempdir().unwrap();
            let settings = Settings::new();
            let mut journal = Journal::create(folder.path(), &settings).unwrap();
            let record = record(sampler, Style::Coco, &[]);
            journal
                .append(&Line::new(folder.path(), &record).unwrap())
                .unwrap();
            let mut counts = Counts::default();
            counts.add(&record);
            let path = folder.path().join(INSTANCES_FILE);
            let write = |counts: &Counts| {
                let how = (Style::Coco, NonZero::<usize>::MIN);
                super::write(&path, &settings, sampler, how, &journal, counts)
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
