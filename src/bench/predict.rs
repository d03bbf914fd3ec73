//! What it takes to feed a training job: measured figures and sums, nothing that is simulated.
//!
//! ```text
//! demand             D = GPUs · images/s of one GPU
//! stored             scene s = 4·w·h bytes raw (the mip chain is 4/3 of 3·w·h), or its JPEG file
//!                    cutout c bytes (likewise 4/3 of its level 0)
//! read               scene r = 3·w·h raw, or its JPEG file; cutout 3/4·c: level 0 of each
//! data               T = scenes · s + cutouts · c
//! not in memory      m = max(0, 1 − memory / T); in the first epoch m = 1
//! disk               D · m · (r + layers · 3/4·c) bytes/s in D · m · (1 + layers) reads/s
//! link of one GPU    composing on the GPU: D / GPUs · (3·w·h + layers · 3/4·c) bytes/s
//!                    composing on the CPU: D / GPUs · (6·W·H + masks) bytes/s, f16 pixels
//! masks              (instances + layers) · 4 · ceil(W / 32) · H bytes
//! floor              F = 6·W·H + masks + 3·w·h + layers · 3/4·c bytes
//! cores              composing on the CPU: D / p, p = the loader's measured images/s per core
//!                    composing on the GPU: D · (t + 2 · (3·w·h + layers · 3/4·c) / b), t = measured
//!                    seconds of plan, gather and decode, b = bytes/s that one core copies
//! another workload   p · F(measured) / F(asked)
//! ```
//!
//! W×H is the canvas and w×h a scene. Each line has a rate at which it is used up: that is its limit,
//! and the least of them comes first. What is left out: a cutout that is shown small is read from a
//! smaller level, and the cutout cache of a GPU keeps what comes again (both make the link and the disk
//! better than this); a page cache under a scan of a shuffled epoch keeps less than its share, and
//! reads are whole pages (both make the disk worse).

use std::fmt;

use super::plot::number_of;
use super::{Report, ceiling};

/// A training job, its data, and the machine that is to feed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// GPUs that train.
    pub gpus: f64,
    /// Images that one of them trains on in a second.
    pub gpu_images_per_second: f64,
    /// What is composed.
    pub shape: Shape,
    /// Whether the scenes are JPEG files; they are raw otherwise.
    pub is_jpeg: bool,
    /// Mean bytes of a scene as a JPEG file.
    pub jpeg_bytes: f64,
    /// Scenes: images of an epoch.
    pub scenes: f64,
    /// Cutouts of the bank.
    pub cutouts: f64,
    /// The machine.
    pub host: Host,
}

/// What an image is composed of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Width and height of the canvas in pixels.
    pub canvas: [f64; 2],
    /// Layers.
    pub layers: f64,
    /// Instances of the scene.
    pub instances: f64,
    /// Width and height of the scene in pixels.
    pub scene: [f64; 2],
    /// Mean bytes of a cutout in the bank, mip chain and all.
    pub cutout_bytes: f64,
}

/// What a machine has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Host {
    /// Bytes of memory that can hold pages of files.
    pub memory: f64,
    /// Bytes a second that the disk or file system reads.
    pub disk: f64,
    /// Reads a second that it answers.
    pub reads: f64,
    /// Bytes a second over the link of one GPU.
    pub link: f64,
    /// Cores.
    pub cores: f64,
}

/// What was measured, on cores that the machine's are taken to be like.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Images a second of the loader that composes on the CPU, by the cores it ran on.
    pub per_core: f64,
    /// Seconds that one core takes for an image before a GPU composes it, without copying its pixels:
    /// drawing, checking, encoding, decoding.
    pub host_seconds: f64,
    /// Bytes a second that one core copies, read and written ones both counted.
    pub copied_per_core: f64,
    /// What was composed.
    pub shape: Shape,
    /// Whether its scenes were JPEG files.
    pub is_jpeg: bool,
}

impl Measured {
    /// Taken from a report.
    pub fn of(report: &Report) -> Measured {
        let workload = &report.workload;
        let before = ["plan", "gather", "decode"];
        let stages = report.stages.iter();
        let stages = stages.filter(|stage| before.contains(&&stage.name[..]));
        let microseconds: f64 = stages
            .map(|stage| stage.microseconds_per_image.median)
            .sum();
        let copy = report.ceilings.get(ceiling::COPY_ONE_THREAD);
        Measured {
            // On a GPU the loader is the GPU's; composing is the CPU's in either case.
            per_core: match workload.device.as_str() {
                "cpu" => report.loader.images_per_second_per_core,
                _ => report.composing.images_per_second_per_core,
            },
            host_seconds: microseconds / 1e6,
            copied_per_core: copy.map_or(0.0, |copy| 1e9 * copy.spread.median),
            shape: Shape {
                canvas: workload.canvas.map(f64::from),
                layers: workload.layers as f64,
                instances: workload.instances_per_scene,
                scene: workload.scene_size,
                cutout_bytes: workload.cutout_bytes,
            },
            is_jpeg: workload.is_jpeg(),
        }
    }

    /// Seconds of one core for an image of that shape that a GPU composes.
    fn gathering(&self, shape: &Shape) -> f64 {
        let copying = match self.copied_per_core > 0.0 {
            true => 2.0 * shape.source_bytes() / self.copied_per_core,
            false => 0.0,
        };
        self.host_seconds + copying
    }
}

/// Stored bytes over bytes of level 0: a mip chain is 1 + 1/4 + 1/16 + … of it.
const CHAIN: f64 = 4.0 / 3.0;
/// Bytes of a pixel on the canvas: three channels of f16.
const PIXEL_BYTES: f64 = 6.0;

impl Shape {
    /// Bytes of the image and of the masks of all that may stay.
    pub fn composed_bytes(&self) -> f64 {
        let [width, height] = self.canvas;
        let mask = 4.0 * (width / 32.0).ceil() * height;
        PIXEL_BYTES * width * height + (self.instances + self.layers) * mask
    }

    /// Bytes of the pixels that it is composed from.
    pub fn source_bytes(&self) -> f64 {
        self.scene_pixel_bytes() + self.layers * self.cutout_bytes / CHAIN
    }

    fn scene_pixel_bytes(&self) -> f64 {
        3.0 * self.scene[0] * self.scene[1]
    }

    /// Bytes that composing moves at least.
    pub fn floor(&self) -> f64 {
        self.composed_bytes() + self.source_bytes()
    }
}

impl Job {
    /// Images a second that the job takes.
    pub fn demand(&self) -> f64 {
        self.gpus * self.gpu_images_per_second
    }

    /// Bytes of all scenes and cutouts.
    pub fn data_bytes(&self) -> f64 {
        let scene = match self.is_jpeg {
            true => self.jpeg_bytes,
            false => CHAIN * self.shape.scene_pixel_bytes(),
        };
        self.scenes * scene + self.cutouts * self.shape.cutout_bytes
    }

    /// Share of the data that is not in memory once every scene has been read.
    pub fn missing_share(&self) -> f64 {
        (1.0 - self.host.memory / self.data_bytes().max(f64::MIN_POSITIVE)).max(0.0)
    }

    /// Bytes that an image takes from disk when nothing of it is in memory.
    pub fn read_bytes(&self, is_jpeg: bool) -> f64 {
        let scene = self.shape.scene_pixel_bytes();
        let read = if is_jpeg { self.jpeg_bytes } else { scene };
        read + self.shape.source_bytes() - scene
    }

    /// What is needed of everything that can run out.
    pub fn limits(&self, measured: &Measured) -> Vec<Limit> {
        let host = &self.host;
        let bytes = self.read_bytes(self.is_jpeg);
        let reads = 1.0 + self.shape.layers;
        let mut limits = Vec::new();
        for (epoch, missing) in [(Epoch::First, 1.0), (Epoch::Later, self.missing_share())] {
            let mut add = |what, image, there| limits.push(Limit::new(what, image, there, epoch));
            add(What::Disk, missing * bytes, host.disk);
            add(What::Reads, missing * reads, host.reads);
        }
        let links = self.gpus * host.link;
        let per_core = measured.per_core * measured.shape.floor() / self.shape.floor();
        for (route, bytes, seconds) in [
            (Route::Cpu, self.shape.composed_bytes(), 1.0 / per_core),
            (
                Route::Gpu,
                self.shape.source_bytes(),
                measured.gathering(&self.shape),
            ),
        ] {
            let mut add =
                |what, image, there| limits.push(Limit::new(what, image, there, Epoch::Any));
            add(What::Link(route), bytes, links);
            add(What::Cores(route), seconds, host.cores);
        }
        limits
    }
}

/// Where images are composed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// By the loader's threads; finished images cross the link.
    Cpu,
    /// By the GPU that trains; pixels of scenes and cutouts cross the link.
    Gpu,
}

/// What can run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Bytes a second from the disk.
    Disk,
    /// Reads a second from the disk.
    Reads,
    /// Bytes a second over all GPUs' links.
    Link(Route),
    /// Cores.
    Cores(Route),
}

/// When it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epoch {
    /// While nothing is in memory.
    First,
    /// Once all has been read.
    Later,
    /// Always.
    Any,
}

/// Something that can run out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// What.
    pub what: What,
    /// When.
    pub epoch: Epoch,
    /// What an image takes of it: bytes, reads or seconds of one core.
    pub an_image: f64,
    /// What there is of it: bytes or reads a second, or cores.
    pub there: f64,
}

impl Limit {
    fn new(what: What, an_image: f64, there: f64, epoch: Epoch) -> Limit {
        Limit {
            what,
            epoch,
            an_image,
            there,
        }
    }

    /// Images a second at which it is used up; infinite where an image takes nothing of it.
    pub fn images_per_second(&self) -> f64 {
        self.there / self.an_image
    }

    /// Whether it can hold up images that are composed there, in that epoch.
    pub fn counts(&self, route: Route, epoch: Epoch) -> bool {
        let is_on_way = match self.what {
            What::Disk | What::Reads => true,
            What::Link(of) | What::Cores(of) => of == route,
        };
        is_on_way && (self.epoch == Epoch::Any || self.epoch == epoch)
    }
}

/// The limit that comes first for images that are composed there, in that epoch.
pub fn first_limit(limits: &[Limit], route: Route, epoch: Epoch) -> Option<&Limit> {
    let counting = limits.iter().filter(|limit| limit.counts(route, epoch));
    counting.min_by(|a, b| a.images_per_second().total_cmp(&b.images_per_second()))
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Route::Cpu => "composing on the CPU",
            Route::Gpu => "composing on the GPU",
        })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::Disk => write!(f, "disk")?,
            What::Reads => write!(f, "reads from disk")?,
            What::Link(route) => write!(f, "link, {route}")?,
            What::Cores(route) => write!(f, "cores, {route}")?,
        }
        match self.epoch {
            Epoch::First => write!(f, ", first epoch"),
            Epoch::Later => write!(f, ", later epochs"),
            Epoch::Any => Ok(()),
        }
    }
}

/// The whole answer as a table.
pub struct Prediction<'a> {
    /// What was asked.
    pub job: &'a Job,
    /// What was measured.
    pub measured: &'a Measured,
}

impl fmt::Display for Prediction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = self.job.limits(self.measured);
        self.write_head(f)?;
        self.write_bytes(f)?;
        writeln!(
            f,
            "\n{:<36}{:>12}{:>16}{:>16}{:>8}{:>12}",
            "limit", "an image", "needed", "there", "used", "images/s"
        )?;
        for limit in &limits {
            self.write_limit(f, limit)?;
        }
        writeln!(f)?;
        for route in [Route::Cpu, Route::Gpu] {
            for (epoch, when) in [
                (Epoch::First, "first epoch"),
                (Epoch::Later, "later epochs"),
            ] {
                if let Some(first) = first_limit(&limits, route, epoch) {
                    self.write_verdict(f, route, when, first)?;
                }
            }
        }
        Ok(())
    }
}

impl Prediction<'_> {
    fn write_head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (job, shape) = (self.job, &self.job.shape);
        let gigabytes = job.data_bytes() / 1e9;
        let encoding = if job.is_jpeg { "JPEG" } else { "raw" };
        writeln!(
            f,
            "job       {} GPUs x {} images/s = {} images/s of {}x{} with {} layers, {encoding} scenes",
            job.gpus,
            number_of(job.gpu_images_per_second),
            number_of(job.demand()),
            shape.canvas[0],
            shape.canvas[1],
            shape.layers,
        )?;
        write!(
            f,
            "data      {} scenes and {} cutouts of {} KB: {} GB; ",
            number_of(job.scenes),
            number_of(job.cutouts),
            number_of(shape.cutout_bytes / 1e3),
            number_of(gigabytes.round()),
        )?;
        let memory = number_of(job.host.memory / 1e9);
        match job.missing_share() {
            0.0 => writeln!(f, "{memory} GB of memory hold it all"),
            share => writeln!(
                f,
                "{memory} GB of memory leave {:.0} % of it on disk",
                100.0 * share
            ),
        }?;
        let at = &self.measured.shape;
        writeln!(
            f,
            "measured  {} images/s per core at {}x{} with {} layers; {} ms of a core before a GPU composes",
            number_of(self.measured.per_core),
            at.canvas[0],
            at.canvas[1],
            at.layers,
            number_of(1e3 * self.measured.gathering(shape)),
        )
    }

    fn write_bytes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (job, shape) = (self.job, &self.job.shape);
        let row = |f: &mut fmt::Formatter<'_>, what: &str, raw: f64, jpeg: f64| {
            writeln!(f, "{what:<36}{:>12.2} MB{:>12.2} MB", raw / 1e6, jpeg / 1e6)
        };
        writeln!(
            f,
            "\n{:<36}{:>15}{:>15}",
            "bytes of an image", "raw scenes", "JPEG scenes"
        )?;
        let [raw, jpeg] = [false, true].map(|is_jpeg| job.read_bytes(is_jpeg));
        row(f, "from disk, nothing in memory", raw, jpeg)?;
        let (composed, sources) = (shape.composed_bytes(), shape.source_bytes());
        row(f, "over the link, composing on the CPU", composed, composed)?;
        row(f, "over the link, composing on the GPU", sources, sources)
    }

    fn write_limit(&self, f: &mut fmt::Formatter<'_>, limit: &Limit) -> fmt::Result {
        let demand = self.job.demand();
        let needed = demand * limit.an_image;
        let rate = |value: f64| match limit.what {
            What::Disk | What::Link(_) => format!("{} GB/s", number_of(value / 1e9)),
            What::Reads => format!("{} reads/s", number_of(value.round())),
            What::Cores(_) => format!("{} cores", number_of(value)),
        };
        let an_image = match limit.what {
            What::Disk | What::Link(_) => format!("{:.2} MB", limit.an_image / 1e6),
            What::Reads => format!("{:.1} reads", limit.an_image),
            What::Cores(_) => format!("{:.2} ms", 1e3 * limit.an_image),
        };
        let most = match limit.an_image > 0.0 {
            true => number_of(limit.images_per_second().round()),
            false => "no limit".to_owned(),
        };
        writeln!(
            f,
            "{:<36}{an_image:>12}{:>16}{:>16}{:>6.0} %{most:>12}",
            limit.to_string(),
            rate(needed),
            rate(limit.there),
            100.0 * needed / limit.there,
        )
    }

    fn write_verdict(
        &self,
        f: &mut fmt::Formatter<'_>,
        route: Route,
        when: &str,
        first: &Limit,
    ) -> fmt::Result {
        let (most, demand) = (first.images_per_second(), self.job.demand());
        let enough = match most >= demand {
            true => "enough",
            false => "NOT enough",
        };
        let times = number_of(most / demand);
        let what = match first.what {
            What::Disk => "the disk",
            What::Reads => "the reads from disk",
            What::Link(_) => "the link",
            What::Cores(_) => "the cores",
        };
        writeln!(
            f,
            "{route}, {when}: first limit {what}, at {} images/s: {enough}, {times} times what is needed",
            number_of(most.round())
        )
    }
}

#[cfg(test)]
mod tests;
