//! The `pastebank` command: see [`pastebank::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    pastebank::cli::main()
}
