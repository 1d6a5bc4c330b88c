//! The `herder` program.

use std::process::ExitCode;

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    herder::cli::main().await
}
