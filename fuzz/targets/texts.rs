//! Any text where people write: rules, labels, files, settings. Nobody panics, nothing hangs, what was read reads the same
//! again, and the index of a table agrees with the plain matcher (`Table::lookup` asserts it).
#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use herder::config::Config;
use herder::dialects::{read, read_document};
use herder::document::Language;
use herder::live::Live;
use herder::model::{Document, Exchange, ProviderName, Service, Snapshot, Trace};
use herder::plan::{Input, plan};
use herder::rules::v1;
use herder::settings::{Constraint, Defaults, EntryPoint, HostTemplate, traefik};
use herder::table::{EntryPoints, compile};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&sort, rest)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match sort % 5 {
        0 => rule(text),
        1 => labels(text),
        2 => file(Language::Toml, text),
        3 => file(Language::Yaml, text),
        _ => {
            let _ = text.parse::<EntryPoint>();
            let _ = Constraint::parse_list(text);
        }
    }
});

/// A rule, a line feed, a host, a line feed, a path and query.
fn rule(text: &str) {
    let mut parts = text.splitn(3, '\n');
    let (rule, host, target) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let Ok(reading) = v1::parse(rule) else { return };
    assert_eq!(v1::parse(reading.rule.text()).as_ref(), Ok(&reading), "{rule}");
    let target = format!("/{}", target.unwrap_or_default());
    let mut exchange = Exchange::new("http", "GET", host.unwrap_or_default(), &target, &());
    let _ = reading.rule.matches(&exchange);
    for step in &reading.chain {
        let _ = step.handler().on_request(&mut exchange);
        assert!(exchange.path.starts_with('/'), "{rule} {target}: {}", exchange.path);
    }
}

fn labels(text: &str) {
    let labels = text.lines().filter_map(|line| line.split_once('='));
    let labels = labels.map(|(key, value)| (format!("traefik.{key}").into(), value.into())).collect();
    let service = Service::running("a", Some("b"), labels);
    for provider in [ProviderName::Docker, ProviderName::Rancher] {
        let _ = read(provider, &service, &DEFAULTS, &mut Trace::on());
    }
    serve(&Snapshot { services: vec![Arc::new(service)], ..Snapshot::default() }, ProviderName::Docker);
}

fn file(language: Language, text: &str) {
    let Ok(tree) = language.parse(text) else { return };
    let _ = traefik::read(&tree, &["http".to_owned(), "docker.domain".to_owned()], Some("f"));
    let document = Document { name: "f".into(), is_main: false, tree, addresses: BTreeMap::new() };
    let _ = read_document(&document);
    let snapshot = Snapshot { documents: vec![Arc::new(document)], ..Snapshot::default() };
    serve(&snapshot, ProviderName::File);
}

fn serve(snapshot: &Snapshot, provider: ProviderName) {
    let (config, problems) = plan(&[Input { provider, snapshot, defaults: &DEFAULTS }], &Config::default());
    let entrypoints = EntryPoints { all: &[], default: &["http".to_owned()] };
    let table = compile(1, Arc::new(config), problems.into(), &Live::default(), entrypoints);
    for (host, target) in [("a.b.local", "/"), ("a", "/a/b?a=b"), ("", "/%61"), ("b.local", "/a/")] {
        let _ = table.lookup(&Exchange::new("http", "GET", host, target, &()));
    }
}

/// Made once: a template takes longer to compile than all the rest.
static DEFAULTS: LazyLock<Defaults> = LazyLock::new(|| Defaults {
        domain: Some("local".to_owned()),
        exposed_by_default: true,
        serve_unchecked: true,
        run_health_checks: true,
        constraints: Vec::new(),
        host_template: HostTemplate::default(),
        network: None,
});
