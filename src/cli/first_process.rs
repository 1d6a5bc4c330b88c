//! What the first process does: in a container, the Herder that a command is run beside.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use clap::Parser as _;

use super::args::{RULES_FROM, complete};
use super::{Cli, Command, with_command};
use crate::settings::traefik;

/// The command line of the first process.
const COMMAND_LINE: &str = "/proc/1/cmdline";

/// The commands that tell of the Herder they are run beside.
const BESIDE: [&str; 3] = ["check", "config", "explain"];

/// What the first process does, complete with its variables and its settings file. None: it is no Herder, or cannot be
/// understood.
pub(super) async fn first_process() -> Option<Command> {
    command_of(&tokio::fs::read(COMMAND_LINE).await.ok()?)
}

/// The same command line for a command that tells of the Herder it is run beside: with the flags of that one before its own, which
/// go before them. It reads what that one reads.
pub(super) fn beside(args: Vec<OsString>) -> Vec<OsString> {
    let is_told = args.get(1).is_some_and(|command| BESIDE.iter().any(|known| command == known));
    let first = if is_told { std::fs::read(COMMAND_LINE).ok() } else { None };
    match first.and_then(|line| herder_in(&line)).as_deref() {
        Some([_, run, flags @ ..]) if run == "run" => with_flags(args, flags),
        _ => args,
    }
}

/// A command line with these flags of a `run`, as far as it does not say the same itself.
fn with_flags(mut args: Vec<OsString>, flags: &[OsString]) -> Vec<OsString> {
    let is_among =
        |names: &[String], name: &str| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    let typed = args.iter().skip(2).take_while(|arg| *arg != "--");
    let typed: Vec<String> = typed.filter_map(setting_of).collect();
    let is_said = |name: &str| {
        let is_of_rules = |name: &str| is_among(&RULES_FROM.map(str::to_owned), name);
        is_among(&typed, name)
            // Rules are read from one place.
            || is_of_rules(name) && typed.iter().any(|typed| is_of_rules(typed))
    };
    let (mut taken, mut is_on) = (Vec::new(), true);
    for flag in flags {
        if let Some(name) = setting_of(flag) {
            is_on = !is_said(&name);
        }
        // A value that stands by itself goes with its flag.
        if is_on {
            taken.push(flag.clone());
        }
    }
    args.splice(2..2, taken);
    args
}

/// The name of the setting that a flag says, ours or one of Traefik's.
fn setting_of(arg: &OsString) -> Option<String> {
    if matches!(arg.as_bytes(), [b'-', b'c', ..]) {
        return Some("configFile".to_owned());
    }
    let name = arg.to_str()?.strip_prefix("--")?;
    let name = name.split_once('=').map_or(name, |(name, _)| name);
    Some(traefik::flag_of(name).unwrap_or(name).to_owned())
}

/// The command line of a Herder, with its command. Arguments end with a NUL each (proc(5)); a small init may stand before them.
fn herder_in(command_line: &[u8]) -> Option<Vec<OsString>> {
    let line = command_line.strip_suffix(b"\0").unwrap_or(command_line);
    let args: Vec<OsString> =
        line.split(|byte| *byte == 0).map(|arg| OsStr::from_bytes(arg).to_owned()).collect();
    let is_herder = |arg: &OsString| Path::new(arg).file_name() == Some(OsStr::new("herder"));
    let start = args.iter().position(is_herder)?;
    Some(with_command(args.get(start..)?.to_vec()))
}

/// What a Herder with this command line does.
pub(super) fn command_of(command_line: &[u8]) -> Option<Command> {
    let (args, _) = complete(herder_in(command_line)?).ok()?;
    Cli::try_parse_from(args).ok().map(|cli| cli.command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(typed: &str, first: &str, expected: &str) {
        let typed = typed.split(' ').map(OsString::from).collect();
        let first = herder_in(first.replace(' ', "\0").as_bytes()).expect("a Herder");
        let args = with_flags(typed, &first[2..]);
        let args: Vec<&str> = args.iter().map(|arg| arg.to_str().expect("text")).collect();
        assert_eq!(args.join(" "), expected);
    }

    #[test]
    fn a_command_has_the_flags_of_the_herder_beside_it() {
        let run = "/sbin/docker-init -- /herder run --docker.domain=a --refresh 5s -c x.toml --log.level debug --web";
        let flags = "--docker.domain=a --refresh 5s -c x.toml --log.level debug --web";
        check("herder explain web", run, &format!("herder explain {flags} web"));
        check(
            "herder explain -X GET --header=A:b http://a/",
            run,
            &format!("herder explain {flags} -X GET --header=A:b http://a/"),
        );
        check("herder check --format json", run, &format!("herder check {flags} --format json"));
    }

    #[test]
    fn what_it_says_itself_goes_before_them() {
        let run = "herder --docker.domain=a --strict --refresh 5s -c x.toml --file.filename=r.toml";
        check(
            "herder explain --DOCKER.domain b --refresh=9s web",
            run,
            "herder explain --strict -c x.toml --file.filename=r.toml --DOCKER.domain b --refresh=9s web",
        );
        check(
            "herder check --strict --configFile y.toml --file.directory=rules",
            run,
            "herder check --docker.domain=a --refresh 5s --strict --configFile y.toml --file.directory=rules",
        );
        // By another name, too.
        check(
            "herder config --web.address=:9",
            "herder --admin :8",
            "herder config --web.address=:9",
        );
        check("herder config --admin=:9", "herder --web.address :8", "herder config --admin=:9");
        check(
            "herder explain -- --strict",
            "herder --strict",
            "herder explain --strict -- --strict",
        );
    }
}
