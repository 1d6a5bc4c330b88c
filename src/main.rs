//! The `herder` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    herder::cli::main()
}
