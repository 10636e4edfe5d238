//! `boxlite-shim`: the process that is a box on the host. Dispatches to what the command line asks for.

mod args;
mod engine;
mod kernel;
mod probe;
mod supervisor;
mod sys;
mod tsc;

use std::process::ExitCode;

use args::Command;

fn main() -> ExitCode {
    let began = std::time::Instant::now();
    match Command::parse(std::env::args_os().skip(1)) {
        Ok(Command::Box { id }) => supervisor::run(&id, began),
        Ok(Command::Vm { id, plan }) => engine::krun::vm::run(&id, plan),
        Ok(Command::MakeKernel { args }) => kernel::run(&args),
        Ok(Command::Probe { device }) => probe::run(&device),
        Ok(Command::Tsc) => {
            println!("{}", tsc::measure_khz());
            ExitCode::SUCCESS
        }
        Ok(Command::Version) => {
            println!("{}", boxlite_proto::BUILD_ID);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("boxlite-shim: {error}\n{}", args::USAGE);
            ExitCode::from(2)
        }
    }
}
