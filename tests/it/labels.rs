//! Every label of Traefik 1.7, and what its API shows of it: `/api/providers` as types/types.go of 1.7 prints it.
//!
//! What is expected comes from the documentation and the reference facts of 1.7 (docs/configuration/backends/docker.md and
//! rancher.md, provider/label/partial.go), not from what our code prints.

use std::sync::Arc;

use herder::admin::providers;
use herder::config::Config;
use herder::dialects::labels::LABELS;
use herder::model::{
    Address, Health, HealthBlock, Instance, Kind, Labels, Problem, ProviderName, Service, Snapshot,
    State,
};
use herder::plan::{Input, plan};
use herder::settings::{Defaults, HostTemplate};
use serde_json::{Value, json};

/// Labels, a place below the frontend (`f`), the backend (`b`) or the only server (`s`), and what stands there as JSON;
/// nothing where nothing stands there.
const FIXTURES: &[(&str, &str, &str)] = &[
    ("traefik.enable=false", "f", ""),
    ("traefik.domain=a.test", "f/routes/R/rule", r#""Host:web.shop.a.test""#),
    ("traefik.port=8080", "s/url", r#""http://10.0.0.1:8080""#),
    ("traefik.protocol=https", "s/url", r#""https://10.0.0.1:80""#),
    ("traefik.weight=7", "s/weight", "7"),
    ("traefik.weight=x", "s/weight", "1"),
    ("traefik.backend=My.Name", "f/backend", r#""backend-My-Name""#),
    ("traefik.tags=a,b", "f/priority", "0"),
    ("traefik.docker.network=front", "s/url", r#""http://10.0.0.1:80""#),
    ("traefik.frontend.rule=Path:/x", "f/routes/R/rule", r#""Path:/x""#),
    ("traefik.frontend.priority=12", "f/priority", "12"),
    ("traefik.frontend.priority=x", "f/priority", "0"),
    ("traefik.frontend.entryPoints=http,https", "f/entryPoints", r#"["http","https"]"#),
    ("traefik.frontend.passHostHeader=false", "f/passHostHeader", ""),
    ("traefik.frontend.passHostHeader=true", "f/passHostHeader", "true"),
    ("traefik.frontend.value=x", "f/priority", "0"),
    (
        "traefik.portIndex=1 traefik.portName=web traefik.backend.id=x",
        "s/url",
        r#""http://10.0.0.1:80""#,
    ),
    ("traefik.backend.loadbalancer.method=drr", "b/loadBalancer", r#"{"method":"drr"}"#),
    ("traefik.backend.loadbalancer.method=xyz", "b/loadBalancer", r#"{"method":"wrr"}"#),
    (
        "traefik.backend.loadbalancer.sticky=true",
        "b/loadBalancer",
        r#"{"method":"wrr","sticky":true,"stickiness":{"cookieName":"_TRAEFIK_BACKEND"}}"#,
    ),
    ("traefik.backend.loadbalancer.stickiness=true", "b/loadBalancer/stickiness", "{}"),
    (
        "traefik.backend.loadbalancer.stickiness=true traefik.backend.loadbalancer.stickiness.cookieName=c",
        "b/loadBalancer/stickiness",
        r#"{"cookieName":"c"}"#,
    ),
    (
        "traefik.backend.loadbalancer.stickiness.cookieName=c",
        "b/loadBalancer",
        r#"{"method":"wrr"}"#,
    ),
    (
        "traefik.backend.loadbalancer.method=hash traefik.backend.loadbalancer.hashKey=request.header.X-User \
         traefik.backend.loadbalancer.slowStart=30s",
        "b/loadBalancer",
        r#"{"method":"hash","hashKey":"request.header.x-user","slowStart":"30s"}"#,
    ),
    (
        "traefik.backend.loadbalancer.stickiness=true traefik.backend.loadbalancer.stickiness.secure=true \
         traefik.backend.loadbalancer.stickiness.httpOnly=false traefik.backend.loadbalancer.stickiness.sameSite=none",
        "b/loadBalancer/stickiness",
        r#"{"secure":true,"httpOnly":false,"sameSite":"none"}"#,
    ),
    ("traefik.backend.loadbalancer.swarm=true", "b/loadBalancer", r#"{"method":"wrr"}"#),
    (
        "traefik.backend.circuitbreaker.expression=NetworkErrorRatio()>0.5",
        "b/circuitBreaker",
        r#"{"expression":"NetworkErrorRatio()>0.5"}"#,
    ),
    ("traefik.backend.healthcheck.path=/h", "b/healthCheck", r#"{"path":"/h"}"#),
    ("traefik.backend.healthcheck.port=90", "b/healthCheck", ""),
    (
        "traefik.backend.healthcheck.path=/h traefik.backend.healthcheck.timeout=2s \
         traefik.backend.healthcheck.rise=2 traefik.backend.healthcheck.fall=3 \
         traefik.backend.healthcheck.status=200-299,304",
        "b/healthCheck",
        r#"{"path":"/h","timeout":"2s","rise":2,"fall":3,"status":["200-299","304"]}"#,
    ),
    // Nothing here comes from Rancher with a check of its own.
    ("traefik.backend.healthcheck.rancher=true", "b/healthCheck", ""),
    (
        "traefik.backend.healthcheck.path=/h traefik.backend.healthcheck.port=90 \
         traefik.backend.healthcheck.interval=5s traefik.backend.healthcheck.scheme=http \
         traefik.backend.healthcheck.hostname=a.b traefik.backend.healthcheck.headers=x-a:1||B:2",
        "b/healthCheck",
        r#"{"path":"/h","port":90,"interval":"5s","scheme":"http","hostname":"a.b","headers":{"X-A":"1","B":"2"}}"#,
    ),
    (
        "traefik.backend.maxconn.amount=10",
        "b/maxConn",
        r#"{"amount":10,"extractorFunc":"request.host"}"#,
    ),
    ("traefik.backend.maxconn.extractorfunc=client.ip", "b/maxConn", ""),
    (
        "traefik.backend.maxconn.amount=10 traefik.backend.maxconn.extractorfunc=client",
        "b/maxConn",
        "",
    ),
    (
        "traefik.backend.maxconn.amount=10 traefik.backend.maxconn.extractorfunc=client.ip",
        "b/maxConn/extractorFunc",
        r#""client.ip""#,
    ),
    (
        "traefik.backend.timeout.connect=1s traefik.backend.timeout.response=2s \
         traefik.backend.timeout.body=3s traefik.backend.attempts=4",
        "b/timeouts",
        r#"{"connect":"1s","response":"2s","body":"3s","attempts":4}"#,
    ),
    (
        "traefik.backend.buffering.maxRequestBodyBytes=1 traefik.backend.buffering.memRequestBodyBytes=2 \
         traefik.backend.buffering.maxResponseBodyBytes=3 traefik.backend.buffering.memResponseBodyBytes=4 \
         traefik.backend.buffering.retryExpression=IsNetworkError()",
        "b/buffering",
        r#"{"maxRequestBodyBytes":1,"memRequestBodyBytes":2,"maxResponseBodyBytes":3,"memResponseBodyBytes":4,"retryExpression":"IsNetworkError()"}"#,
    ),
    (
        "traefik.backend.responseForwarding.flushInterval=10ms",
        "b/forwardingResponse",
        r#"{"flushInterval":"10ms"}"#,
    ),
    // Users are never shown.
    ("traefik.frontend.auth.basic=a:b,c:d", "f/auth", r#"{"basic":{}}"#),
    (
        "traefik.frontend.auth.basic.users=a:b traefik.frontend.auth.basic.usersFile=/u \
         traefik.frontend.auth.basic.removeHeader=true traefik.frontend.auth.headerField=X-U",
        "f/auth",
        r#"{"basic":{"usersFile":"/u","removeHeader":true},"headerField":"X-U"}"#,
    ),
    ("traefik.frontend.auth.headerField=X-U", "f/auth", ""),
    (
        "traefik.frontend.auth.digest.users=ann:r:d41d8cd98f00b204e9800998ecf8427e traefik.frontend.auth.removeHeader=true",
        "f/auth/digest/removeHeader",
        "true",
    ),
    (
        "traefik.frontend.auth.digest.users=a:r:b traefik.frontend.auth.digest.usersFile=/u \
         traefik.frontend.auth.digest.removeHeader=true",
        "f/auth",
        r#"{"digest":{"usersFile":"/u","removeHeader":true}}"#,
    ),
    (
        "traefik.frontend.auth.forward.address=http://a/ traefik.frontend.auth.forward.authResponseHeaders=X-A,X-B \
         traefik.frontend.auth.forward.trustForwardHeader=true",
        "f/auth/forward",
        r#"{"address":"http://a/","authResponseHeaders":["X-A","X-B"],"trustForwardHeader":true}"#,
    ),
    (
        "traefik.frontend.auth.forward.tls.ca=/ca traefik.frontend.auth.forward.tls.caOptional=true \
         traefik.frontend.auth.forward.tls.cert=/c traefik.frontend.auth.forward.tls.key=/k \
         traefik.frontend.auth.forward.tls.insecureSkipVerify=true",
        "f/auth/forward",
        r#"{"tls":{"ca":"/ca","caOptional":true,"cert":"/c","insecureSkipVerify":true}}"#,
    ),
    // Basic goes before forward.
    (
        "traefik.frontend.auth.basic=a:b traefik.frontend.auth.forward.address=http://a/",
        "f/auth",
        r#"{"basic":{}}"#,
    ),
    (
        "traefik.frontend.whiteList.sourceRange=10.0.0.0/8,1.2.3.4 traefik.frontend.whiteList.useXForwardedFor=true",
        "f/whiteList",
        r#"{"sourceRange":["10.0.0.0/8","1.2.3.4"],"useXForwardedFor":true}"#,
    ),
    (
        "traefik.frontend.whitelistSourceRange=10.0.0.0/8",
        "f/whiteList",
        r#"{"sourceRange":["10.0.0.0/8"]}"#,
    ),
    (
        "traefik.frontend.errors.My.status=404,500-599 traefik.frontend.errors.My.backend=pages \
         traefik.frontend.errors.My.query=/{status}.html",
        "f/errors",
        r#"{"My":{"status":["404","500-599"],"backend":"backend-pages","query":"/{status}.html"}}"#,
    ),
    (
        "traefik.frontend.rateLimit.extractorFunc=client.ip traefik.frontend.rateLimit.rateSet.a.period=6 \
         traefik.frontend.rateLimit.rateSet.a.average=7 traefik.frontend.rateLimit.rateSet.a.burst=8",
        "f/ratelimit",
        r#"{"extractorFunc":"client.ip","rateset":{"a":{"period":6000000000,"average":7,"burst":8}}}"#,
    ),
    ("traefik.frontend.rateLimit.rateSet.a.burst=8", "f/ratelimit", ""),
    (
        "traefik.frontend.maintenance=10m traefik.frontend.maintenanceExcept=10.0.0.0/8,10.1.2.3",
        "f/maintenance",
        r#"{"retryAfter":"10m","except":["10.0.0.0/8","10.1.2.3"]}"#,
    ),
    ("traefik.frontend.maintenance=true", "f/maintenance", "{}"),
    ("traefik.frontend.maintenance=0 traefik.frontend.maintenanceExcept=::1", "f/maintenance", ""),
    (
        "traefik.frontend.redirect.entryPoint=https traefik.frontend.redirect.permanent=true",
        "f/redirect",
        r#"{"entryPoint":"https","permanent":true}"#,
    ),
    (
        "traefik.frontend.redirect.regex=^http://a/(.*) traefik.frontend.redirect.replacement=http://b/$1",
        "f/redirect",
        r#"{"regex":"^http://a/(.*)","replacement":"http://b/$1"}"#,
    ),
    ("traefik.frontend.redirect.regex=^http://a/(.*)", "f/redirect", ""),
    (
        "traefik.frontend.headers.customRequestHeaders=x-one:1||Two:2:3 \
         traefik.frontend.headers.customResponseHeaders=Three:",
        "f/headers",
        r#"{"customRequestHeaders":{"X-One":"1","Two":"2:3"},"customResponseHeaders":{"Three":""}}"#,
    ),
    (
        "traefik.frontend.headers.allowedHosts=a,b traefik.frontend.headers.hostsProxyHeaders=c \
         traefik.frontend.headers.SSLRedirect=true traefik.frontend.headers.SSLTemporaryRedirect=true \
         traefik.frontend.headers.SSLHost=h traefik.frontend.headers.SSLForceHost=true \
         traefik.frontend.headers.SSLProxyHeaders=X:y traefik.frontend.headers.STSSeconds=31 \
         traefik.frontend.headers.STSIncludeSubdomains=true traefik.frontend.headers.STSPreload=true \
         traefik.frontend.headers.forceSTSHeader=true",
        "f/headers",
        r#"{"allowedHosts":["a","b"],"hostsProxyHeaders":["c"],"sslRedirect":true,"sslTemporaryRedirect":true,
            "sslHost":"h","sslForceHost":true,"sslProxyHeaders":{"X":"y"},"stsSeconds":31,
            "stsIncludeSubdomains":true,"stsPreload":true,"forceSTSHeader":true}"#,
    ),
    (
        "traefik.frontend.headers.frameDeny=true traefik.frontend.headers.customFrameOptionsValue=v \
         traefik.frontend.headers.contentTypeNosniff=true traefik.frontend.headers.browserXSSFilter=true \
         traefik.frontend.headers.customBrowserXSSValue=w traefik.frontend.headers.contentSecurityPolicy=x \
         traefik.frontend.headers.publicKey=y traefik.frontend.headers.referrerPolicy=z \
         traefik.frontend.headers.isDevelopment=true",
        "f/headers",
        r#"{"frameDeny":true,"customFrameOptionsValue":"v","contentTypeNosniff":true,"browserXssFilter":true,
            "customBrowserXSSValue":"w","contentSecurityPolicy":"x","publicKey":"y","referrerPolicy":"z",
            "isDevelopment":true}"#,
    ),
    // Herder's own.
    (
        "traefik.frontend.headers.accessControlAllowOrigin=https://A.test:443,http://b.test:81 \
         traefik.frontend.headers.accessControlAllowMethods=PUT,DELETE \
         traefik.frontend.headers.accessControlAllowHeaders=X-A \
         traefik.frontend.headers.accessControlExposeHeaders=X-B \
         traefik.frontend.headers.accessControlAllowCredentials=true \
         traefik.frontend.headers.accessControlMaxAge=600",
        "f/headers",
        r#"{"accessControlAllowOrigin":["https://a.test","http://b.test:81"],
            "accessControlAllowMethods":["PUT","DELETE"],"accessControlAllowHeaders":["X-A"],
            "accessControlExposeHeaders":["X-B"],"accessControlAllowCredentials":true,"accessControlMaxAge":600}"#,
    ),
    ("traefik.frontend.compress=true", "f/compress", "true"),
    ("traefik.frontend.compress=false", "f/compress", ""),
    ("traefik.frontend.passTLSCert=true", "f/passTLSCert", "true"),
    (
        "traefik.frontend.passTLSClientCert.pem=true traefik.frontend.passTLSClientCert.infos.notBefore=true \
         traefik.frontend.passTLSClientCert.infos.notAfter=true traefik.frontend.passTLSClientCert.infos.sans=true",
        "f/passTLSClientCert",
        r#"{"pem":true,"infos":{"notAfter":true,"notBefore":true,"sans":true}}"#,
    ),
    (
        "traefik.frontend.passTLSClientCert.infos.subject.commonName=true \
         traefik.frontend.passTLSClientCert.infos.subject.country=true \
         traefik.frontend.passTLSClientCert.infos.subject.domainComponent=true \
         traefik.frontend.passTLSClientCert.infos.subject.locality=true \
         traefik.frontend.passTLSClientCert.infos.subject.organization=true \
         traefik.frontend.passTLSClientCert.infos.subject.province=true \
         traefik.frontend.passTLSClientCert.infos.subject.serialNumber=true",
        "f/passTLSClientCert/infos/subject",
        r#"{"commonName":true,"country":true,"domainComponent":true,"locality":true,"organization":true,
            "province":true,"serialNumber":true}"#,
    ),
    // 1.7's Rancher template shows the subject's parts here.
    (
        "traefik.frontend.passTLSClientCert.infos.issuer.commonName=true \
         traefik.frontend.passTLSClientCert.infos.issuer.country=false \
         traefik.frontend.passTLSClientCert.infos.issuer.domainComponent=true \
         traefik.frontend.passTLSClientCert.infos.issuer.locality=true \
         traefik.frontend.passTLSClientCert.infos.issuer.organization=true \
         traefik.frontend.passTLSClientCert.infos.issuer.province=true \
         traefik.frontend.passTLSClientCert.infos.issuer.serialNumber=true",
        "f/passTLSClientCert/infos/issuer",
        r#"{"commonName":true,"country":false,"domainComponent":true,"locality":true,"organization":true,
            "province":true,"serialNumber":true}"#,
    ),
    // What cannot be read is left out, and costs nothing else.
    (
        "traefik.frontend.headers.STSSeconds=x traefik.frontend.headers.frameDeny=true",
        "f/headers",
        r#"{"frameDeny":true}"#,
    ),
    ("traefik.backend.maxconn.amount=many", "b/maxConn", ""),
    ("traefik.backend.circuitbreaker.expression=NetworkErorRatio()>0.5", "b/circuitBreaker", ""),
    ("traefik.frontend.rateLimit.extractorFunc=client.ipp", "f/ratelimit", ""),
    (
        "traefik.frontend.errors.a.status=5xx traefik.frontend.errors.a.query=/",
        "f/errors/a/status",
        "",
    ),
];

fn labels(text: &str) -> Labels {
    let pairs = text.split_whitespace().map(|pair| pair.split_once('=').expect("key=value"));
    pairs.map(|(k, v)| (k.into(), v.into())).collect()
}

fn service(labels: Labels) -> Service {
    let instance = Instance {
        id: "c1".into(),
        name: "shop_web_1".into(),
        addresses: [Address {
            network: Some("front".into()),
            ip: [10, 0, 0, 1].into(),
            shared: None,
            published: None,
        }]
        .into(),
        exposed_ports: [80].into(),
        detail: None,
        state: State::Running,
        health: Some(Health::Healthy),
    };
    Service {
        id: "c1".into(),
        name: "web".into(),
        stack: Some("shop".into()),
        labels,
        instances: vec![instance],
        kind: Kind::Containers,
        state: None,
        health_checked: true,
        health_block: None,
        age_order: Some(1),
    }
}

fn planned(provider: ProviderName, services: Vec<Service>) -> (Value, Vec<Problem>) {
    let defaults = Defaults {
        domain: Some("local".to_owned()),
        exposed_by_default: true,
        serve_unchecked: true,
        run_health_checks: false,
        constraints: Vec::new(),
        host_template: HostTemplate::default(),
        network: None,
    };
    let services = services.into_iter().map(Arc::new).collect();
    let snapshot = Snapshot { services, ..Snapshot::default() };
    let input = Input { provider, snapshot: &snapshot, defaults: &defaults };
    let (config, problems) = plan(&[input], &Config::default());
    (providers::of(&config, provider, &["http".to_owned()]), problems)
}

fn only<'v>(value: &'v Value, key: &str) -> Option<(&'v String, &'v Value)> {
    value.get(key)?.as_object()?.iter().next()
}

#[track_caller]
fn check(provider: ProviderName, text: &str, place: &str, expected: &str) {
    let (api, _) = planned(provider, vec![service(labels(text))]);
    let (root, below) = place.split_at(1);
    let frontend = only(&api, "frontends");
    let backend = only(&api, "backends").map(|(_, backend)| backend);
    let root = match root {
        "f" => frontend.map(|(_, frontend)| frontend),
        "b" => backend,
        _ => backend.and_then(|b| only(b, "servers")).map(|(_, server)| server),
    };
    let route = frontend.map(|(name, _)| format!("route-{name}")).unwrap_or_default();
    let found = root.and_then(|root| root.pointer(&below.replace("/R/", &format!("/{route}/"))));
    let expected = (!expected.is_empty()).then(|| serde_json::from_str(expected).expect("JSON"));
    assert_eq!(found, expected.as_ref(), "{text}");
}

#[test]
fn each_label_is_shown_as_traefik_shows_it() {
    for (text, place, expected) in FIXTURES {
        check(ProviderName::Docker, text, place, expected);
        if !text.contains("traefik.docker") {
            check(ProviderName::Rancher, text, place, expected);
        }
    }
}

#[test]
fn each_label_has_a_fixture() {
    let is_tools = |key: &str| herder::dialects::labels::RANCHER_TOOLS_OWN.contains(&key);
    // Those of rancher-tools have their tests beside the dialect.
    let others = LABELS
        .iter()
        .filter(|l| !is_tools(l.key) && !["traefik.priority", "traefik.sticky"].contains(&l.key));
    for label in others {
        let has = |(text, ..): &&(&str, &str, &str)| {
            text.split_whitespace()
                .any(|pair| pair.split_once('=').is_some_and(|(key, _)| label.is(key)))
        };
        assert!(FIXTURES.iter().find(has).is_some(), "{} has no fixture", label.key);
    }
}

#[test]
fn each_frontend_label_works_in_a_segment() {
    for (text, place, expected) in FIXTURES.iter().filter(|(_, place, _)| place.starts_with("f/")) {
        let pairs = text
            .split_whitespace()
            .map(|pair| pair.replacen("traefik.frontend.", "traefik.seg.frontend.", 1));
        let text = format!("traefik.seg.port=80 {}", pairs.collect::<Vec<_>>().join(" "));
        if !text.contains("traefik.backend=") {
            check(ProviderName::Docker, &text, place, expected);
        }
    }
}

/// A whole answer, name by name: provider/docker/config.go and provider/rancher/config.go of 1.7.
#[test]
fn names_are_those_of_traefik() {
    let text = "traefik.a.port=81 traefik.a.frontend.rule=Host:a.local traefik.b.port=82";
    let frontend = |backend: &str, name: &str, rule: &str| {
        json!({"backend": backend, "basicAuth": null, "entryPoints": ["http"], "passHostHeader": true, "priority": 0,
            "routes": {format!("route-{name}"): {"rule": rule}}})
    };
    let backend = |name: &str, port: u16| {
        let server = json!({"url": format!("http://10.0.0.1:{port}"), "weight": 1});
        json!({"loadBalancer": {"method": "wrr"}, "servers": {name: server}})
    };
    let (docker, _) = planned(ProviderName::Docker, vec![service(labels(text))]);
    // printf http://10.0.0.1:81 | md5sum
    let (a, b) = (
        "server-shop-web-1-HASH81".replace("HASH81", &md5("http://10.0.0.1:81")),
        "server-shop-web-1-HASH82".replace("HASH82", &md5("http://10.0.0.1:82")),
    );
    assert_eq!(
        docker,
        json!({
            "backends": {"backend-web-shop-a": backend(&a, 81), "backend-web-shop-b": backend(&b, 82)},
            "frontends": {
                "frontend-a-web-shop-a": frontend("backend-web-shop-a", "frontend-a-web-shop-a", "Host:a.local"),
                "frontend-b-web-shop-b": frontend("backend-web-shop-b", "frontend-b-web-shop-b", "Host:web.shop.local"),
            },
        })
    );
    let (rancher, _) = planned(ProviderName::Rancher, vec![service(labels(text))]);
    let (a, b) = ("web-shop-web-shop-a", "web-shop-web-shop-b");
    assert_eq!(
        rancher,
        json!({
            "backends": {format!("backend-{a}"): backend("shop_web_1", 81), format!("backend-{b}"): backend("shop_web_1", 82)},
            "frontends": {
                format!("frontend-{a}"): frontend(&format!("backend-{a}"), &format!("frontend-{a}"), "Host:a.local"),
                format!("frontend-{b}"): frontend(&format!("backend-{b}"), &format!("frontend-{b}"), "Host:web.shop.local"),
            },
        })
    );
}

fn md5(text: &str) -> String {
    let output = std::process::Command::new("sh")
        .args(["-c", "printf %s \"$1\" | openssl md5 -r", "sh", text])
        .output()
        .expect("openssl runs");
    String::from_utf8(output.stdout)
        .expect("text")
        .split_whitespace()
        .next()
        .expect("a digest")
        .to_owned()
}

/// One bad label among a thousand good services costs itself.
#[test]
fn one_bad_label_costs_only_itself() {
    for bad in [
        "traefik.frontend.rule=Hosst:x",
        "traefik.frontend.rule=HostRegexp:{a:(}",
        "traefik.frontend.rule=Host:q\".local",
        "traefik.port=80a",
        "traefik.frontend.redirect.regex=(",
        "traefik.frontend.auth.basic=",
    ] {
        let services = (0..1_000).map(|n| {
            let mut service = service(labels(if n == 500 { bad } else { "traefik.enable=true" }));
            (service.id, service.name) = (format!("c{n}").into(), format!("web{n}").into());
            service
        });
        let (api, problems) = planned(ProviderName::Docker, services.collect());
        let frontends = api["frontends"].as_object().expect("frontends");
        let is_good = |n: &usize| {
            let name = format!("frontend-Host-web{n}-shop-local");
            let backend = &api["backends"][format!("backend-web{n}-shop")];
            frontends.contains_key(&name)
                && backend["servers"].as_object().is_some_and(|s| s.len() == 1)
        };
        assert_eq!((0..1_000).filter(|&n| n != 500).filter(is_good).count(), 999, "{bad}");
        assert_eq!(problems.len(), 1, "{bad}: {problems:?}");
    }
}

/// Two values of one sort are joined by a comma; a semicolon asks for both at once.
#[test]
fn a_rule_that_no_request_can_fit_is_told() {
    for (rule, told) in [
        ("Host:a.t;Host:b.t,c.t", Some("Write Host:a.t,b.t,c.t where one of them is enough.")),
        ("Host:a.t;Method:GET;Method:PUT", Some("Write Method:GET,PUT where")),
        ("Host:a.t;Path:/a;Host:b.t,a.t", None),
        ("HostRegexp:{a:[a-z]+}.t;Host:a.t", None),
    ] {
        let text = format!("traefik.frontend.rule={rule}");
        let (_, problems) = planned(ProviderName::Docker, vec![service(labels(&text))]);
        let hints: Vec<_> = problems.iter().map(|problem| problem.hint.as_deref()).collect();
        match told {
            None => assert_eq!(problems, [], "{rule}"),
            Some(told) => {
                assert!(
                    hints.len() == 1 && hints[0].is_some_and(|hint| hint.contains(told)),
                    "{problems:?}"
                );
            }
        }
    }
}

/// A setting of a check that cannot be used costs itself, and its owner is told.
#[test]
fn what_is_wrong_with_a_check_is_told() {
    let path = "traefik.backend.healthcheck.path=/h";
    for (text, shown, told) in [
        (path.to_owned(), true, None),
        (
            format!("{path} traefik.backend.healthcheck.interval=soon"),
            true,
            Some("healthcheck.interval"),
        ),
        (format!("{path} traefik.backend.healthcheck.interval=1ms"), true, Some("too short")),
        (format!("{path} traefik.backend.healthcheck.port=70000"), true, Some("is not a port")),
        (
            format!("{path} traefik.backend.healthcheck.scheme=ftp"),
            true,
            Some("\"ftp\" is not served"),
        ),
        (format!("{path} traefik.backend.healthcheck.fall=1000"), true, Some("not from 1 to 100")),
        (format!("{path} traefik.backend.healthcheck.status=all"), true, Some("no status")),
        (
            format!("{path} traefik.backend.healthcheck.rancher=maybe"),
            true,
            Some("neither true nor false"),
        ),
        ("traefik.backend.healthcheck.interval=5s".to_owned(), false, Some("nothing is checked")),
    ] {
        let (api, problems) = planned(ProviderName::Docker, vec![service(labels(&text))]);
        let backend = only(&api, "backends").map(|(_, backend)| backend).expect("a backend");
        assert_eq!(backend.get("healthCheck").is_some(), shown, "{text}");
        let messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
        match told {
            None => assert_eq!(messages, [""; 0], "{text}"),
            Some(told) => {
                assert!(matches!(messages[..], [one] if one.contains(told)), "{text}: {messages:?}")
            }
        }
    }
}

/// Rancher's block is run by us only where a label, or the setting, asks for it; a path of a label goes before it.
#[test]
fn ranchers_own_check_is_taken_where_that_is_asked_for() {
    let block = HealthBlock {
        port: 81,
        interval_ms: 2_000,
        rise: 2,
        request_line: "GET \"/up\" \"HTTP/1.0\"".to_owned(),
        ..HealthBlock::default()
    };
    let own =
        r#"{"path":"/up","port":81,"interval":"2000ms","rise":2,"method":"GET","http10":true}"#;
    for (text, expected) in [
        ("a=b", ""),
        ("traefik.backend.healthcheck.rancher=true", own),
        (
            "traefik.backend.healthcheck.rancher=true traefik.backend.healthcheck.path=/h",
            r#"{"path":"/h"}"#,
        ),
    ] {
        let mut service = service(labels(text));
        service.health_block = Some(Box::new(block.clone()));
        let (api, problems) = planned(ProviderName::Rancher, vec![service]);
        assert_eq!(problems, [], "{text}");
        let backend = only(&api, "backends").map(|(_, backend)| backend).expect("a backend");
        let expected =
            (!expected.is_empty()).then(|| serde_json::from_str(expected).expect("JSON"));
        assert_eq!(backend.get("healthCheck").cloned(), expected, "{text}");
    }
}
