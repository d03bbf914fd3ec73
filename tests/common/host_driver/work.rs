//! What a stream is given.

use pastebank::cuda::driver::Kernel;

/// What a stream does.
#[derive(Clone, Debug)]
pub enum Work {
    ToDevice {
        to: usize,
        from: usize,
        bytes: usize,
    },
    ToHost {
        to: usize,
        from: usize,
        bytes: usize,
    },
    OnDevice {
        to: usize,
        from: usize,
        bytes: usize,
    },
    Clear {
        address: usize,
        bytes: usize,
    },
    Launch {
        kernel: Kernel,
        blocks: u32,
        threads: u32,
        parameters: Vec<u8>,
    },
}

impl Work {
    /// The addresses that it names: of its ranges, and whatever of the parameters can be one.
    pub fn addresses(&self) -> Vec<usize> {
        match self {
            Work::ToDevice { to, from, .. }
            | Work::ToHost { to, from, .. }
            | Work::OnDevice { to, from, .. } => vec![*to, *from],
            Work::Clear { address, .. } => vec![*address],
            Work::Launch { parameters, .. } => parameters
                .chunks_exact(8)
                .filter_map(|word| Some(usize::from_ne_bytes(word.try_into().ok()?)))
                .collect(),
        }
    }
}
