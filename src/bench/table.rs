//! The report as a table, section by section.

use std::fmt;

use super::report::ceiling;
use super::{
    Ceilings, Composing, Floor, LoaderReport, Measurement, Report, Share, Spread, Stage, Told,
    Wait, Waits,
};

impl fmt::Display for Told<'_> {
    /// A section of the table, without a line feed behind it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match *self {
            Told::Begins(what) => format!("{what} …"),
            Told::Head(machine, workload) => {
                let lines = workload.to_string();
                let titles = ["workload  ", "          ", "          "];
                let lines = lines.lines().zip(titles);
                let lines: String = lines.map(|(line, title)| paragraph(title, line)).collect();
                format!("machine   {machine}\n{lines}")
            }
            Told::Ceilings(ceilings, floor) => format!("\n{}", ceilings_of(ceilings, floor)),
            Told::Stages(stages) => format!("\n{}", stages_of(stages)),
            Told::Composing(composing) => format!("\n{}", composing_of(composing)),
            Told::Device(measurements) => format!("\n{}", device_of(measurements)),
            Told::Loader(loader) => format!("\n{}", loader_of(loader)),
            Told::Done(report) => format!("\n{}", end_of(report)),
        };
        f.write_str(text.trim_end_matches('\n'))
    }
}

impl fmt::Display for Report {
    /// All sections.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Told::Head(&self.machine, &self.workload))?;
        writeln!(f, "{}", Told::Ceilings(&self.ceilings, &self.floor))?;
        writeln!(f, "{}", Told::Stages(&self.stages))?;
        writeln!(f, "{}", Told::Composing(&self.composing))?;
        if !self.device.is_empty() {
            writeln!(f, "{}", Told::Device(&self.device))?;
        }
        writeln!(f, "{}", Told::Loader(&self.loader))?;
        write!(f, "{}", Told::Done(self))
    }
}

/// Width of the column of names.
const NAMES: usize = 28;
/// Width of that of medians.
const MEDIANS: usize = 11;
/// Width of that of ends.
const ENDS: usize = 20;

/// A section's head: its name, the unit of its figures, and what else its columns are.
fn head(section: &str, unit: &str, columns: &str) -> String {
    let ends = "[least..greatest]";
    let line = format!("{section:<NAMES$}{unit:>MEDIANS$}  {ends:<ENDS$}{columns}");
    format!("{}\n", line.trim_end())
}

/// A row: a name, a median and its ends, and what else is to be said.
fn row(name: &str, spread: &Spread, rest: &str) -> String {
    let unsteady = if spread.steady { "" } else { "~" };
    let median = format!("{unsteady}{}", number(spread.median));
    let ends = format!("[{}..{}]", number(spread.least), number(spread.greatest));
    let line = format!(
        "  {name:<width$}{median:>MEDIANS$}  {ends:<ENDS$}{rest}",
        width = NAMES - 2
    );
    format!("{}\n", line.trim_end())
}

/// A line below a section's rows.
fn note(text: &str) -> String {
    format!("  {text}\n")
}

fn ceilings_of(ceilings: &Ceilings, floor: &Floor) -> String {
    let mut text = head("ceilings", "GB/s", "");
    let titles = [
        (ceiling::COPY_ONE_THREAD, "memory copy, one thread"),
        (ceiling::COPY_ALL_THREADS, "memory copy, all threads"),
        (ceiling::GPU_COPY, "GPU memory copy"),
        (ceiling::LINK, "link to the GPU, pinned"),
    ];
    for (name, title) in titles {
        if let Some(ceiling) = ceilings.get(name) {
            text += &row(title, &ceiling.spread, "");
        }
    }
    let parts = [
        ("image", floor.image),
        ("masks", floor.masks),
        ("texels", floor.texels),
        ("mask bits", floor.mask_bits),
    ];
    let parts = parts.map(|(name, bytes)| format!("{name} {}", number(bytes / 1e6)));
    let whole = number(floor.bytes() / 1e6);
    text + &note(&format!(
        "floor: {whole} MB an image = {}",
        parts.join(" + ")
    ))
}

fn stages_of(stages: &[Stage]) -> String {
    let columns = format!(
        "{:>9}{:>9}{:>8}{:>9}",
        "MB/image", "GB/s", "share", "of copy"
    );
    let mut text = head("stages, one thread", "µs/image", &columns);
    for stage in stages {
        let rest = format!(
            "{:>9}{:>9}{:>6.1} %{:>7.1} %",
            number(stage.bytes_per_image / 1e6),
            number(stage.gigabytes_per_second),
            100.0 * stage.share,
            stage.percent_of_ceiling
        );
        text += &row(&stage.name, &stage.microseconds_per_image, &rest);
    }
    text + &note("shares are of composing, decode to convert; plan and gather come on top")
}

fn composing_of(composing: &Composing) -> String {
    let one = &composing.one_thread;
    let columns = format!("{:>9}{:>9}{:>17}", "GB/s", "of copy", "floor at ceiling");
    let mut text = head("composing", "images/s", &columns);
    let rest = |moved: f64, percent: f64, ceiling: f64| {
        let (moved, ceiling) = (number(moved), number(ceiling));
        format!("{moved:>9}{percent:>7.1} %{ceiling:>8} images/s")
    };
    text += &row(
        "one thread",
        &one.images_per_second,
        &rest(
            one.gigabytes_per_second,
            one.percent_of_ceiling,
            one.ceiling_images_per_second,
        ),
    );
    text += &row(
        &format!("all {} threads", composing.threads),
        &composing.images_per_second,
        &rest(
            composing.gigabytes_per_second,
            composing.percent_of_ceiling,
            composing.ceiling_images_per_second,
        ),
    );
    text + &note(&format!(
        "{:.2} times one thread; {} images/s a core",
        composing.scaling,
        number(composing.images_per_second_per_core)
    ))
}

fn device_of(measurements: &[Measurement]) -> String {
    let mut text = head("GPU", "", &format!("{:<10}{:>9}", "unit", "GB/s"));
    for measured in measurements {
        let mut rest = format!("{:<10}", measured.unit);
        match measured.gigabytes_per_second {
            Some(rate) => rest += &format!("{:>9}", number(rate)),
            None => rest += &format!("{:>9}", ""),
        }
        if let Some(Share { percent, of }) = &measured.share {
            rest += &format!("  {percent:.1} % of {of}");
        }
        if let Some(rate) = measured.hit_rate {
            rest += &format!("  {:.1} % of the cutouts cached", 100.0 * rate);
        }
        text += &row(&measured.what, &measured.spread, &rest);
    }
    text
}

fn loader_of(loader: &LoaderReport) -> String {
    let headspace = &loader.headspace;
    let mut text = head("loader", "images/s", "");
    let times_cores = loader.percent_of_composing_times_cores;
    let times_cores = times_cores.map_or(String::new(), |percent| {
        format!(", {percent:.1} % of one thread's times the cores")
    });
    text += &row(
        &format!("{} threads", loader.threads),
        &loader.spread,
        &format!(
            "{:.1} % of composing{times_cores}",
            loader.percent_of_composing
        ),
    );
    text += &row(
        "headspace: composing free",
        &headspace.images_per_second,
        &format!(
            "the loader is at {} % of it",
            number(headspace.loader_percent)
        ),
    );
    let first = loader.first_batch_seconds.map(|seconds| 1e3 * seconds);
    text += &row("first batch", &first, "ms from making the loader");
    text += &note(&format!(
        "{} images/s a core; {} GB/s, {:.1} % of the copy ceiling",
        number(loader.images_per_second_per_core),
        number(loader.gigabytes_per_second),
        loader.percent_of_ceiling
    ));
    text + &note(&format!("waits: {}", waits_of(&loader.waits)))
}

fn waits_of(waits: &Waits) -> String {
    let part = |wait: &Wait| format!("{:.1} % ({} s)", 100.0 * wait.share, number(wait.seconds));
    let mut text = format!(
        "training loop for batches {}, threads for work {}",
        part(&waits.training_loop_for_batches),
        part(&waits.workers_for_work)
    );
    if let Some(slots) = &waits.slots_of_the_device {
        text += &format!(", for the GPU's memory {}", part(slots));
    }
    text + &format!("; assembling {}", part(&waits.assembling))
}

fn end_of(report: &Report) -> String {
    let checked = report.checked.batches.iter();
    let checked: Vec<_> = checked.map(|batch| batch.what.as_str()).collect();
    let checked = format!(
        "the last batch of {}; each is equal to the bit to what was {}",
        checked.join(", "),
        report.checked.reference
    );
    let unsteady = match report.unsteady() {
        0 => String::new(),
        _ => "~         not steady within 2 % when the time was over; --seconds gives more"
            .to_owned(),
    };
    let verdict = paragraph("held up   ", &format!("by {}", report.verdict()));
    verdict + &paragraph("checked   ", &checked) + &unsteady
}

/// Columns of a line of words.
const WIDTH: usize = 100;

/// Words in lines, behind a title and below one another.
fn paragraph(title: &str, words: &str) -> String {
    let mut lines = vec![title.to_owned()];
    for word in words.split_whitespace() {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line + word.chars().count() > WIDTH {
            lines.push(" ".repeat(title.len()));
        }
        if let Some(line) = lines.last_mut() {
            *line += word;
            line.push(' ');
        }
    }
    lines
        .iter()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// Three or four digits.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 1.0 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_below_the_head() {
        let spread = Spread::of(vec![3.9, 3.81, 4.0]);
        let measurement = Measurement::new("GPU composing, resident", "µs/image", spread)
            .moving(3214.4)
            .share(3214.4, 4000.0, "GPU copy");
        let text = device_of(&[measurement]);
        let [head, row] = text.lines().collect::<Vec<_>>()[..] else {
            panic!("{text}");
        };
        // Columns are characters, of which some are several bytes.
        let column = |text: &str, word: &str| text[..text.find(word).unwrap()].chars().count();
        assert_eq!(column(head, "unit"), column(row, "µs/image"));
        assert_eq!(column(head, "[least"), column(row, "[3.81..4.00]"));
        assert_eq!(column(head, "GB/s") + 4, column(row, "3214") + 4);
        // Three runs are too few to be steady.
        assert!(row.contains(" ~3.90  "), "{row}");
        assert!(row.ends_with("3214  80.4 % of GPU copy"), "{row}");
    }

    #[test]
    fn paragraphs_are_as_wide_as_the_table() {
        let words = "word ".repeat(40);
        let text = paragraph("checked   ", &words);
        let widths: Vec<_> = text.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|&width| width <= WIDTH), "{text}");
        // 18 words of 5 columns fill 90.
        assert_eq!(widths, [99, 99, 29]);
        assert!(
            text.lines()
                .skip(1)
                .all(|line| line.starts_with("          word"))
        );
    }

    #[test]
    fn shares_of_nothing_are_not_told() {
        let spread = Spread::of(vec![1.0]);
        let measurement = Measurement::new("x", "s", spread).share(1.0, 0.0, "nothing");
        assert_eq!(measurement.share, None);
    }
}
