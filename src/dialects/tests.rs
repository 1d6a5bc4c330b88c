use super::*;
use crate::middleware::Middleware;
use crate::model::{Address, Health, Instance, Kind, Published, State};
use crate::settings::HostTemplate;

use proptest::prelude::*;

fn defaults() -> Defaults {
    Defaults {
        domain: Some("docker.test".to_owned()),
        exposed_by_default: true,
        serve_unchecked: true,
        run_health_checks: false,
        constraints: Vec::new(),
        host_template: HostTemplate::default(),
        network: None,
    }
}

fn instance(name: &str, networks: &[&str], ports: &[u16]) -> Instance {
    let address = |(place, network): (usize, &&str)| Address {
        network: Some((*network).into()),
        ip: [10, 0, 0, u8::try_from(place + 1).expect("few networks")].into(),
        shared: match *network {
            "shared" => Some(true),
            "apart" => Some(false),
            _ => None,
        },
        published: None,
    };
    Instance {
        id: name.into(),
        name: name.into(),
        addresses: networks.iter().enumerate().map(address).collect(),
        exposed_ports: ports.into(),
        detail: None,
        state: State::Running,
        health: None,
    }
}

fn service(name: &str, stack: Option<&str>, labels: &[(&str, &str)]) -> Service {
    Service {
        id: name.into(),
        name: name.into(),
        stack: stack.map(Into::into),
        labels: labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        instances: vec![instance("c1", &["front"], &[80])],
        kind: Kind::Containers,
        state: None,
        health_checked: false,
        health_block: None,
        age_order: Some(1),
    }
}

/// `rule -> servers`, then the problems' messages.
fn drawn(service: &Service) -> (Vec<String>, Vec<String>) {
    let reading = read(ProviderName::Docker, service, &defaults(), &mut Trace::off());
    let line = |frontend: &crate::config::Frontend| {
        let servers = reading.fragment.backends.iter().filter(|(id, _)| *id == frontend.backend);
        let servers = servers.flat_map(|(_, backend)| backend.servers.values());
        let servers: Vec<String> =
            servers.map(|server| format!("{}*{}", server.url(), server.weight)).collect();
        format!("{} -> {}", frontend.rule.text(), servers.join(" "))
    };
    let routes = reading.fragment.frontends.iter().map(|(_, frontend)| line(frontend)).collect();
    let problems = reading.problems.iter().map(|problem| problem.message.clone()).collect();
    (routes, problems)
}

#[track_caller]
fn check(labels: &[(&str, &str)], route: &str, problem: &str) {
    check_service(&service("web", Some("shop"), labels), route, problem);
}

#[track_caller]
fn check_service(service: &Service, route: &str, problem: &str) {
    let (routes, problems) = drawn(service);
    assert_eq!(routes.join(" | "), route, "{:?}", service.labels);
    let all = problems.join(" | ");
    assert_eq!(problem.is_empty(), all.is_empty(), "{:?}: {all}", service.labels);
    assert!(all.contains(problem), "{:?}: {all}", service.labels);
}

const WEB: &str = "Host:web.shop.docker.test -> http://10.0.0.1:80*1";

#[test]
fn a_slip_of_enable_is_told_where_nothing_is_routed_unasked() {
    let closed = Defaults { exposed_by_default: false, ..defaults() };
    let labels = [("traefik.enabel", "true"), ("traefik.prot", "80")];
    // What an image says, and its container's slip beside it.
    let of_image = [("traefik.enable", "false"), labels[0]];
    for (labels, defaults) in [(&labels, &closed), (&of_image, &defaults())] {
        let service = service("web", None, labels);
        let reading = read(ProviderName::Docker, &service, defaults, &mut Trace::off());
        assert!(reading.fragment.frontends.is_empty());
        let [problem] = reading.problems.as_slice() else { panic!("{:?}", reading.problems) };
        assert_eq!(problem.message, "traefik.enabel is not a label we know.");
        assert_eq!(problem.hint.as_deref(), Some("Did you mean traefik.enable?"));
    }
}

#[test]
fn a_rule_is_read_as_one_whatever_stands_beside_it() {
    let rule = ("traefik.frontend.rule", "Host:x.test");
    let route = "Host:x.test -> http://10.0.0.1:80*1";
    check(&[rule, ("traefik.acme", "true")], route, "traefik.acme");
    check(&[rule, ("traefik.path", "/x")], route, "traefik.path");
    let of_segment = ("traefik.s.frontend.rule", "Host:x.test");
    check(&[of_segment, ("traefik.path", "/x")], route, "traefik.path");
    check(&[("traefik.acme", "true")], WEB, "traefik.acme");
    // Without a rule it is rancher-tools' own, which knows no segments: what one of them is to guard stays closed.
    let guard = ("traefik.s.frontend.auth.basic.users", "a:b");
    let service =
        service("web", Some("shop"), &[("traefik.enable", "true"), ("traefik.path", "/x"), guard]);
    let reading = read(ProviderName::Docker, &service, &defaults(), &mut Trace::off());
    let is_closed =
        |(_, f): &(crate::model::FrontendId, std::sync::Arc<crate::config::Frontend>)| {
            f.chain.iter().any(|step| matches!(step, Middleware::Closed(_)))
        };
    assert!(reading.fragment.frontends.iter().all(is_closed), "{:?}", reading.fragment);
}

#[test]
fn a_priority_of_rancher_tools_counts_on_rancher() {
    let rule = ("traefik.frontend.rule", "Host:x.test");
    let labels = [rule, ("traefik.priority", "10"), ("traefik.sticky", "true")];
    let service = service("web", Some("shop"), &labels);
    for (provider, expected, problems) in
        [(ProviderName::Docker, (None, false), 2), (ProviderName::Rancher, (Some(10), true), 0)]
    {
        let reading = read(provider, &service, &defaults(), &mut Trace::off());
        let [(_, frontend)] = reading.fragment.frontends.as_slice() else { panic!("{reading:?}") };
        let [(_, backend)] = reading.fragment.backends.as_slice() else { panic!("{reading:?}") };
        assert_eq!((frontend.priority, backend.sticky.is_some()), expected, "{provider:?}");
        assert_eq!(reading.problems.len(), problems, "{:?}", reading.problems);
    }
}

/// 1.7 does not know these labels, and routes what it is not told to leave out.
#[test]
fn a_label_of_rancher_tools_is_told_where_it_keeps_a_service_from_being_routed() {
    let service = service("web", Some("shop"), &[("traefik.path", "/x")]);
    let mut trace = Trace::on();
    let reading = read(ProviderName::Docker, &service, &defaults(), &mut trace);
    let [problem] = reading.problems.as_slice() else { panic!("{:?}", reading.problems) };
    let said = "traefik.path is a label of rancher-tools, where nothing is routed";
    assert!(problem.message.starts_with(said), "{problem}");
    let steps = trace.of(None).iter().map(|step| step.why.clone()).collect::<Vec<_>>().join(" ");
    assert!(
        steps.contains("not routed here (traefik.path is a label of rancher-tools)"),
        "{steps}"
    );
    let closed = Defaults { exposed_by_default: false, ..defaults() };
    let reading = read(ProviderName::Docker, &service, &closed, &mut Trace::off());
    assert_eq!(reading.problems, []);
}

#[test]
fn an_unknown_label_is_told_once() {
    let key = "traefik.frontend.redirect.metod";
    let service = service("web", None, &[(key, "x")]);
    let mut trace = Trace::on();
    let reading = read(ProviderName::Docker, &service, &defaults(), &mut trace);
    assert_eq!(reading.problems.len(), 1, "{:?}", reading.problems);
    assert!(trace.of(None).iter().all(|step| step.what != key), "{:?}", trace.of(None));
}

#[test]
fn names_become_hosts() {
    check(&[], WEB, "");
    check_service(
        &service("orc-ok", None, &[]),
        "Host:orc-ok.docker.test -> http://10.0.0.1:80*1",
        "",
    );
    let odd = service("Web_One", Some("my_App"), &[]);
    check_service(&odd, "Host:web-one.my-app.docker.test -> http://10.0.0.1:80*1", "");
    let both = "Host:web.shop.a.b,web.shop.c.d -> http://10.0.0.1:80*1";
    check(&[("traefik.domain", "a.b, c.d,")], both, "");
    check(&[("traefik.domain", "a.b,c d")], "Host:web.shop.a.b -> http://10.0.0.1:80*1", "c d");
}

#[test]
fn enable_says_yes_or_no_or_is_a_problem() {
    for on in ["true", "TRUE", "1"] {
        check(&[("traefik.enable", on)], WEB, "");
    }
    for off in ["false", "0", "no", "off"] {
        check(&[("traefik.enable", off)], "", "");
    }
    for odd in ["yes", "", "stack"] {
        check(&[("traefik.enable", odd)], WEB, "neither true nor false");
    }
    // A list of Compose keeps quotation marks.
    check(&[("traefik.enable", "\"true\"")], WEB, "neither true nor false");
    let quoted = service("web", Some("shop"), &[("traefik.enable", "\"true\"")]);
    let reading = read(ProviderName::Docker, &quoted, &defaults(), &mut Trace::off());
    let hint = reading.problems[0].hint.as_deref();
    assert_eq!(hint, Some("Write it without the quotation marks."));
    let message = &reading.problems[0].message;
    assert!(message.starts_with("traefik.enable \"true\" is neither"), "{message}");
    for off in ["\"false\"", "'false'", "\"no\""] {
        check(&[("traefik.enable", off)], "", "true nor false; this is not routed.");
    }
}

/// A port that the image does not expose is a slip more often than not, and all that its clients see is 502.
#[test]
fn a_port_that_is_not_exposed_is_noted() {
    let steps = |port: &'static str, exposed: &[u16], provider| {
        let mut service = service("web", Some("shop"), &[("traefik.port", port)]);
        service.instances[0].exposed_ports = exposed.into();
        let mut trace = Trace::on();
        read(provider, &service, &defaults(), &mut trace);
        let steps = trace.of(Some(0));
        let notes = steps.iter().filter(|step| step.outcome == Outcome::Note);
        notes.map(|step| step.why.clone()).collect::<Vec<_>>().join(" ")
    };
    let why = steps("9999", &[80, 443], ProviderName::Docker);
    assert!(why.starts_with("It exposes 80, 443, and not 9999"), "{why}");
    assert_eq!(steps("443", &[80, 443], ProviderName::Docker), "");
    assert_eq!(steps("9999", &[], ProviderName::Docker), "");
    assert_eq!(steps("9999", &[80], ProviderName::Rancher), "");
}

/// In another case a name says nothing; whoever wrote it meant something all the same.
#[test]
fn names_in_capitals_are_told() {
    check(&[("Traefik.Port", "81")], WEB, "Traefik.Port is not a label we know.");
    for key in ["TRAEFIK.frontend.auth.basic", "Traefik.web.frontend.whiteList.sourceRange"] {
        check(&[(key, "10.0.0.0/8")], WEB, "so its frontend stays closed");
        let service = service("web", Some("shop"), &[(key, "10.0.0.0/8")]);
        let reading = read(ProviderName::Docker, &service, &defaults(), &mut Trace::off());
        let [(_, frontend)] = reading.fragment.frontends.as_slice() else { panic!("{key}") };
        assert!(matches!(*frontend.chain, [Middleware::Closed(_)]), "{key}");
    }
}

#[test]
fn ports_weights_and_protocols() {
    check(&[("traefik.port", " 8080 ")], "Host:web.shop.docker.test -> http://10.0.0.1:8080*1", "");
    for odd in ["80a", "0", "65536", "-1"] {
        check(&[("traefik.port", odd)], "Host:web.shop.docker.test -> ", "is not a port");
    }
    check(&[("traefik.weight", "7")], "Host:web.shop.docker.test -> http://10.0.0.1:80*7", "");
    check(&[("traefik.weight", "abc")], WEB, "traefik.weight \"abc\"");
    check(
        &[("traefik.protocol", "https")],
        "Host:web.shop.docker.test -> https://10.0.0.1:80*1",
        "",
    );
    check(
        &[("traefik.protocol", "HTTPS")],
        &WEB.replace("http://10.0.0.1:80", "https://10.0.0.1:80"),
        "",
    );
    check(&[("traefik.protocol", "gopher")], WEB, "gopher");
    let mut several = service("web", Some("shop"), &[]);
    several.instances = vec![instance("c1", &["front"], &[81, 8080])];
    check_service(&several, "Host:web.shop.docker.test -> http://10.0.0.1:81*1", "the lowest, 81");
    several.instances = vec![instance("c1", &["front"], &[])];
    check_service(&several, "Host:web.shop.docker.test -> ", "exposes no TCP port");
}

#[test]
fn what_is_said_of_balancing_is_checked() {
    let key = |key: &str| format!("traefik.backend.loadbalancer.{key}");
    for (said, value, problem) in [
        ("method", "hash", ""),
        ("method", "random", "traefik.backend.loadbalancer.method \"random\" is not served"),
        ("hashKey", "client.ip", "traefik.backend.loadbalancer.hashKey does nothing"),
        ("slowStart", "30s", ""),
        ("slowStart", "x", "traefik.backend.loadbalancer.slowStart \"x\" is not a time"),
        ("stickiness.sameSite", "none", "none needs stickiness.secure"),
        ("stickiness.secure", "yes", "stickiness.secure \"yes\" is neither true nor false"),
    ] {
        check(&[(&key("stickiness"), "true"), (&key(said), value)], WEB, problem);
    }
    check(&[(&key("stickiness.secure"), "true")], WEB, "does nothing without stickiness");
}

#[test]
fn the_right_network() {
    let with = |networks: &[&str], labels: &[(&str, &str)]| {
        let mut service = service("web", Some("shop"), labels);
        service.instances = vec![instance("c1", networks, &[80])];
        service
    };
    let at = |n: u8| format!("Host:web.shop.docker.test -> http://10.0.0.{n}:80*1");
    let named = [("traefik.docker.network", "b")];
    check_service(&with(&["a", "b"], &named), &at(2), "");
    check_service(&with(&["a", "shop_b"], &named), &at(2), "");
    check_service(&with(&["shop_b", "b"], &named), &at(2), "");
    check_service(&with(&["a", "c"], &named), &at(1), "not in the network \"b\"");
    check_service(&with(&["a", "b"], &[]), &at(1), "several networks");
    check_service(&with(&["a", "shared"], &[]), &at(2), "");
    check_service(&with(&["apart", "shared"], &[]), &at(2), "");
    check_service(&with(&["apart"], &[]), &at(1), "which Herder is not in");
    let named = [("traefik.docker.network", "apart")];
    check_service(&with(&["apart", "shared"], &named), &at(1), "which Herder is not in");
    check_service(&with(&[], &[]), "Host:web.shop.docker.test -> ", "no address");
}

#[test]
fn on_another_machine_only_what_is_published_is_reached() {
    let none = "Host:web.shop.docker.test -> ";
    let with = |inside: u16, outside: Option<u16>| {
        let mut service = service("web", Some("shop"), &[]);
        let mut instance = instance("c1", &["a"], &[80]);
        instance.addresses[0].published = Some([Published { inside, outside }].into());
        service.instances = vec![instance];
        service
    };
    let reached = "Host:web.shop.docker.test -> http://10.0.0.1:32768*1";
    check_service(&with(80, Some(32768)), reached, "");
    check_service(&with(80, None), none, "its port 80 is published on 127.0.0.1 only");
    check_service(&with(81, Some(32768)), none, "its port 80 is not published");
}

#[test]
fn state_and_health_decide() {
    let empty = "Host:web.shop.docker.test -> ";
    let with = |state: State, health: Option<Health>| {
        let mut service = service("web", Some("shop"), &[("traefik.enable", "true")]);
        service.instances[0] = Instance { state, health, ..service.instances[0].clone() };
        service
    };
    check_service(&with(State::Running, Some(Health::Healthy)), WEB, "");
    check_service(&with(State::Running, Some(Health::Failing("starting".into()))), empty, "");
    check_service(&with(State::Stopping, None), empty, "");
    check_service(&with(State::Down("exited".into()), None), empty, "");
    let one_off = with(State::Down(State::ONE_OFF.into()), None);
    let mut trace = Trace::on();
    read(ProviderName::Docker, &one_off, &defaults(), &mut trace);
    let steps = trace.of(Some(0)).iter().map(|step| step.why.clone()).collect::<Vec<_>>().join(" ");
    assert!(steps.contains("started for one command"), "{steps}");
}

#[test]
fn what_protects_and_cannot_be_read_stays_shut() {
    for (key, value, problem) in [
        ("traefik.frontend.auth.basic", "", "protects"),
        ("traefik.frontend.auth.basic", ",", "protects"),
        ("traefik.frontend.auth.basic.usersFile", "", "is empty"),
        ("traefik.frontend.auth.basic.removeHeader", "true", "knows no user"),
        ("traefik.frontend.auth.headerField", "X-User", "keeps nobody out"),
        ("traefik.frontend.auth.forward.address", "auth.test", "no URL"),
        ("traefik.frontend.whiteList.useXForwardedFor", "true", "keeps nobody out"),
        ("traefik.frontend.auth.basic.user", "a:b", "stays closed"),
        ("traefik.frontend.auth.forward.adress", "http://a", "stays closed"),
        ("traefik.frontend.whiteList.sourceRanges", "10.0.0.0/8", "stays closed"),
        ("traefik.frontend.whitelist.sourceRange", "10.0.0.0/8", "stays closed"),
        ("traefik.frontend.whiteList.sourceRange", "10.0.0.0/33", "cannot be read"),
        ("traefik.fronted.auth.basic.users", "a:b", "stays closed"),
        ("traefik.frontned.whiteList.sourceRange", "10.0.0.0/8", "stays closed"),
        ("traefik.web.fronted.auth.basic.users", "a:b", "stays closed"),
    ] {
        let service = service("web", Some("shop"), &[(key, value)]);
        check_service(&service, WEB, problem);
        let reading = read(ProviderName::Docker, &service, &defaults(), &mut Trace::off());
        let chain = &reading.fragment.frontends[0].1.chain;
        assert!(matches!(&**chain, [Middleware::Closed(_)]), "{key}: {chain:?}");
    }
    let user = "ann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=";
    for (key, value) in [
        ("traefik.frontend.auth.basic", user),
        ("traefik.frontend.auth.basic.users", user),
        ("traefik.frontend.auth.basic.usersFile", "/run/secrets/users"),
        ("traefik.frontend.auth.forward.address", "http://auth.test/"),
        ("traefik.frontend.whiteList.sourceRange", "10.0.0.0/8,1.2.3.4"),
        ("traefik.frontend.whitelistSourceRange", "10.0.0.0/8"),
    ] {
        for other in [None, Some(("traefik.path.prefix", "/"))] {
            let labels: Vec<_> =
                [("traefik.enable", "true"), (key, value)].into_iter().chain(other).collect();
            let service = service("web", Some("shop"), &labels);
            let reading = read(ProviderName::Docker, &service, &defaults(), &mut Trace::off());
            let frontend = &reading.fragment.frontends[0].1;
            let is_asked = frontend
                .wishes
                .as_ref()
                .is_some_and(|w| w.auth.is_some() || w.white_list.is_some());
            assert!(frontend.chain.is_empty() && is_asked, "{key} {other:?}");
            assert!(reading.problems.is_empty(), "{:?}", reading.problems);
        }
    }
    check(&[("traefik.prot", "80")], WEB, "not a label we know");
    check(&[("traefik.http.routers.x.rule", "y")], WEB, "Traefik 2 or 3");
    check(&[("traefik.frontend.rule", "Hosst:x")], "", "Hosst");
}

/// Each takes memory, and time at each change.
#[test]
fn too_many_segments_are_a_problem() {
    let keys: Vec<String> = (100..200).map(|n| format!("traefik.part{n}.port")).collect();
    let labels: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "80")).collect();
    let service = service("web", Some("shop"), &labels);
    let reading = read(ProviderName::Docker, &service, &defaults(), &mut Trace::off());
    assert_eq!(reading.fragment.frontends.len(), 32);
    let [problem] = &*reading.problems else { panic!("one of {:?}", reading.problems) };
    assert!(problem.message.contains("part132 and those behind it"), "{}", problem.message);
}

#[test]
fn segments_have_labels_of_their_own() {
    let labels = [
        ("traefik.weight", "3"),
        ("traefik.web.port", "81"),
        ("traefik.web.frontend.rule", "Host:a.test"),
        ("traefik.api.port", "82"),
        ("traefik.api.weight", "x"),
        ("traefik.api.frontend.auth.basic", "a:b"),
    ];
    let service = service("web", Some("shop"), &labels);
    let (routes, problems) = drawn(&service);
    assert_eq!(
        routes,
        [
            "Host:web.shop.docker.test -> http://10.0.0.1:82*1",
            "Host:a.test -> http://10.0.0.1:81*3",
        ]
    );
    let is_said = |word: &str| problems.iter().any(|problem| problem.contains(word));
    assert!(is_said("traefik.api.weight \"x\""), "{problems:?}");
    let reading = read(ProviderName::Docker, &service, &defaults(), &mut Trace::off());
    let names = |provider| {
        let reading = read(provider, &service, &defaults(), &mut Trace::off()).fragment;
        let pair = |((f, frontend), _): (
            &(crate::model::FrontendId, std::sync::Arc<crate::config::Frontend>),
            (),
        )| { format!("{} {}", f.name, frontend.backend.name) };
        reading.frontends.iter().map(|f| pair((f, ()))).collect::<Vec<_>>()
    };
    assert_eq!(
        names(ProviderName::Docker),
        [
            "frontend-api-web-shop-api backend-web-shop-api",
            "frontend-web-web-shop-web backend-web-shop-web"
        ]
    );
    assert_eq!(
        names(ProviderName::Rancher)[0],
        "frontend-web-shop-web-shop-api backend-web-shop-web-shop-api"
    );
    let closed = reading.fragment.frontends.iter().map(|(_, frontend)| frontend.chain.len());
    assert_eq!(closed.collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn a_page_for_nothing_but_what_steps_answer_is_told() {
    let key = "traefik.frontend.errors.login.status";
    let forward = ("traefik.frontend.auth.forward.address", "http://auth.test/");
    let problem = "traefik.frontend.errors.login.status stands for what servers answer: a 401 ";
    for (status, guard, is_told) in [
        ("401", Some(forward), true),
        ("401,403", Some(forward), true),
        ("401,404", Some(forward), false),
        ("401", None, false),
    ] {
        let labels: Vec<_> = [(key, status)].into_iter().chain(guard).collect();
        let service = service("web", Some("shop"), &labels);
        let reading = read(ProviderName::Docker, &service, &defaults(), &mut Trace::off());
        let told = reading.problems.iter().filter(|p| p.message.starts_with(problem)).count();
        assert_eq!(told, usize::from(is_told), "{labels:?}: {:?}", reading.problems);
    }
}

/// `Name:` takes a line away, and 1.7 leaves out what has no colon (label.go, `ParseMapValue`).
#[test]
fn a_header_line_without_a_colon_takes_none_away() {
    let key = "traefik.frontend.headers.customResponseHeaders";
    let service = service("web", Some("shop"), &[(key, "X-A: 1||Server||X-B:")]);
    let reading = read(ProviderName::Docker, &service, &defaults(), &mut Trace::off());
    let wishes = reading.fragment.frontends[0].1.wishes.as_ref().expect("header lines");
    let lines = &wishes.headers.as_ref().expect("header lines").custom_response_headers;
    let lines: Vec<_> = lines.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    assert_eq!(lines, ["X-A:1", "X-B:"]);
    let [problem] = reading.problems.as_slice() else { panic!("{:?}", reading.problems) };
    assert!(problem.message.contains("line 2 has no colon"), "{problem}");
}

#[test]
fn a_name_in_a_file_may_have_dots() {
    let text = "[frontends.f.errors.\"5.xx\"]\nstatus = [\"500-599\"]\nbackend = \"b\"\nquery = \"/\"\n\
        [frontends.f.rateLimit]\nextractorFunc = \"client.ip\"\n\
        [frontends.f.rateLimit.rateSet.\"1.5s\"]\nperiod = \"1500ms\"\naverage = 3\nburst = 3\n\
        [frontends.f.rateLimit.rateSet.\"2.5s\"]\naverage = 3\nburst = 3\n\
        [frontends.f]\nbackend = \"b\"\n[frontends.f.routes.r]\nrule = \"Host:a.test\"\n";
    let tree = crate::document::Language::Toml.parse(text).expect("TOML");
    let addresses = Default::default();
    let document = Document { name: "rules.toml".into(), is_main: false, tree, addresses };
    let reading = read_document(&document);
    let [(_, frontend)] = reading.fragment.frontends.as_slice() else { panic!("{reading:?}") };
    let wishes = frontend.wishes.as_ref().expect("a page and a limit");
    let [(name, page)] = wishes.errors.iter().collect::<Vec<_>>()[..] else { panic!("{wishes:?}") };
    assert_eq!((&**name, &page.status[..]), ("5.xx", &["500-599".to_owned()][..]));
    let limit = wishes.rate_limit.as_ref().expect("a limit");
    assert_eq!(limit.rateset.get("1.5s").map(|rate| rate.period), Some(1_500_000_000));
    let [problem] = reading.problems.as_slice() else { panic!("{:?}", reading.problems) };
    let said = "frontends.f.rateLimit.rateSet.2.5s: its period is missing";
    assert!(problem.message.starts_with(said), "{problem}");
    assert!(problem.origin.to_string().contains("rules.toml:11:"), "{problem}");
}

#[test]
fn what_is_wrong_with_a_guard_is_told_of_that_one() {
    let list = ("traefik.frontend.whitelistSourceRange", "10.0.0.0/8");
    for (key, value, problem) in [
        ("auth.basic.removeHeader", "true", "traefik.frontend.auth.basic.users knows no user"),
        ("auth.forward.trustForwardHeader", "true", "traefik.frontend.auth.forward.address"),
        ("auth.basic", "a", "traefik.frontend.auth.basic "),
    ] {
        let key = format!("traefik.frontend.{key}");
        let service = service("web", Some("shop"), &[list, (&key, value)]);
        let reading = read(ProviderName::Docker, &service, &defaults(), &mut Trace::off());
        let [told, ..] = reading.problems.as_slice() else { panic!("{key} is not told") };
        assert!(told.message.starts_with(problem), "{key}: {told}");
    }
}

/// Clients that were to be sent to https must not be served in clear.
#[test]
fn a_redirect_that_cannot_be_read_closes_its_frontend() {
    let regex = "traefik.frontend.redirect.regex";
    let replacement = "traefik.frontend.redirect.replacement";
    for (labels, problem) in [
        ([(regex, "^http://(?!www)(.*)"), (replacement, "https://$1")], regex),
        ([(regex, "^http://(.*)"), (replacement, "https://{{.Host}}")], replacement),
    ] {
        let service = service("web", Some("shop"), &labels);
        let reading = read(ProviderName::Docker, &service, &defaults(), &mut Trace::off());
        let [told] = reading.problems.as_slice() else { panic!("{:?}", reading.problems) };
        assert!(told.message.starts_with(problem), "{told}");
        assert!(told.message.ends_with("It leads elsewhere: its frontend stays closed."), "{told}");
        let chain = &reading.fragment.frontends[0].1.chain;
        assert!(matches!(&**chain, [Middleware::Closed(_)]), "{problem}: {chain:?}");
    }
}

#[test]
fn a_priority_below_zero_is_as_if_nothing_was_said() {
    let labels = [
        ("traefik.frontend.rule", "Host:a.test;PathPrefix:/admin"),
        ("traefik.frontend.priority", "-1"),
    ];
    let route = "Host:a.test;PathPrefix:/admin -> http://10.0.0.1:80*1";
    check(&labels, route, "traefik.frontend.priority -1 is as if nothing was said");
    let service = service("web", Some("shop"), &labels);
    let reading = read(ProviderName::Docker, &service, &defaults(), &mut Trace::off());
    let (_, frontend) = &reading.fragment.frontends[0];
    assert_eq!(frontend.effective_priority(), 29);
    // What the service says as a whole is told once, however many segments it has.
    let segments = [("traefik.a.port", "81"), ("traefik.b.port", "82"), labels[1]];
    let service = self::service("web", Some("shop"), &segments);
    let reading = read(ProviderName::Docker, &service, &defaults(), &mut Trace::off());
    assert_eq!(reading.problems.len(), 1, "{:?}", reading.problems);
}

/// Traefik 2 and 3 have labels below `traefik.http.`, and 1.7 has segments of that name.
#[test]
fn a_segment_is_called_http() {
    let users = ("traefik.http.frontend.auth.basic.users", "ann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=");
    let labels = [
        ("traefik.http.port", "8181"),
        ("traefik.http.frontend.rule", "Host:a.test"),
        ("traefik.https.port", "8993"),
        ("traefik.https.frontend.rule", "Host:b.test"),
        ("traefik.http.services.web.loadbalancer.server.port", "8080"),
        users,
    ];
    check(
        &labels,
        "Host:a.test -> http://10.0.0.1:8181*1 | Host:b.test -> http://10.0.0.1:8993*1",
        "traefik.http.services.web.loadbalancer.server.port is a label of Traefik 2 or 3",
    );
    let service = service("web", Some("shop"), &labels);
    let reading = read(ProviderName::Docker, &service, &defaults(), &mut Trace::off());
    let frontends = &reading.fragment.frontends;
    let asks = frontends.iter().map(|(_, f)| f.wishes.as_ref().is_some_and(|w| w.auth.is_some()));
    assert_eq!(asks.collect::<Vec<_>>(), [true, false]);
}

#[test]
fn what_a_segment_says_of_its_backend_makes_no_other_segment() {
    let labels = [
        ("traefik.frontend.rule", "Host:a.test"),
        ("traefik.web.port", "81"),
        ("traefik.web.frontend.auth.basic", "a:b"),
        ("traefik.web.backend.healthcheck.port", "8081"),
    ];
    let unknown = "traefik.web.backend.healthcheck.port is not a label we know.";
    check(&labels, "Host:a.test -> http://10.0.0.1:81*1", unknown);
}

#[test]
fn tags_decide_where_there_are_constraints() {
    let constraints = crate::settings::Constraint::parse_list("tag==us-*").expect("a good one");
    let defaults = Defaults { constraints, ..defaults() };
    for (tags, count) in [("us-east, web", 1), ("eu", 0), ("", 0)] {
        let service = service("web", Some("shop"), &[("traefik.tags", tags)]);
        let reading = read(ProviderName::Docker, &service, &defaults, &mut Trace::off());
        assert_eq!(reading.fragment.frontends.len(), count, "{tags}");
    }
}

#[test]
fn a_bare_container_needs_a_domain_or_a_rule() {
    let defaults = Defaults { domain: None, ..defaults() };
    for (labels, count, problems) in [
        (vec![], 0, 0),
        (vec![("traefik.enable", "true")], 0, 1),
        (vec![("traefik.domain", "a.test")], 1, 0),
        (vec![("traefik.frontend.rule", "Path:/a")], 1, 0),
    ] {
        let service = service("web", None, &labels);
        let reading = read(ProviderName::Docker, &service, &defaults, &mut Trace::off());
        assert_eq!(reading.fragment.frontends.len(), count, "{labels:?}");
        assert_eq!(reading.problems.len(), problems, "{labels:?}");
    }
}

/// Labels as people write them, of the service or of one of two segments: a key, and a value that may fit it.
fn label() -> impl Strategy<Value = (String, &'static str)> {
    let segment = prop::sample::select(vec!["", "", "one.", "two."]);
    let values = vec![
        "",
        " ",
        "true",
        "false",
        "1",
        "80",
        "10s",
        "a:b",
        "10.0.0.0/8",
        "Host:a.t",
        "x",
        "http://a.t/",
        "X-A:b",
    ];
    let (key, value) = (prop::sample::select(labels::LABELS), prop::sample::select(values));
    (segment, key, value).prop_map(|(segment, label, value)| {
        let key = label.key.strip_prefix("traefik.").expect("ours").replace(".*", ".x");
        // Of others nobody says that a segment has them.
        let is_its = key.starts_with("frontend.") || key.ends_with(".port") || !key.contains('.');
        (format!("traefik.{}{key}", if is_its { segment } else { "" }), value)
    })
}

proptest! {
    /// What a label says that keeps strangers out holds, or nobody comes in: whatever it says, however it is misspelled, and
    /// whatever else is said.
    #[test]
    fn a_guard_holds_whatever_stands_beside_it(
        others in prop::collection::vec(label(), 0..4),
        segment in prop::sample::select(vec!["", "one."]),
        guard in prop::sample::select(vec![
            "auth.basic", "auth.basic.users", "auth.basic.usersFile", "auth.digest.users", "auth.digest.removeHeader",
            "auth.forward.address", "auth.forward.tls.ca", "auth.headerField", "auth", "Auth.basic.users", "auth.basc.users",
            "basicAuth", "whiteList.sourceRange", "whiteList.useXForwardedFor", "whitelistSourceRange", "whitelist",
        ]),
        value in prop::sample::select(vec!["", "x", "a:b", "a:b:c", "10.0.0.0/8", "http://a.t/", "true", "X-User"]),
        provider in prop::sample::select(vec![ProviderName::Docker, ProviderName::Rancher]),
    ) {
        let guard = format!("traefik.{segment}frontend.{guard}");
        let labels = others.iter().map(|(key, value)| (key.as_str(), *value));
        // Segments are told by the names of their backends.
        let is_name = |key: &str| key.ends_with(".backend") && !key.contains(".errors.");
        let labels = labels.filter(|(key, _)| *key != guard && !is_name(key));
        let labels: Vec<_> = labels.chain([(&*guard, value)]).collect();
        let service = service("web", Some("shop"), &labels);
        let reading = read(provider, &service, &defaults(), &mut Trace::on());
        for (id, frontend) in &reading.fragment.frontends {
            let wishes = frontend.wishes.as_ref();
            let is_guarded = wishes.is_some_and(|w| w.auth.is_some() || w.white_list.is_some());
            let is_closed = frontend.chain.iter().any(|step| matches!(step, Middleware::Closed(_)));
            let is_other = segment == "one." && frontend.backend.name.ends_with("-two");
            prop_assert!(is_guarded || is_closed || is_other, "{} is open: {:?}", id, labels);
        }
    }

    /// Whatever stands in a label: nobody panics, and every host is one that a client can ask for.
    #[test]
    fn any_label_value_is_survived(key in prop::sample::select(labels::LABELS.to_vec()), value in ".*") {
        let key = key.key.replace(".*", ".x");
        let service = service("web", Some("shop"), &[(key.as_str(), value.as_str())]);
        let reading = read(ProviderName::Docker, &service, &defaults(), &mut Trace::on());
        for (_, frontend) in &reading.fragment.frontends {
            for host in frontend.rule.hosts().unwrap_or_default() {
                prop_assert_eq!(crate::model::comparable_host(host), host.as_str());
            }
        }
    }
}
