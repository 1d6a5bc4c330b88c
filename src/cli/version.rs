//! `herder version`: which build this is.

use std::fmt;
use std::process::ExitCode;

use anyhow::Context;

/// Prints the version, the commit and how this program was built.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Print the version number alone
    #[arg(long)]
    pub short: bool,
}

/// Prints to standard output.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let text = if args.short { format!("{}\n", BUILD.version) } else { format!("{BUILD}\n") };
    super::print(text).context("cannot write")?;
    Ok(ExitCode::SUCCESS)
}

/// What is known of this build.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// As in Cargo.toml.
    pub version: &'static str,
    /// What `HERDER_COMMIT` held when it was compiled.
    pub commit: &'static str,
    /// The compiler, as it names itself.
    pub compiler: &'static str,
    /// The target triple.
    pub target: &'static str,
    /// What this build can do.
    pub features: &'static [&'static str],
}

/// This build.
pub const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    commit: match option_env!("HERDER_COMMIT") {
        Some(commit) => commit,
        None => "unknown (built without HERDER_COMMIT)",
    },
    compiler: env!("BUILD_COMPILER"),
    target: env!("BUILD_TARGET"),
    features: if cfg!(target_feature = "crt-static") {
        &["docker", "rancher", "static"]
    } else {
        &["docker", "rancher"]
    },
};

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "herder    {}", self.version)?;
        writeln!(f, "commit    {}", self.commit)?;
        writeln!(f, "compiler  {}", self.compiler)?;
        writeln!(f, "target    {}", self.target)?;
        write!(f, "features  {}", self.features.join(", "))
    }
}
