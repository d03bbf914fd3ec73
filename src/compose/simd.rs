//! Which instruction set the inner loops run with.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
use pulp::x86::{V2, V3, V4};

/// An instruction set that this machine has and that the inner loops are compiled for. All give the
/// same bytes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Simd {
    /// What the target has in any case: SSE2 on x86-64, NEON on AArch64.
    Baseline,
    /// SSE up to 4.2.
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    Sse(V2),
    /// AVX2.
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    Avx2(V3),
    /// AVX-512 with byte, word and vector length extensions.
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    Avx512(V4),
}

/// Names an instruction set wherever none is named in code.
const VARIABLE: &str = "PASTEBANK_SIMD";
/// The one that all use that do not name one.
static DETECTED: OnceLock<Simd> = OnceLock::new();

impl Simd {
    /// All that this machine has, the widest last.
    pub fn available() -> Vec<Simd> {
        #[allow(unused_mut)]
        let mut all = vec![Simd::Baseline];
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        {
            all.extend(V2::try_new().map(Simd::Sse));
            all.extend(V3::try_new().map(Simd::Avx2));
            all.extend(V4::try_new().map(Simd::Avx512));
        }
        all
    }

    /// What is wrong with the environment variable `PASTEBANK_SIMD`, if anything is.
    ///
    /// # Errors
    /// What it says and what this machine has.
    pub fn check_environment() -> Result<(), String> {
        let Ok(name) = std::env::var(VARIABLE) else {
            return Ok(());
        };
        let named: Result<Simd, String> = name.parse();
        named
            .map(|_| ())
            .map_err(|problem| format!("{VARIABLE}: {problem}"))
    }

    /// The widest that this machine has, or the one that the environment variable `PASTEBANK_SIMD`
    /// names: `baseline`, `sse`, `avx2` or `avx512`. One that cannot be had is warned of, once.
    pub fn detected() -> Simd {
        *DETECTED.get_or_init(|| {
            let widest = Simd::available().pop().unwrap_or(Simd::Baseline);
            let Ok(name) = std::env::var(VARIABLE) else {
                return widest;
            };
            name.parse().unwrap_or_else(|problem: String| {
                log::warn!("{VARIABLE}: {problem}; {widest} is used");
                widest
            })
        })
    }

    /// Makes this what [`Simd::detected`] gives from now on. That is settled once in a process: false
    /// if another one has been in use already.
    pub fn make_default(self) -> bool {
        DETECTED.get_or_init(|| self).name() == self.name()
    }

    /// Runs `work` compiled for this instruction set. What it calls must be inlined into it, or it
    /// is compiled for the baseline.
    #[inline(always)]
    pub(crate) fn run<R>(self, work: impl FnOnce() -> R) -> R {
        match self {
            Simd::Baseline => work(),
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Simd::Sse(token) => token.vectorize(work),
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Simd::Avx2(token) => token.vectorize(work),
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Simd::Avx512(token) => token.vectorize(work),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Simd::Baseline => "baseline",
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Simd::Sse(_) => "sse",
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Simd::Avx2(_) => "avx2",
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Simd::Avx512(_) => "avx512",
        }
    }
}

impl Default for Simd {
    fn default() -> Simd {
        Simd::detected()
    }
}

impl fmt::Display for Simd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Simd {
    type Err = String;

    /// One of those that this machine has.
    fn from_str(name: &str) -> Result<Simd, String> {
        let all = Simd::available();
        let found = all.iter().find(|simd| simd.name() == name);
        found.copied().ok_or_else(|| {
            let names: Vec<_> = all.iter().map(|simd| simd.name()).collect();
            format!("{name:?}; this machine has {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_found_by_their_names() {
        let all = Simd::available();
        assert!(matches!(all[0], Simd::Baseline));
        for simd in all {
            let found: Simd = simd.to_string().parse().unwrap();
            assert_eq!(found.name(), simd.name());
        }
        let problem = "avx1024".parse::<Simd>().unwrap_err();
        assert!(problem.starts_with("\"avx1024\"; this machine has baseline"));
    }
}
