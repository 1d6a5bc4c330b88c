//! The `HERDER_…` variables: which there are, which was wrong, which nobody knows.

use std::env;
use std::ffi::OsString;

use anyhow::anyhow;
use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue};

use super::Cli;
use super::args::{OwnFlag, reason};
use crate::model::nearest;

const OURS: &str = "HERDER_";

/// The beginnings of variables that say nothing to a Herder that runs: what Docker's links, Rancher and Kubernetes make of a
/// container or service called `herder`, and what the build, the compose file and the tests are told.
const NOT_FOR_US: [&str; 7] = [
    "HERDER_PORT",
    "HERDER_NAME",
    "HERDER_ENV_",
    "HERDER_SERVICE_",
    "HERDER_COMMIT",
    "HERDER_IMAGE",
    "HERDER_SCREENSHOTS",
];

/// What the variables of this process say that nobody reads, a sentence for each.
pub(super) fn unknown() -> Vec<String> {
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    unknown_among(names)
}

fn unknown_among(names: impl Iterator<Item = String>) -> Vec<String> {
    let cli = Cli::command();
    let args = cli.get_subcommands().flat_map(clap::Command::get_arguments);
    let known: Vec<&str> =
        args.filter_map(clap::Arg::get_env).filter_map(|name| name.to_str()).collect();
    let is_lost = |name: &String| {
        name.starts_with(OURS)
            && !known.contains(&name.as_str())
            && !NOT_FOR_US.iter().any(|start| name.starts_with(start))
    };
    let mut lost: Vec<String> = names.filter(is_lost).collect();
    lost.sort_unstable();
    let note = |name: String| {
        let hint = nearest(&name, known.iter().copied())
            .map(|known| format!(" Did you mean {known}?"))
            .unwrap_or_default();
        format!("{name} is not a variable we know, and is left out.{hint}")
    };
    lost.into_iter().map(note).collect()
}

/// The same error with the name of the variable that is wrong, where it was one: clap blames the flag.
pub(super) fn wrong(
    error: &clap::Error,
    own: &[OwnFlag],
    args: &[OsString],
) -> Option<anyhow::Error> {
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else { return None };
    // `--refresh <TIME>`
    let long = shown.split([' ', '[']).next()?;
    let is_typed = |text: &str| {
        text.strip_prefix(long).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    if args.iter().filter_map(|arg| arg.to_str()).any(is_typed) {
        return None;
    }
    let flag = own.iter().find(|flag| Some(&*flag.name) == long.strip_prefix("--"))?;
    let variable = flag.variable.as_deref().filter(|name| env::var_os(name).is_some())?;
    Some(anyhow!("{variable}: {}", reason(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: &[&str]) {
        assert_eq!(unknown_among([name.to_owned()].into_iter()), expected, "{name}");
    }

    #[test]
    fn what_nobody_reads_is_told() {
        check("HERDER_HTTP", &[]);
        check("HERDER_LOG_LEVEL", &[]);
        check("TRAEFIK_HTTP_PORT", &[]);
        check(
            "HERDER_DOCKER_DOMIAN",
            &[
                "HERDER_DOCKER_DOMIAN is not a variable we know, and is left out. Did you mean HERDER_DOCKER_DOMAIN?",
            ],
        );
        check(
            "HERDER_SOMETHING_ELSE",
            &["HERDER_SOMETHING_ELSE is not a variable we know, and is left out."],
        );
    }

    #[test]
    fn what_links_and_services_make_of_a_name_says_nothing() {
        for name in
            ["HERDER_PORT_80_TCP_ADDR", "HERDER_NAME", "HERDER_ENV_PATH", "HERDER_SERVICE_HOST"]
        {
            check(name, &[]);
        }
    }
}
