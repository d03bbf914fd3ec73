//! The command line: one file per subcommand, each parsing its flags and calling the library.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

mod bank;
mod bench;
mod bench_predict;
mod bench_sweep;
mod bench_workload;
#[cfg(feature = "build")]
mod build;
mod common;
mod compose;
mod demo;
mod device;
mod import;
mod pack;
mod plan;
mod recipe;
mod render;
mod sampling;
mod view;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::compose::Simd;
use common::{Interrupted, Usage};

/// Copy-paste augmentation at line rate: banks of object cutouts, exact composition.
#[derive(Parser)]
#[command(version, propagate_version = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Demo),
    Pack(pack::Pack),
    Import(import::Import),
    #[command(subcommand)]
    Bank(bank::Bank),
    Plan(plan::PlanCommand),
    Render(render::Render),
    Compose(compose::Compose),
    View(Box<view::View>),
    Bench(Box<bench::Bench>),
    #[cfg(feature = "build")]
    #[command(subcommand)]
    Build(build::Build),
}

/// Parses the process's arguments, runs the command and says how it ended.
pub fn main() -> ExitCode {
    // A parse error prints itself and exits with 2, help with 0.
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    Simd::check_environment().map_err(Usage)?;
    match command {
        Command::Demo(demo) => demo.run(),
        Command::Pack(pack) => pack.run(),
        Command::Import(import) => import.run(),
        Command::Bank(bank) => bank.run(),
        Command::Plan(plan) => plan.run(),
        Command::Render(render) => render.run(),
        Command::Compose(compose) => compose.run(),
        Command::View(view) => view.run(),
        Command::Bench(bench) => bench.run(),
        #[cfg(feature = "build")]
        Command::Build(build) => build.run(),
    }
}

fn report(error: &anyhow::Error) -> ExitCode {
    // A reader that has seen enough, such as `head`, is no failure worth a message.
    let is_closed_pipe = error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
    if is_closed_pipe {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {}", common::chain(error));
    if error.is::<Interrupted>() {
        ExitCode::from(130)
    } else if error.is::<Usage>() {
        ExitCode::from(2)
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent() {
        Arguments::command().debug_assert();
    }
}
