//! What is measured, and where it is told: `/metrics`, `/health`, `/api/errors` and the page, from real requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use herder::admin::metrics::{FAMILIES, Kind};
use herder::live::Thresholds;
use herder::settings::Buckets;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::eventually;
use crate::harness::proxy::{Watched, config, edited, settings};
use crate::harness::raw::{OK, Origin, read};

const BROKEN: &[u8] = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n";

/// Waits until a sample has this value: an answer is counted when it has gone out.
async fn counts(watched: &Watched, sample: &str, value: f64) {
    eventually(&format!("{sample} is {value}"), || async {
        samples(watched).await.get(sample) == Some(&value)
    })
    .await;
}

async fn samples(watched: &Watched) -> BTreeMap<String, f64> {
    parse(&watched.page("/metrics").await)
}

/// Reads Prometheus's text format strictly: each family has its head once and before its samples, each series is there once.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let (mut family, mut seen) = (String::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split(' ').next().expect("a name").to_owned();
            assert!(!seen.contains(&family), "{family} twice");
            seen.push(family.clone());
            let kind =
                lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {family} ")));
            assert!(kind.is_some_and(|kind| ["counter", "gauge", "histogram"].contains(&kind)));
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let name = series.split('{').next().expect("a name");
        let rest =
            name.strip_prefix(&family).unwrap_or_else(|| panic!("{line} is not of {family}"));
        assert!(["", "_bucket", "_sum", "_count"].contains(&rest), "{line}");
        let known = samples.insert(series.to_owned(), value.parse().expect("a number"));
        assert_eq!(known, None, "{series} twice");
    }
    samples
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address")
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_told_as_traefik_1_7_tells_them() {
    let (good, bad) = (Origin::start(OK, false).await, Origin::start(BROKEN, false).await);
    let watched = Watched::start(
        settings(),
        &[("Host:web.local", &[good.addr]), ("Host:bad.local", &[bad.addr])],
    );
    for _ in 0..3 {
        assert!(watched.get("web.local", "/").await.starts_with("HTTP/1.1 200 "));
    }
    assert!(watched.get("bad.local", "/").await.starts_with("HTTP/1.1 500 "));
    assert!(watched.get("unknown.local", "/").await.starts_with("HTTP/1.1 404 "));
    let odd = "BREW / HTTP/1.1\r\nHost: web.local\r\nAccept: a/b, text/event-stream\r\nConnection: close\r\n\r\n";
    assert!(watched.ask(odd).await.starts_with("HTTP/1.1 200 "));

    let at = |name: &str, code: u16, method: &str, protocol: &str, whose: &str| {
        format!("{name}{{code=\"{code}\",method=\"{method}\",protocol=\"{protocol}\",{whose}}}")
    };
    let (entry, backend) = ("traefik_entrypoint_requests_total", "traefik_backend_requests_total");
    let (http, zero, one) =
        ("entrypoint=\"http\"", "backend=\"backend-0\"", "backend=\"backend-1\"");
    counts(&watched, &at(entry, 200, "GET", "http", http), 3.0).await;
    counts(&watched, &at(entry, 500, "GET", "http", http), 1.0).await;
    counts(&watched, &at(entry, 404, "GET", "http", http), 1.0).await;
    counts(&watched, &at(entry, 200, "EXTENSION_METHOD", "sse", http), 1.0).await;
    counts(&watched, &at(backend, 200, "GET", "http", zero), 3.0).await;
    counts(&watched, &at(backend, 500, "GET", "http", one), 1.0).await;
    let samples = samples(&watched).await;
    let duration = "traefik_backend_request_duration_seconds";
    let buckets = ["0.1", "0.3", "1.2", "5", "+Inf"].map(|bound| {
        let le = format!("{zero},le=\"{bound}\"");
        samples[&at(&format!("{duration}_bucket"), 200, "GET", "http", &le)]
    });
    assert!(buckets.is_sorted() && buckets[4] == 3.0, "{buckets:?}");
    assert_eq!(samples[&at(&format!("{duration}_count"), 200, "GET", "http", zero)], 3.0);
    assert!(samples[&at(&format!("{duration}_sum"), 200, "GET", "http", zero)] > 0.0);
    assert_eq!(
        samples["herder_frontend_failures_total{frontend=\"docker/frontend-1\",cause=\"server_error\"}"],
        1.0
    );
    let up = format!("traefik_backend_server_up{{{zero},url=\"http://{}\"}}", good.addr);
    assert_eq!(samples.get(&up), Some(&1.0), "{samples:#?}");
    // What came has ended.
    let open =
        "traefik_entrypoint_open_connections{method=\"GET\",protocol=\"http\",entrypoint=\"http\"}";
    assert_eq!(samples[open], 0.0);
    assert_eq!(samples["traefik_config_reloads_total"], 1.0);
    assert!(samples["traefik_config_last_reload_success"] > 1.5e9);
    // Every name is in the list that the docs have.
    for series in samples.keys() {
        let name = series.split('{').next().expect("a name");
        let is_known = |name: &str| FAMILIES.iter().any(|family| family.name == name);
        let of_histogram =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        assert!(is_known(name) || of_histogram.is_some_and(is_known), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_under_way_and_buckets_of_ones_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let silent = listener.local_addr().expect("an address");
    let mut settings = settings();
    settings.metrics.buckets = Buckets::new(&[0.000_001, 60.0]).expect("they grow");
    settings.metrics.has_servers = false;
    let watched = Watched::start(settings, &[("Host:slow.local", &[silent])]);
    let mut client = TcpStream::connect(watched.serving.addr).await.expect("connected");
    let request =
        "POST / HTTP/1.1\r\nHost: slow.local\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    client.write_all(request.as_bytes()).await.expect("sent");
    let open = "method=\"POST\",protocol=\"http\"";
    counts(
        &watched,
        &format!("traefik_backend_open_connections{{{open},backend=\"backend-0\"}}"),
        1.0,
    )
    .await;
    counts(
        &watched,
        &format!("traefik_entrypoint_open_connections{{{open},entrypoint=\"http\"}}"),
        1.0,
    )
    .await;
    let (mut server, _) = listener.accept().await.expect("the proxy connects");
    crate::harness::raw::head(&mut server).await;
    server.write_all(OK).await.expect("sent");
    assert!(read(&mut client).await.starts_with("HTTP/1.1 200 "));
    counts(
        &watched,
        &format!("traefik_backend_open_connections{{{open},backend=\"backend-0\"}}"),
        0.0,
    )
    .await;
    let bucket = "traefik_backend_request_duration_seconds_bucket{code=\"200\",method=\"POST\",protocol=\"http\",backend=\"backend-0\",le=";
    let samples = samples(&watched).await;
    assert_eq!(samples[&format!("{bucket}\"0.000001\"}}")], 0.0);
    assert_eq!(samples[&format!("{bucket}\"60\"}}")], 1.0);
    assert!(!samples.keys().any(|series| series.starts_with("herder_server_")), "{samples:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_errors_say_why() {
    let gone = nobody();
    let liar = Origin::start(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", true).await;
    let watched = Watched::start(
        settings(),
        &[
            ("Host:gone.local", &[gone]),
            ("Host:empty.local", &[]),
            ("Host:liar.local", &[liar.addr]),
        ],
    );
    assert!(watched.get("gone.local", "/a?token=geheim").await.starts_with("HTTP/1.1 502 "));
    assert!(watched.get("empty.local", "/b").await.starts_with("HTTP/1.1 503 "));
    assert!(watched.get("liar.local", "/c").await.starts_with("HTTP/1.1 502 "));
    assert!(watched.get("unknown.local", "/").await.starts_with("HTTP/1.1 404 "));
    assert!(watched.ask("GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 400 "));

    let errors = watched.json("/api/errors").await;
    let row = |error: &Value| {
        let text = |key: &str| error[key].as_str().unwrap_or("-").to_owned();
        format!("{} {} {} {}", error["status_code"], text("cause"), text("path"), text("frontend"))
    };
    let rows: Vec<String> = errors.as_array().expect("a list").iter().map(row).collect();
    assert_eq!(
        rows,
        [
            "400 bad_request / -",
            "502 bad_answer /c docker/frontend-2",
            "503 no_server /b docker/frontend-1",
            "502 network /a docker/frontend-0",
        ]
    );
    assert!(!errors.to_string().contains("geheim"), "{errors}");
    let gone_server = format!("server-{gone}");
    assert_eq!(errors[3]["server"], gone_server.as_str());
    assert!(errors[3]["why"].as_str().is_some_and(|why| why.contains("unreachable")), "{errors}");

    let health = watched.json("/health").await;
    assert_eq!(health["total_status_code_count"]["502"], 2, "{health}");
    assert_eq!(health["total_status_code_count"]["404"], 1);
    assert_eq!(health["total_count"], 5);
    assert_eq!(health["recent_errors"][0]["status"], "Bad Request");
    assert_eq!(health["recent_errors"][3]["host"], "gone.local");
    assert!(health["average_response_time_sec"].as_f64().is_some_and(|mean| mean > 0.0));
    for path in ["/", "/fragment", "/fragment/now"] {
        let page = watched.page(path).await;
        assert!(page.contains("gone.local/a") && page.contains(&gone_server), "{path}: {page}");
        assert!(!page.contains("geheim"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_errors_is_counted_and_few_are_kept() {
    let watched = Watched::start(settings(), &[("Host:empty.local", &[])]);
    let request = "GET / HTTP/1.1\r\nHost: empty.local\r\n\r\n".repeat(2_000);
    let stream = TcpStream::connect(watched.serving.addr).await.expect("connected");
    let (mut reading, mut writing) = stream.into_split();
    tokio::spawn(async move {
        let _ = writing.write_all(request.as_bytes()).await;
        // The other half ends with the test.
        std::future::pending::<()>().await;
    });
    tokio::spawn(async move {
        let _ = tokio::io::copy(&mut reading, &mut tokio::io::sink()).await;
    });
    counts(
        &watched,
        "herder_frontend_failures_total{frontend=\"docker/frontend-0\",cause=\"no_server\"}",
        2_000.0,
    )
    .await;
    let kept = watched.json("/api/errors").await.as_array().map_or(0, Vec::len);
    assert!(kept <= 100, "{kept}");
    assert!(samples(&watched).await["herder_failures_passed_over_total"] > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_two_names_counts_once() {
    let origin = Origin::start(OK, false).await;
    let routes: &[(&str, &[SocketAddr])] = &[("Host:web.local", &[origin.addr, nobody()])];
    let watched = Watched::start(settings(), routes);
    watched.serving.publish(edited(config(routes), |_, backend| {
        backend.servers.iter_mut().for_each(|(_, server)| server.addr = origin.addr);
    }));
    for _ in 0..4 {
        assert!(watched.get("web.local", "/").await.starts_with("HTTP/1.1 200 "));
    }
    eventually("all are counted, once", || async {
        let samples = samples(&watched).await;
        let of_servers = samples.iter().filter(|(name, _)| {
            name.starts_with("herder_server_requests_total{")
                || name.starts_with("herder_server_request_duration_seconds_count{")
        });
        of_servers.map(|(_, count)| *count).collect::<Vec<_>>() == [4.0, 4.0]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_names_have_series_and_the_others_are_summed_up() {
    let origin = Origin::start(OK, false).await;
    let rules: Vec<String> = (0..1_010).map(|place| format!("Host:web{place}.local")).collect();
    let servers = [origin.addr];
    let routes: Vec<(&str, &[SocketAddr])> =
        rules.iter().map(|rule| (rule.as_str(), &servers[..])).collect();
    let watched = Watched::start(settings(), &routes);
    let mut stream = TcpStream::connect(watched.serving.addr).await.expect("connected");
    for place in 0..1_010 {
        let request = format!("GET / HTTP/1.1\r\nHost: web{place}.local\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let head = crate::harness::raw::head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{place}: {head}");
        let mut body = [0; 2];
        stream.read_exact(&mut body).await.expect("the body");
    }
    counts(&watched, "herder_series_left_out{of=\"frontends\"}", 10.0).await;
    let samples = samples(&watched).await;
    assert_eq!(samples["herder_series_left_out{of=\"backends\"}"], 10.0);
    assert_eq!(samples["herder_frontend_requests_total{frontend=\"_others\",class=\"2xx\"}"], 10.0);
    let of =
        |name: &'static str| samples.iter().filter(move |(series, _)| series.starts_with(name));
    assert_eq!(of("herder_frontend_requests_total{").count(), 1_001);
    let backends: f64 = of("traefik_backend_requests_total{").map(|(_, value)| value).sum();
    assert_eq!(backends, 1_010.0, "nothing is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_down_are_told_of_before_those_that_are_up() {
    let server = |n: u16| SocketAddr::from(([10, 0, (n / 250) as u8, (n % 250) as u8], 80));
    let many: Vec<SocketAddr> = (0..2_010).map(server).collect();
    let last = SocketAddr::from(([10, 9, 9, 9], 80));
    let watched =
        Watched::start(settings(), &[("Host:web.local", &many), ("Host:z.local", &[last])]);
    let view = watched.serving.state.view();
    let mut backends = view.table.reachable_backends();
    let backend = backends.find(|backend| &*backend.id().name == "backend-1").expect("it is there");
    let health = &backend.servers()[0].live.health;
    health.hold(true);
    health.checked(false, Thresholds { rise: 1, fall: 1 }, 1, Duration::ZERO);
    let samples = samples(&watched).await;
    let name = "traefik_backend_server_up{";
    assert_eq!(samples.keys().filter(|series| series.starts_with(name)).count(), 2_000);
    let down = format!("{name}backend=\"backend-1\",url=\"http://10.9.9.9:80\"}}");
    assert_eq!(samples.get(&down), Some(&0.0));
    assert_eq!(samples["herder_series_left_out{of=\"servers\"}"], 11.0);
}

/// What an entry point does to requests is told as what a frontend does: here so many bodies are compressed that others go as
/// they are.
#[tokio::test(flavor = "multi_thread")]
async fn what_acts_at_an_entry_point_is_told() {
    const ENDLESS: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\
        Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let origin = Origin::start(ENDLESS, false).await;
    let mut settings = settings();
    settings.entrypoints[0].compress = true;
    let watched = Watched::start(settings, &[("Host:web.local", &[origin.addr])]);
    assert!(!watched.page("/").await.contains("entry point http"));
    let mut clients = Vec::new();
    while !watched.page("/fragment/now").await.contains("bodies are on their way") {
        assert!(clients.len() < 600, "it never happened");
        for _ in 0..64 {
            let mut client = TcpStream::connect(watched.serving.addr).await.expect("connected");
            let request = "GET / HTTP/1.1\r\nHost: web.local\r\nAccept-Encoding: gzip\r\n\r\n";
            client.write_all(request.as_bytes()).await.expect("sent");
            let head = crate::harness::raw::head(&mut client).await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            clients.push(client);
        }
    }
    let page = watched.page("/").await;
    assert!(page.contains("entry point http") && page.contains("compress answers"), "{page}");
    drop(clients);
    eventually("it acts no more", || async {
        !watched.page("/fragment/now").await.contains("entry point http")
    })
    .await;
}

/// The docs have a row for each metric, as the code has it.
#[test]
fn the_metrics_are_those_of_the_docs() {
    let page = include_str!("../../docs/metrics.md");
    for family in FAMILIES {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let row =
            format!("| `{}` | {kind} | {} | {} |", family.name, labels.join(", "), family.help);
        assert!(page.contains(&row), "{row} is not in docs/metrics.md");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, FAMILIES.len(), "docs/metrics.md has more rows than there are metrics");
}
