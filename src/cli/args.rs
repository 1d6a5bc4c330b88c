//! One command line out of four sources: flags, variables, a settings file, defaults.
//!
//! Everything that was said elsewhere is turned into flags, which are then read once, by clap: so that a value is checked in
//! one place, and an error names where it was said.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _, Parser as _};

use super::{Cli, Command, variables};
use crate::document::{Language, Node, Place, Table, Value};
use crate::settings::traefik::{self, Found, Given, NO_LIMIT, is_limit};
use crate::settings::{Conflict, EntryPoint, Settings, catalog, duration};

/// The subcommands that take settings.
const WITH_SETTINGS: &[&str] = &["run", "check", "explain", "config", "render"];

/// The flags that say where rules are.
pub(super) const RULES_FROM: [&str; 3] = ["file.filename", "file.directory", "file.main"];

/// What was said, wherever.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// What is in force of it. Of a flag that is not among these, the default is.
    pub(super) given: Vec<Given>,
    /// What is not acted on, a sentence for each.
    pub(super) notes: Vec<String>,
    /// The settings file.
    pub(super) file: Option<PathBuf>,
}

/// The command line with what variables and a settings file say.
///
/// # Errors
/// When the settings file cannot be read, or a value in it is wrong.
pub(super) fn complete(args: Vec<OsString>) -> anyhow::Result<(Vec<OsString>, Said)> {
    let command = args.get(1).and_then(|arg| arg.to_str()).map(str::to_owned);
    let Some(command) = command.filter(|command| WITH_SETTINGS.contains(&command.as_str())) else {
        return Ok((args, Said::default()));
    };
    let own = own_flags(&command);
    let (mut args, foreign) = split(args, &own, &own_flags("run"));
    let matches = match Cli::command().try_get_matches_from(&args) {
        Ok(matches) => matches,
        // What clap refuses, it explains better than we could; `--help` ends here as well.
        Err(error) => {
            return variables::wrong(&error, &own, &args).map_or(Ok((args, Said::default())), Err);
        }
    };
    let Some((_, matches)) = matches.subcommand() else { return Ok((args, Said::default())) };
    let typed = said_in(ValueSource::CommandLine, &own, matches);
    let variables = said_in(ValueSource::EnvVariable, &own, matches);

    let names: Vec<String> = own.iter().map(|flag| flag.name.clone()).collect();
    let path = settings_file(matches);
    let mut flags = traefik::read(&foreign, &names, None);
    let entrypoints = matches.get_many::<EntryPoint>("entrypoints").into_iter().flatten();
    flags.shut_admin_beside(entrypoints);
    if path.is_none() && matches.get_raw("entrypoints").is_none() {
        flags.listen_as_traefik();
    }
    let catalog = catalog::read(|name| std::env::var(name).ok());
    let file = match &path {
        None => Found::default(),
        Some(path) => traefik::read(&parsed(path)?, &names, Some(&path.display().to_string())),
    };
    let mut layers = [flags, catalog, file];
    for found in &mut layers {
        // A level of the log is no setting of `check`.
        found.given.retain(|given| names.contains(&given.flag));
    }
    let mut notes = variables::unknown();
    let zero = typed.iter().chain(&variables).filter(|given| is_zero_limit(given));
    notes.extend(zero.map(|given| format!("{} is left out: {NO_LIMIT}.", given.origin)));
    let found = merged(&typed, &variables, layers)?;
    notes.extend(found.notes);

    let wrong = found.given.iter().filter_map(|given| check(&command, given).err());
    let mut wrong: Vec<anyhow::Error> = wrong.collect();
    if wrong.len() > 1 {
        let lines: Vec<String> = wrong.iter().map(|error| format!("{error:#}")).collect();
        bail!("these settings cannot be read:\n  {}", lines.join("\n  "));
    }
    wrong.pop().map_or(Ok(()), Err)?;
    let flag = |given: &Given| OsString::from(format!("--{}={}", given.flag, given.value));
    args.extend(found.given.iter().map(flag));
    let variables = variables.into_iter().filter(|given| !says(&found.given, &given.flag));
    let mut given: Vec<Given> = typed.into_iter().chain(variables).collect();
    given.extend(found.given);
    let is_strict = given.iter().any(|given| given.flag == "strict" && given.value == "true");
    if is_strict && !notes.is_empty() {
        bail!(
            "these settings are not acted on, and --strict was asked for:\n  {}",
            notes.join("\n  ")
        );
    }
    given.retain(|given| !is_zero_limit(given));
    Ok((args, Said { given, notes, file: path }))
}

/// What flags say, or variables, where no flag says it. A list has a value for each of its parts.
fn said_in(source: ValueSource, own: &[OwnFlag], matches: &ArgMatches) -> Vec<Given> {
    let said = own.iter().filter(|flag| matches.value_source(&flag.id) == Some(source));
    let given = |flag: &OwnFlag| {
        let variable = flag.variable.clone().filter(|_| source == ValueSource::EnvVariable);
        let origin = variable.unwrap_or_else(|| format!("--{}", flag.name));
        let values = matches.get_raw(&flag.id).into_iter().flatten();
        let given = |value: &OsStr| {
            let (flag, value) = (flag.name.clone(), value.to_string_lossy().into_owned());
            Given { flag, value, origin: origin.clone(), guard: None }
        };
        values.map(given).collect::<Vec<_>>()
    };
    said.flat_map(given).collect()
}

/// Whether it asks for no limit where everything has one, so that the default stands.
fn is_zero_limit(given: &Given) -> bool {
    is_limit(&given.flag) && duration(&given.value).is_ok_and(|time| time.is_zero())
}

fn says(given: &[Given], flag: &str) -> bool {
    given.iter().any(|given| given.flag == flag)
}

/// What counts beside our own flags and variables, and what is said of it. The layers are Traefik's flags, the catalog's variables
/// and the settings file: each goes before the next, our flags before all of them, our variables before the last two. But a guard
/// goes before whatever could open what it closes, and rules are read from what one layer names.
///
/// # Errors
/// Where a flag would open what a guard closes.
fn merged(typed: &[Given], variables: &[Given], layers: [Found; 3]) -> anyhow::Result<Found> {
    let own = [typed, variables].concat();
    let names_rules = |given: &[Given]| RULES_FROM.iter().any(|flag| says(given, flag));
    let has_users = says(&own, "admin.users") || says(&own, "admin.usersFile");
    let all = layers.iter().flat_map(|found| &found.given);
    let guards = all.filter(|given| given.guard.is_some()).cloned().collect::<Vec<_>>();
    let mut kept = Found::default();
    for (place, found) in layers.into_iter().enumerate() {
        let above: &[Given] = if place == 0 { typed } else { &own };
        let has_rules = names_rules(&own) || names_rules(&kept.given);
        let taken = kept.given.clone();
        kept.notes.extend(found.notes);
        for given in found.given {
            let said = above.iter().rev().find(|said| said.flag == given.flag);
            match (&given.guard, said) {
                (Some(why), Some(said)) if !has_users && said.value != "off" => bail!(
                    "the page cannot be opened: {why} Write --admin.users or --admin.usersFile beside --admin, or leave \
                     --admin out"
                ),
                (Some(why), None) => kept.notes.push(why.clone()),
                _ => {}
            }
            let is_overruled = given.guard.is_none() && says(&guards, &given.flag)
                || has_rules && RULES_FROM.contains(&given.flag.as_str());
            if said.is_none() && !is_overruled && !says(&taken, &given.flag) {
                kept.given.push(given);
            }
        }
    }
    Ok(kept)
}

/// A flag of ours.
pub(super) struct OwnFlag {
    pub(super) name: String,
    pub(super) id: String,
    /// The variable that says the same.
    pub(super) variable: Option<String>,
    /// Whether it stands alone or takes its value after `=` only.
    is_switch: bool,
}

/// The flags of a subcommand.
pub(super) fn own_flags(command: &str) -> Vec<OwnFlag> {
    let cli = Cli::command();
    let args = cli.find_subcommand(command).into_iter().flat_map(clap::Command::get_arguments);
    let flag = |arg: &clap::Arg| {
        let is_switch = arg.is_require_equals_set() || !arg.get_action().takes_values();
        let (name, id) = (arg.get_long()?.to_owned(), arg.get_id().to_string());
        let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned());
        Some(OwnFlag { name, id, variable, is_switch })
    };
    args.filter_map(flag).collect()
}

/// What clap says is wrong with a value, without the value: an entry point's may hold secrets. Where there are only some values,
/// they are named.
pub(super) fn reason(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    let why = first.split_once(">': ").map_or(first, |(_, why)| why).trim_start_matches("error: ");
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => {
            format!("{why} [possible values: {}]", values.join(", "))
        }
        _ => why.to_owned(),
    }
}

/// Our own flags in their own spelling, and those of Traefik 1.7 that are not ours as a tree.
///
/// A command takes the whole command line of `run`: what says nothing to it, such as the level of the log, is left out.
fn split(args: Vec<OsString>, own: &[OwnFlag], run: &[OwnFlag]) -> (Vec<OsString>, Table) {
    let (mut kept, mut foreign) = (Vec::new(), Table::default());
    let mut args = args.into_iter().peekable();
    kept.extend(args.by_ref().take(2));
    while let Some(arg) = args.next() {
        let long =
            arg.to_str().and_then(|text| text.strip_prefix("--")).filter(|long| !long.is_empty());
        let Some(long) = long else {
            let is_end = arg == "--";
            kept.push(arg);
            if is_end {
                kept.extend(args.by_ref());
            }
            continue;
        };
        let (name, value) =
            long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
        let name = if name.eq_ignore_ascii_case("c") { "configFile" } else { name };
        let is_named = |flag: &&OwnFlag| flag.name.eq_ignore_ascii_case(name);
        let mine = own.iter().find(is_named);
        if let Some(flag) = mine.or_else(|| run.iter().find(is_named)) {
            let text = match value {
                Some(value) => format!("--{}={value}", flag.name),
                None => format!("--{}", flag.name),
            };
            // Its value is not ours to read.
            let next = if value.is_none() && !flag.is_switch { args.next() } else { None };
            if mine.is_some() {
                kept.push(text.into());
                kept.extend(next);
            }
            continue;
        }
        if !traefik::is_key(name) {
            kept.push(arg);
            continue;
        }
        let wants_value = traefik::flag_of(name).is_some_and(|flag| {
            run.iter().chain(own).any(|own| own.name == flag && !own.is_switch)
        });
        let value = match value {
            Some(value) => value.to_owned(),
            None if wants_value => {
                args.next().map(|value| value.to_string_lossy().into_owned()).unwrap_or_default()
            }
            None => "true".to_owned(),
        };
        put(&mut foreign, name, value);
    }
    (kept, foreign)
}

/// Puts `a.b=c` into a tree.
fn put(tree: &mut Table, path: &str, value: String) {
    let place = Place::default();
    let mut parts = path.split('.').peekable();
    let mut table = tree;
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            // `--docker` after `--docker.domain` adds nothing to it.
            if table.get(part).is_none_or(|node| node.as_table().is_none()) {
                table.insert(part, Node { place, value: Value::Scalar(value) });
            }
            return;
        }
        if table.get(part).is_some_and(|node| node.as_table().is_none()) {
            table.insert(part, Node { place, value: Value::Table(Table::default()) });
        }
        let Some(inner) = table.table_mut(part, place) else { return };
        table = inner;
    }
}

/// The settings file that was named, else the one that is found.
fn settings_file(matches: &ArgMatches) -> Option<PathBuf> {
    if let Some(path) = matches.get_one::<PathBuf>("config_file") {
        return Some(path.clone()).filter(|path| !path.as_os_str().is_empty());
    }
    // `check FILE` looks at that file, and at no other.
    if matches.try_contains_id("files").unwrap_or(false) {
        return None;
    }
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".traefik"));
    // Traefik 1.7's order (cmd/traefik/traefik.go).
    let folders = [Some(PathBuf::from("/etc/traefik")), home, Some(PathBuf::from("."))];
    let names = ["traefik.toml", "traefik.yml", "traefik.yaml"];
    let paths =
        folders.into_iter().flatten().flat_map(|folder| names.map(|name| folder.join(name)));
    paths.into_iter().find(|path| path.is_file())
}

/// A settings file larger than this is none.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

fn parsed(path: &Path) -> anyhow::Result<Table> {
    let shown = path.display();
    let cannot = || format!("cannot read the settings in {shown}");
    let meta = std::fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow!("{}: there is no such file; -c names another one", cannot()),
        _ => anyhow!(error).context(cannot()),
    })?;
    if meta.len() > FILE_BYTES_MAX {
        bail!("{}: it is larger than {} MiB", cannot(), FILE_BYTES_MAX >> 20);
    }
    let text = std::fs::read_to_string(path).with_context(cannot)?;
    let language = path.to_str().and_then(Language::of).unwrap_or(Language::Toml);
    language.parse(&text).map_err(|error| anyhow!("{shown}:{}: {}", error.place, error.message))
}

/// Whether the flag takes this value; the error says where it was said.
pub(super) fn check(command: &str, given: &Given) -> anyhow::Result<()> {
    let flag = format!("--{}={}", given.flag, given.value);
    // What else the command wants to know stands elsewhere on its line.
    let alone = |command: clap::Command| command.mut_args(|arg| arg.required(false));
    let cli = Cli::command().mut_subcommand(command, alone);
    match cli.try_get_matches_from(["herder", command, &flag]) {
        Ok(_) => Ok(()),
        Err(error) => Err(anyhow!("{}: {}: {}", given.origin, given.flag, reason(&error))),
    }
}

/// The settings that a command line of `run` stands for, and what of them does not fit together.
///
/// # Errors
/// Why it is no such command line.
pub(super) fn settings_of(args: &[String]) -> Result<(Settings, Vec<Conflict>), String> {
    match Cli::try_parse_from(args).map(|cli| cli.command) {
        Ok(Command::Run(args)) => Ok(args.settings.read()),
        Ok(_) => Err("it is no command line of run".to_owned()),
        Err(error) => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_for(command: &str, typed: &str) -> (String, Table) {
        let args = ["herder", command].into_iter().chain(typed.split_whitespace());
        let args = args.map(OsString::from).collect();
        let (is, tree) = split(args, &own_flags(command), &own_flags("run"));
        let is: Vec<String> =
            is.iter().skip(2).map(|arg| arg.to_string_lossy().into_owned()).collect();
        (is.join(" "), tree)
    }

    #[test]
    fn a_command_takes_the_command_line_of_run() {
        let (is, _) =
            split_for("explain", "--log.level debug --docker.domain a --LOG.format=json web");
        assert_eq!(is, "--docker.domain a web");
        let (is, _) = split_for("explain", "--logLevel DEBUG web");
        assert_eq!(is, "web");
        let (is, _) = split_for("config", "--log.level debug");
        assert_eq!(is, "--log.level debug");
    }

    /// `admin=off!` is a guard.
    fn given(said: &str) -> Vec<Given> {
        let given = |said: &str| {
            let (flag, value) = said.split_once('=').expect("flag=value");
            let guard = value.ends_with('!').then(|| "guarded".to_owned());
            let value = value.trim_end_matches('!').to_owned();
            Given { flag: flag.to_owned(), value, origin: String::new(), guard }
        };
        said.split_whitespace().map(given).collect()
    }

    /// What is kept of Traefik's flags, the catalog's variables and a file, beside our flags and variables.
    #[track_caller]
    fn keeps(own: [&str; 2], layers: [&str; 3], expected: &str) {
        let layers = layers.map(|said| {
            let mut found = Found::default();
            found.given = given(said);
            found
        });
        let kept = match merged(&given(own[0]), &given(own[1]), layers) {
            Ok(Found { given, notes, .. }) => {
                let given =
                    given.into_iter().map(|given| format!("{}={}", given.flag, given.value));
                given.chain(notes).collect::<Vec<_>>().join(" ")
            }
            Err(_) => "refused".to_owned(),
        };
        assert_eq!(kept, expected, "{own:?}");
    }

    #[test]
    fn the_first_that_says_it_counts() {
        keeps(["", ""], ["a=1", "a=2 b=2", "a=3 b=3 c=3"], "a=1 b=2 c=3");
        keeps(["a=0", ""], ["a=1", "b=2", "a=3"], "b=2");
        // A variable of ours goes before the catalog's and a file, not before a flag of Traefik's.
        keeps(["", "a=0 b=0"], ["a=1", "b=2", "b=3 c=3"], "a=1 c=3");
        keeps(["", ""], ["", "", "entryPoints=1 entryPoints=2"], "entryPoints=1 entryPoints=2");
    }

    #[test]
    fn rules_come_from_one_place() {
        keeps(["file.filename=0", ""], ["", "", "file.directory=3 a=3"], "a=3");
        keeps(["", "file.directory=0"], ["", "", "file.main=3"], "");
        // Both of one place exclude each other, and that is told later.
        let both = "file.filename=3 file.directory=3";
        keeps(["", ""], ["", "", both], both);
    }

    #[test]
    fn a_guard_goes_before_what_could_open_the_page() {
        keeps(["", ""], ["", "admin=:2", "admin=off!"], "admin=off guarded");
        keeps(["", "admin=:0"], ["admin=off!", "", ""], "admin=off guarded");
        keeps(["admin=:0", ""], ["admin=off!", "", ""], "refused");
        keeps(["", "admin=:0"], ["", "", "admin=off!"], "refused");
        keeps(["admin=off", ""], ["admin=off!", "", ""], "");
        keeps(["admin=:0", "admin.users=a"], ["admin=off!", "", "admin=:3"], "");
    }

    #[track_caller]
    fn check(typed: &str, kept: &str, foreign: &[&str]) {
        let (is, tree) = split_for("run", typed);
        assert_eq!(is, kept);
        let names: Vec<String> = own_flags("run").into_iter().map(|flag| flag.name).collect();
        let found = traefik::read(&tree, &names, None);
        let given = found
            .given
            .iter()
            .map(|given| format!("{}={} {}", given.flag, given.value, given.origin));
        let all: Vec<String> = given.chain(found.notes).collect();
        assert_eq!(all, foreign, "{typed}");
    }

    #[test]
    fn flags_have_no_case_and_traefiks_are_understood() {
        check(
            "--DOCKER.exposedbydefault=false --docker",
            "--docker.exposedByDefault=false --docker",
            &[],
        );
        check("--c traefik.toml --http :80", "--configFile traefik.toml --http :80", &[]);
        check("--logLevel=DEBUG", "", &["log.level=debug --logLevel"]);
        check("--loglevel WARN --web", "", &["log.level=warn --loglevel", "admin=:8080 --web"]);
        let watch = "--docker.watch is left out: it is always true here.";
        check("--docker.watch=false", "", &["docker=true --docker", watch]);
        check("--docker.watch", "", &["docker=true --docker"]);
        check("--nonsense=1 name", "--nonsense=1 name", &[]);
        check("--web.address=:99", "", &["admin=:99 --web.address"]);
        check(
            "--rancher.metadata.prefix=latest",
            "",
            &[
                "rancher.metadata.version=latest --rancher.metadata.prefix",
                "rancher=true --rancher",
            ],
        );
        check("--entryPoints=Name:http", "--entryPoints=Name:http", &[]);
        check(
            "--accessLog.fields.names.ClientUsername=drop --accesslog.filepath=x",
            "--accessLog.filePath=x",
            &[
                "accessLog.fields.names=ClientUsername=drop --accessLog.fields.names",
                "accessLog=true --accessLog",
            ],
        );
        let otlp = "--tracing.jaeger is left out: traces are told as OTLP over HTTP, which Jaeger, Zipkin's and \
                    Datadog's collectors take: set tracing.otlp.endpoint.";
        check("--tracing --tracing.jaeger.samplingType=const", "", &[otlp]);
        check("-- --logLevel=DEBUG", "-- --logLevel=DEBUG", &[]);
    }
}
