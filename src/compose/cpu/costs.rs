//! What composing took, stage by stage.

use std::time::{Duration, Instant};

/// Time and bytes of one stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageCost {
    /// Summed over all threads.
    pub time: Duration,
    /// Bytes of the texels, rows, masks and images that the stage read and wrote, each once; also of
    /// what its loops passed over because nothing happens there. Without the few KB of the encoded
    /// plan.
    pub bytes: u64,
}

/// What composing on the CPU took since a back end was made, stage by stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageCosts {
    /// JPEG scenes to texels; raw scenes take nothing here.
    pub decode: StageCost,
    /// The blend weight of each layer (rule 9).
    pub weights: StageCost,
    /// The scene, what layers look like and their blends (rules 7, 8, 10 and 11).
    pub compose: StageCost,
    /// The mask of each layer, and what is visible of it (rules 8 and 13).
    pub visible: StageCost,
    /// What stays, with its masks (rules 5, 13 and 14).
    pub settle: StageCost,
    /// The image in its element type and layout (rule 15).
    pub convert: StageCost,
}

impl StageCosts {
    /// All stages by their names.
    pub fn named(&self) -> [(&'static str, StageCost); 6] {
        [
            ("decode", self.decode),
            ("weights", self.weights),
            ("compose", self.compose),
            ("visible", self.visible),
            ("settle", self.settle),
            ("convert", self.convert),
        ]
    }

    pub(super) fn add(&mut self, other: &StageCosts) {
        self.decode.add(other.decode);
        self.weights.add(other.weights);
        self.compose.add(other.compose);
        self.visible.add(other.visible);
        self.settle.add(other.settle);
        self.convert.add(other.convert);
    }
}

impl StageCost {
    fn add(&mut self, other: StageCost) {
        self.time += other.time;
        self.bytes += other.bytes;
    }
}

/// Gives each stage the time since the last one ended.
#[derive(Debug)]
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// The time until now and `bytes` belong to `stage`.
    pub fn lap(&mut self, stage: &mut StageCost, bytes: usize) {
        let now = Instant::now();
        stage.add(StageCost {
            time: now.duration_since(self.0),
            bytes: bytes as u64,
        });
        self.0 = now;
    }
}
