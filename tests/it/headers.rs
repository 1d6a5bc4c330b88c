//! Redirects, header lines, other sites and compression: from labels to the bytes that clients and servers get.
//!
//! What is expected is what Traefik 1.7 documents (docs/basics.md, docs/configuration/entrypoints.md), and for what it does
//! not have, RFC 9110 and the Fetch standard.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use herder::config::Config;
use herder::document::Language;
use herder::model::{
    Address, Document, Health, Instance, Kind, Problem, ProviderName, Service, Snapshot, State,
};
use herder::plan::{Input, plan};
use herder::settings::{Defaults, EntryPoint, HostTemplate, Settings, Typed, traefik};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::harness::PATIENCE;
use crate::harness::messages::{Message, Reader};
use crate::harness::proxy::{Serving, settings, sticky};
use crate::harness::raw::Origin;

/// What stands below `traefik.frontend.`, and its value.
type Labels<'l> = &'l [(&'l str, &'l str)];

/// A service at `web.test` with these labels and one server; none where nobody is there.
fn service(server: Option<SocketAddr>, wanted: Labels<'_>) -> Service {
    let own = [
        ("traefik.enable".to_owned(), "true".to_owned()),
        ("traefik.frontend.rule".to_owned(), "Host:web.test".to_owned()),
        ("traefik.port".to_owned(), server.map_or(80, |addr| addr.port()).to_string()),
    ];
    let wanted = wanted.iter().map(|(k, v)| (format!("traefik.frontend.{k}"), (*v).to_owned()));
    let instance = Instance {
        id: "c1".into(),
        name: "web_1".into(),
        addresses: [Address {
            network: Some("front".into()),
            ip: [127, 0, 0, 1].into(),
            shared: None,
            published: None,
        }]
        .into(),
        exposed_ports: [80].into(),
        detail: None,
        state: if server.is_some() { State::Running } else { State::Stopping },
        health: None,
    };
    Service {
        id: "c1".into(),
        name: "web".into(),
        stack: None,
        labels: own.into_iter().chain(wanted).map(|(k, v)| (k.into(), v.into())).collect(),
        instances: vec![instance],
        kind: Kind::Containers,
        state: None,
        health_checked: false,
        health_block: None,
        age_order: Some(1),
    }
}

fn planned(snapshot: &Snapshot, provider: ProviderName) -> (Config, Vec<Problem>) {
    let defaults = Defaults {
        domain: Some("test".to_owned()),
        exposed_by_default: true,
        serve_unchecked: true,
        run_health_checks: false,
        constraints: Vec::new(),
        host_template: HostTemplate::default(),
        network: None,
    };
    plan(&[Input { provider, snapshot, defaults: &defaults }], &Config::default())
}

fn of_labels(server: Option<SocketAddr>, labels: Labels<'_>) -> (Config, Vec<Problem>) {
    let services = vec![Arc::new(service(server, labels))];
    planned(&Snapshot { services, ..Snapshot::default() }, ProviderName::Docker)
}

/// A proxy whose entry point `http` says this, beside one that speaks TLS at port 443; nobody opens that one yet.
fn at(entrypoint: &str) -> Settings {
    let parse = |text: &str| text.parse::<EntryPoint>().expect(text);
    let http = parse(&format!("Name:http Address:127.0.0.1:0 {entrypoint}"));
    let entrypoints = vec![http, parse("Name:https Address::443 TLS")];
    let typed = Typed { entrypoints: Some(entrypoints), http: None, ..typed() };
    typed.meant().expect("they fit together")
}

fn typed() -> Typed {
    Typed { docker: Some(false), rancher: Some(false), workers: Some(1), ..Typed::default() }
}

/// Believes the client of a test.
const TRUST: &str = "ForwardedHeaders.TrustedIPs:127.0.0.1";

/// A proxy in front of a server with these labels, which are good ones.
fn serve(settings: Settings, server: Option<SocketAddr>, labels: Labels<'_>) -> Serving {
    let (config, problems) = of_labels(server, labels);
    assert_eq!(problems, [], "{labels:?}");
    let serving = Serving::start(settings, &[]);
    serving.publish(config);
    serving
}

/// Sends a request to `web.test`, whose head lacks its end, and reads the answer.
async fn ask(addr: SocketAddr, method: &str, path: &str, lines: &str) -> Message {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: web.test\r\n{lines}\r\n");
    answer(addr, &head, method != "HEAD").await
}

async fn answer(addr: SocketAddr, request: &str, has_body: bool) -> Message {
    let mut stream = TcpStream::connect(addr).await.expect("connected");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let answer = timeout(PATIENCE, Reader::new(stream).next(has_body)).await;
    answer.expect("in time").expect("an answer")
}

fn status(answer: &Message) -> &str {
    answer.first.split(' ').nth(1).unwrap_or_default()
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: old\r\nX-Frame-Options: ALLOWALL\r\nVary: Accept\r\n\r\nok";

/// Labels, what the entry point says besides, a request's method, path and lines; and the status and place it is sent to.
type Sent<'s> = (Labels<'s>, &'s str, [&'s str; 3], &'s str);

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_sent_where_traefik_sends_them() {
    let to_https: Labels<'_> = &[("redirect.entryPoint", "https")];
    let for_good: Labels<'_> = &[("redirect.entryPoint", "https"), ("redirect.permanent", "true")];
    let by_regex: Labels<'_> = &[
        ("redirect.regex", "^http://web.test/old/(.*)"),
        ("redirect.replacement", "http://new.test/$1"),
    ];
    let ssl: Labels<'_> = &[("headers.SSLRedirect", "true")];
    let ssl_now: Labels<'_> =
        &[("headers.SSLRedirect", "true"), ("headers.SSLTemporaryRedirect", "true")];
    let ssl_host: Labels<'_> = &[("headers.SSLRedirect", "true"), ("headers.SSLHost", "s.test")];
    let stripped: Labels<'_> =
        &[("rule", "Host:web.test;PathPrefixStrip:/app"), ("redirect.entryPoint", "https")];
    let told = "X-Forwarded-Proto: https\r\n";
    let cases: &[Sent<'_>] = &[
        (to_https, "", ["GET", "/x?y=1", ""], "302 https://web.test/x?y=1"),
        (for_good, "", ["GET", "/", ""], "301 https://web.test/"),
        (to_https, "", ["HEAD", "/", ""], "307 https://web.test/"),
        (for_good, "", ["POST", "/", "Content-Length: 0\r\n"], "308 https://web.test/"),
        (stripped, "", ["GET", "/app/x", ""], "302 https://web.test/app/x"),
        (by_regex, "", ["GET", "/old/a?b", ""], "302 http://new.test/a?b"),
        (by_regex, "", ["GET", "/other", ""], "200 "),
        (ssl, "", ["GET", "/x?y=1", ""], "301 https://web.test/x?y=1"),
        (ssl_now, "", ["GET", "/", ""], "307 https://web.test/"),
        (ssl_host, "", ["GET", "/", ""], "301 https://s.test/"),
        // Whom we do not trust does not say how it came.
        (to_https, "", ["GET", "/", told], "302 https://web.test/"),
        (ssl, "", ["GET", "/", told], "301 https://web.test/"),
        (to_https, TRUST, ["GET", "/", told], "200 "),
        (ssl, TRUST, ["GET", "/", told], "200 "),
        // An entry point sends all of its clients.
        (&[], "Redirect.EntryPoint:https", ["GET", "/x", ""], "302 https://web.test/x"),
        (
            &[],
            "Redirect.Regex:^http://(.*) Redirect.Replacement:https://$1 Redirect.Permanent:true",
            ["GET", "/x", ""],
            "301 https://web.test/x",
        ),
        // Expressions are Go's.
        (
            &[],
            r"Redirect.Regex:^http://\Qweb.test\E/(.*) Redirect.Replacement:https://w.test/$1",
            ["GET", "/x", ""],
            "302 https://w.test/x",
        ),
        (&[], "Redirect.EntryPoint:http", ["GET", "/x", ""], "200 "),
        // A place that is not there: nobody comes in by the wrong door.
        (&[], "Redirect.EntryPoint:nowhere", ["GET", "/x", ""], "503 "),
        (&[("redirect.entryPoint", "nowhere")], "", ["GET", "/x", ""], "503 "),
    ];
    let origin = Origin::start(OK, false).await;
    for (labels, entrypoint, [method, path, lines], expected) in cases {
        let serving = serve(at(entrypoint), Some(origin.addr), labels);
        let answer = ask(serving.addr, method, path, lines).await;
        let said = format!("{} {}", status(&answer), answer.line("location").unwrap_or_default());
        assert_eq!(said, *expected, "{labels:?} {entrypoint} {method} {path}");
    }
}

/// Where no frontend is, the entry point's redirect acts all the same: as in 1.7, before anything else.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_point_redirects_unknown_hosts_too() {
    let serving = Serving::start(at("Redirect.EntryPoint:https"), &[]);
    let answer = ask(serving.addr, "GET", "/", "").await;
    assert_eq!((status(&answer), answer.line("location")), ("302", Some("https://web.test/")));
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_and_clients_get_the_lines_of_the_labels() {
    let origin = Origin::start(OK, false).await;
    let labels: Labels<'_> = &[
        (
            "headers.customRequestHeaders",
            "X-Kind: a||X-Gone:||Host:inside.test:81||X-Forwarded-Proto:https",
        ),
        ("headers.customResponseHeaders", "Server:||X-Kind: b||Vary: Cookie"),
    ];
    let serving = serve(settings(), Some(origin.addr), labels);
    let answer = ask(serving.addr, "GET", "/", "X-Gone: 1\r\nx-kind: 2\r\n").await;
    assert_eq!((status(&answer), answer.line("server")), ("200", None));
    assert_eq!((answer.line("x-kind"), answer.line("vary")), (Some("b"), Some("Cookie")));
    assert_eq!(answer.body, b"ok");

    let seen = origin.text();
    for line in
        ["Host: inside.test:81\r\n", "\r\nX-Kind: a\r\n", "\r\nX-Forwarded-Host: web.test\r\n"]
    {
        assert!(seen.contains(line), "{line:?} in {seen}");
    }
    assert!(seen.contains("\r\nX-Forwarded-Proto: https\r\n"), "{seen}");
    for gone in ["X-Gone", "x-kind", "X-Forwarded-Proto: http\r"] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_that_make_a_site_safer_are_on_every_answer() {
    let labels: Labels<'_> = &[
        ("headers.frameDeny", "true"),
        ("headers.contentTypeNosniff", "true"),
        ("headers.browserXSSFilter", "true"),
        ("headers.contentSecurityPolicy", "default-src 'self'"),
        ("headers.referrerPolicy", "no-referrer"),
        ("headers.STSSeconds", "315360000"),
        ("headers.STSIncludeSubdomains", "true"),
        ("headers.STSPreload", "true"),
        ("headers.publicKey", "pin-sha256=\"x\""),
        ("headers.customResponseHeaders", "Referrer-Policy: origin"),
    ];
    let origin = Origin::start(OK, false).await;
    // Ours are safe as well: nobody is healthy there.
    for (server, code) in [(Some(origin.addr), "200"), (None, "503")] {
        let serving = serve(at(TRUST), server, labels);
        let answer = ask(serving.addr, "GET", "/", "").await;
        assert_eq!(status(&answer), code);
        let said = |name| answer.lines.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).count();
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("x-xss-protection", "1; mode=block"),
            ("content-security-policy", "default-src 'self'"),
            // What a user writes goes before what it is the name for.
            ("referrer-policy", "origin"),
        ] {
            assert_eq!((answer.line(name), said(name)), (Some(value), 1), "{name} of {code}");
        }
        assert_eq!((said("Strict-Transport-Security"), said("Public-Key-Pins")), (0, 0));
        let answer = ask(serving.addr, "GET", "/", "X-Forwarded-Proto: https\r\n").await;
        let sts = "max-age=315360000; includeSubDomains; preload";
        assert_eq!(answer.line("strict-transport-security"), Some(sts));
        assert_eq!(answer.line("public-key-pins"), Some("pin-sha256=\"x\""));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_allowed_hosts_are_answered() {
    let origin = Origin::start(OK, false).await;
    let labels: Labels<'_> = &[
        ("rule", "PathPrefix:/"),
        ("headers.allowedHosts", "web.test,other.test"),
        ("headers.hostsProxyHeaders", "X-Forwarded-Host"),
    ];
    for (trust, lines, expected) in [
        ("", "Host: other.test\r\n", "200"),
        ("", "Host: evil.test\r\n", "500"),
        ("", "Host: evil.test\r\nX-Forwarded-Host: web.test\r\n", "500"),
        (TRUST, "Host: inside\r\nX-Forwarded-Host: web.test\r\n", "200"),
        (TRUST, "Host: web.test\r\nX-Forwarded-Host: evil.test\r\n", "500"),
    ] {
        let serving = serve(at(trust), Some(origin.addr), labels);
        let answer = answer(serving.addr, &format!("GET / HTTP/1.1\r\n{lines}\r\n"), true).await;
        assert_eq!(status(&answer), expected, "{lines}");
        if expected == "500" {
            assert_eq!(answer.body, b"Bad Host\n");
        }
    }
    assert!(!origin.text().contains("evil"));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_sites_are_answered_here() {
    let answered =
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: *\r\n\r\nok";
    let origin = Origin::start(answered, false).await;
    let labels: Labels<'_> = &[
        ("headers.accessControlAllowOrigin", "https://a.test"),
        ("headers.accessControlAllowMethods", "PUT"),
        ("headers.accessControlAllowHeaders", "X-A,X-B"),
        ("headers.accessControlAllowCredentials", "true"),
        ("headers.accessControlMaxAge", "600"),
        ("headers.frameDeny", "true"),
    ];
    let serving = serve(settings(), Some(origin.addr), labels);
    let preflight = "Origin: https://a.test\r\nAccess-Control-Request-Method: PUT\r\n";
    let answer = ask(serving.addr, "OPTIONS", "/", preflight).await;
    assert_eq!((status(&answer), answer.body.len()), ("200", 0));
    for (name, value) in [
        ("access-control-allow-origin", "https://a.test"),
        ("access-control-allow-methods", "PUT"),
        ("access-control-allow-headers", "X-A, X-B"),
        ("access-control-allow-credentials", "true"),
        ("access-control-max-age", "600"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(answer.line(name), Some(value), "{name}");
    }
    let stranger = preflight.replace("a.test", "evil.test");
    let answer = ask(serving.addr, "OPTIONS", "/", &stranger).await;
    assert_eq!((status(&answer), answer.line("access-control-allow-origin")), ("200", None));
    assert_eq!(origin.text(), "", "no preflight reaches a server");

    for (site, allowed) in [("https://a.test", Some("https://a.test")), ("https://evil.test", None)]
    {
        let answer = ask(serving.addr, "GET", "/", &format!("Origin: {site}\r\n")).await;
        assert_eq!((status(&answer), answer.line("access-control-allow-origin")), ("200", allowed));
        assert_eq!(answer.line("vary"), Some("Origin"));
    }
    // Any other OPTIONS is the server's.
    ask(serving.addr, "OPTIONS", "/", "Origin: https://a.test\r\n").await;
    assert!(origin.text().contains("OPTIONS / HTTP/1.1\r\n"));
}

/// A body that is worth it.
fn words() -> String {
    (0..400).map(|n| format!("word {n} ")).collect()
}

fn leaked(text: String) -> &'static [u8] {
    Box::leak(text.into_bytes().into_boxed_slice())
}

/// The same answer in each framing, and whether the server closes after it.
fn framings(lines: &str) -> [(&'static [u8], bool); 3] {
    let (body, start) = (words(), format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{lines}"));
    let (one, two) = body.split_at(700);
    let chunks = format!("{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", one.len(), two.len());
    [
        (leaked(format!("{start}Content-Length: {}\r\n\r\n{body}", body.len())), false),
        (leaked(format!("{start}Transfer-Encoding: chunked\r\n\r\n{chunks}")), false),
        (leaked(format!("{start}Connection: close\r\n\r\n{body}")), true),
    ]
}

fn decoded(encoding: Option<&str>, body: &[u8]) -> String {
    let mut text = String::new();
    match encoding {
        Some("gzip") => flate2::read::GzDecoder::new(body).read_to_string(&mut text),
        Some("br") => brotli::Decompressor::new(body, 4096).read_to_string(&mut text),
        Some("zstd") => zstd::Decoder::new(body).expect("a decoder").read_to_string(&mut text),
        _ => {
            text.push_str(std::str::from_utf8(body).expect("text"));
            Ok(0)
        }
    }
    .expect("it can be decoded");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_made_smaller_however_it_is_framed() {
    for (bytes, closes) in framings("ETag: \"x\"\r\nAccept-Ranges: bytes\r\n") {
        let origin = Origin::start(bytes, closes).await;
        let serving = serve(settings(), Some(origin.addr), &[("compress", "true")]);
        for (accepted, encoding) in [
            ("gzip", Some("gzip")),
            ("gzip, deflate, br", Some("br")),
            ("gzip, br, zstd", Some("zstd")),
            ("br;q=0.5, gzip", Some("gzip")),
            ("deflate", None),
            ("", None),
        ] {
            let lines = format!("Accept-Encoding: {accepted}\r\n");
            let answer = ask(serving.addr, "GET", "/", &lines).await;
            assert_eq!(answer.line("content-encoding"), encoding, "{accepted}");
            assert_eq!(decoded(encoding, &answer.body), words(), "{accepted}");
            assert_eq!(answer.line("vary"), Some("Accept-Encoding"), "{accepted}");
            if encoding.is_some() {
                assert!(answer.body.len() < words().len() / 2, "{} bytes", answer.body.len());
                assert_eq!(answer.line("content-length"), None);
                assert_eq!(
                    (answer.line("etag"), answer.line("accept-ranges")),
                    (Some("W/\"x\""), None)
                );
            } else {
                assert_eq!(answer.line("etag"), Some("\"x\""));
            }
        }
        // The head alone says the same.
        if !closes {
            let head = ask(serving.addr, "HEAD", "/", "Accept-Encoding: gzip\r\n").await;
            assert_eq!(head.line("content-encoding"), Some("gzip"));
            assert_eq!((head.line("content-length"), head.line("etag")), (None, Some("W/\"x\"")));
        }
        // A client of HTTP/1.0 knows no chunks: the end of the connection is the end of the body.
        let request = "GET / HTTP/1.0\r\nHost: web.test\r\nAccept-Encoding: gzip\r\nConnection: keep-alive\r\n\r\n";
        let mut stream = TcpStream::connect(serving.addr).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut all = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("in time").expect("it ends");
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8_lossy(&all[..end]);
        assert!(head.contains("\r\nContent-Encoding: gzip\r\n"), "{head}");
        assert!(!head.contains("Transfer-Encoding") && !head.contains("Content-Length"), "{head}");
        assert_eq!(decoded(Some("gzip"), &all[end..]), words());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_goes_on_after_an_encoded_body() {
    let [(bytes, _), ..] = framings("");
    let origin = Origin::start(bytes, false).await;
    let serving = serve(settings(), Some(origin.addr), &[("compress", "true")]);
    let mut reader = Reader::new(TcpStream::connect(serving.addr).await.expect("connected"));
    for encoding in ["gzip", "identity", "br", "zstd"] {
        let request =
            format!("GET / HTTP/1.1\r\nHost: web.test\r\nAccept-Encoding: {encoding}\r\n\r\n");
        reader.stream.write_all(request.as_bytes()).await.expect("sent");
        let answer = timeout(PATIENCE, reader.next(true)).await.expect("in time").expect("whole");
        let encoding = Some(encoding).filter(|encoding| *encoding != "identity");
        assert_eq!(answer.line("content-encoding"), encoding);
        assert_eq!(decoded(encoding, &answer.body), words());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_not_gain_passes_as_it_is() {
    let long = words();
    for (lines, body) in [
        ("Content-Type: text/html", "short"),
        ("Content-Type: image/png", &*long),
        ("Content-Type: text/event-stream", &*long),
        ("Content-Type: application/grpc", &*long),
        ("Content-Type: text/html\r\nContent-Encoding: br", &*long),
        (
            "Content-Type: text/html\r\nCache-Control: max-age=1\r\nCache-Control: no-transform",
            &*long,
        ),
        ("Content-Type: text/html\r\nContent-Range: bytes 0-9/99", &*long),
        ("X-Kind: unknown", &*long),
    ] {
        let length = body.len();
        let bytes = format!(
            "HTTP/1.1 200 OK\r\n{lines}\r\nETag: \"x\"\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let origin = Origin::start(leaked(bytes), false).await;
        let serving = serve(settings(), Some(origin.addr), &[("compress", "true")]);
        let answer = ask(serving.addr, "GET", "/", "Accept-Encoding: gzip\r\n").await;
        assert_eq!(answer.body, body.as_bytes(), "{lines}");
        assert_eq!(answer.line("content-length"), Some(&*length.to_string()), "{lines}");
        assert_eq!((answer.line("etag"), answer.line("vary")), (Some("\"x\""), None), "{lines}");
    }
    for (first, has_vary) in [("304 Not Modified", true), ("204 No Content", false)] {
        let bytes =
            format!("HTTP/1.1 {first}\r\nContent-Type: text/html\r\nContent-Length: 5000\r\n\r\n");
        let origin = Origin::start(leaked(bytes), false).await;
        let serving = serve(settings(), Some(origin.addr), &[("compress", "true")]);
        let ask = async |lines: &str| {
            let head = format!("GET / HTTP/1.1\r\nHost: web.test\r\n{lines}\r\n");
            answer(serving.addr, &head, false).await
        };
        let answer = ask("Accept-Encoding: gzip\r\n").await;
        assert_eq!(answer.line("content-encoding"), None, "{first}");
        assert_eq!(answer.line("vary").is_some(), has_vary, "{first}");
        // How long the whole would be when it is encoded, nobody knows.
        assert_eq!(answer.line("content-length"), None, "{first}");
        let plain = ask("").await;
        assert_eq!(plain.line("content-length"), has_vary.then_some("5000"), "{first}");
    }
}

/// Asked for at the entry point and by the label, a body is encoded once.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_point_compresses_for_all_of_its_frontends() {
    let [(bytes, _), ..] = framings("");
    let origin = Origin::start(bytes, false).await;
    for labels in [&[][..], &[("compress", "true")]] {
        let serving = serve(at("Compress:true"), Some(origin.addr), labels);
        let answer = ask(serving.addr, "GET", "/", "Accept-Encoding: gzip\r\n").await;
        assert_eq!(decoded(Some("gzip"), &answer.body), words());
        let encodings = answer.lines.iter().filter(|(name, _)| name == "content-encoding").count();
        assert_eq!(encodings, 1);
    }
    let serving = serve(settings(), Some(origin.addr), &[]);
    let answer = ask(serving.addr, "GET", "/", "Accept-Encoding: gzip\r\n").await;
    assert_eq!((answer.line("content-encoding"), answer.line("vary")), (None, None));
}

/// A server that sends a piece for each one that it is told to send, in chunks.
async fn trickle(content_type: &'static str) -> (SocketAddr, mpsc::Sender<&'static str>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    let (tell, mut told) = mpsc::channel::<&str>(1);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut reader = Reader::new(stream);
        reader.next(true).await.expect("a request");
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        reader.stream.write_all(head.as_bytes()).await.expect("sent");
        while let Some(piece) = told.recv().await {
            let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
            reader.stream.write_all(chunk.as_bytes()).await.expect("sent");
        }
        reader.stream.write_all(b"0\r\n\r\n").await.expect("sent");
    });
    (addr, tell)
}

/// Takes whole chunks off the front of what came.
fn chunks(bytes: &mut Vec<u8>) -> Vec<u8> {
    let mut taken = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size");
        if bytes.len() < end + 2 + size + 2 {
            break;
        }
        taken.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes.drain(..end + 2 + size + 2);
    }
    taken
}

/// What a server has said can be read before it says more.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_for_what_comes_next() {
    for (content_type, is_encoded) in [("text/event-stream", false), ("text/plain", true)] {
        let (addr, tell) = trickle(content_type).await;
        let serving = serve(settings(), Some(addr), &[("compress", "true")]);
        let mut stream = TcpStream::connect(serving.addr).await.expect("connected");
        let request = "GET / HTTP/1.1\r\nHost: web.test\r\nAccept-Encoding: gzip\r\n\r\n";
        stream.write_all(request.as_bytes()).await.expect("sent");
        let head = crate::harness::raw::head(&mut stream).await;
        assert_eq!(head.contains("\r\nContent-Encoding: gzip\r\n"), is_encoded, "{head}");

        let mut decoder = flate2::write::GzDecoder::new(Vec::new());
        let (mut came, mut plain) = (Vec::new(), Vec::new());
        for piece in ["data: one\n\n", "data: two\n\n", "data: three\n\n"] {
            tell.send(piece).await.expect("the server is there");
            let before = plain.len();
            // The next piece is not sent before this one has come whole.
            while plain.len() < before + piece.len() {
                let read = timeout(PATIENCE, stream.read_buf(&mut came)).await;
                assert_ne!(read.expect("in time").expect("more"), 0, "{content_type}");
                let body = chunks(&mut came);
                if is_encoded {
                    decoder.write_all(&body).expect("gzip");
                    decoder.flush().expect("gzip");
                    plain.clone_from(decoder.get_ref());
                } else {
                    plain.extend_from_slice(&body);
                }
            }
            assert!(plain.ends_with(piece.as_bytes()), "{content_type}");
        }
    }
}

/// curl reads what we write, in each encoding that it knows.
#[tokio::test(flavor = "multi_thread")]
async fn curl_reads_what_is_compressed() {
    for (bytes, closes) in framings("") {
        let origin = Origin::start(bytes, closes).await;
        let serving = serve(settings(), Some(origin.addr), &[("compress", "true")]);
        for version in ["--http1.1", "--http1.0"] {
            let url = format!("http://{}/", serving.addr);
            let args = ["-sS", "--compressed", "-i", version, "-H", "Host: web.test"];
            let curl = move || Command::new("curl").args(args).arg(url).output().expect("curl");
            let output = tokio::task::spawn_blocking(curl).await.expect("it runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8_lossy(&output.stdout);
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            assert!(head.contains("Content-Encoding: "), "{head}");
            assert_eq!(body, words());
        }
    }
}

/// What is taken away from answers comes neither before nor behind them.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_away_is_in_no_trailer_and_no_hint() {
    let bytes = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nX-Secret: 1\r\n\r\n\
        HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Secret: 1\r\n\r\n2\r\nok\r\n0\r\nX-Secret: 1\r\n\r\n";
    let origin = Origin::start(bytes, false).await;
    let taken: Labels<'_> = &[("headers.customResponseHeaders", "X-Secret:")];
    for (labels, times) in [(&[][..], 3), (taken, 0)] {
        let serving = serve(settings(), Some(origin.addr), labels);
        let ask = b"GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n";
        let text = crate::harness::raw::exchange(serving.addr, ask).await;
        assert_eq!(text.matches("X-Secret").count(), times, "{text}");
        assert!(
            text.contains("\r\nLink: </a.css>\r\n") && text.contains("\r\nok\r\n0\r\n"),
            "{text}"
        );
    }
}

/// The answer that begins a WebSocket has the lines of any other one. What follows it is no body.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_protocol_has_the_lines_of_the_labels() {
    let bytes = b"HTTP/1.1 101 Go\r\nUpgrade: ws\r\nServer: secret\r\nX-A: a\r\nContent-Type: text/html\r\n\
        Connection: upgrade\r\n\r\nhello";
    let origin = Origin::start(bytes, false).await;
    let labels: Labels<'_> = &[
        ("headers.customResponseHeaders", "Server:||X-B: b||Upgrade-Insecure: 1"),
        ("headers.frameDeny", "true"),
        ("compress", "true"),
    ];
    let (config, problems) = of_labels(Some(origin.addr), labels);
    assert_eq!(problems, []);
    let serving = Serving::start(settings(), &[]);
    serving.publish(sticky(config));
    let ask = b"GET / HTTP/1.1\r\nHost: web.test\r\nConnection: upgrade\r\nUpgrade: ws\r\nAccept-Encoding: gzip\r\n\r\n";
    let text = crate::harness::raw::exchange(serving.addr, ask).await;
    let (head, rest) = text.split_once("\r\n\r\n").expect("a head");
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    let cookie = lines.iter().position(|line| line.starts_with("Set-Cookie: herder="));
    lines.remove(cookie.expect(head));
    lines[1..].sort_unstable();
    assert_eq!(
        lines,
        [
            "HTTP/1.1 101 Go",
            "Connection: upgrade",
            "Content-Type: text/html",
            "Upgrade-Insecure: 1",
            "Upgrade: ws",
            "X-A: a",
            "X-B: b",
            "X-Frame-Options: DENY",
        ]
    );
    assert_eq!(rest, "hello");
}

/// What stands behind an answer's body passes, but for lines that a head would lose or get anew, in whatever spelling.
#[tokio::test(flavor = "multi_thread")]
async fn lines_that_are_set_leave_other_trailers_alone() {
    let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nserver: me\r\nX-Sum: 2\r\n\r\n";
    let origin = Origin::start(bytes, false).await;
    let labels: Labels<'_> = &[("headers.customResponseHeaders", "Server:us")];
    let serving = serve(settings(), Some(origin.addr), labels);
    let ask = b"GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n";
    let text = crate::harness::raw::exchange(serving.addr, ask).await;
    assert!(text.contains("\r\nServer: us\r\n"), "{text}");
    assert!(text.ends_with("\r\nok\r\n0\r\nX-Sum: 2\r\n\r\n"), "{text}");
}

/// A line may be there to take away what clients say: another one that cannot be read does not take it along.
#[tokio::test(flavor = "multi_thread")]
async fn one_bad_line_takes_no_other_one_along() {
    let origin = Origin::start(OK, false).await;
    let labels: Labels<'_> =
        &[("headers.customRequestHeaders", "X-Auth-User:||Keep-Alive:x||X-New: 1||a b: c")];
    let (config, problems) = of_labels(Some(origin.addr), labels);
    let said = problems.iter().map(ToString::to_string).collect::<String>();
    assert!(said.contains("proxy's own") && said.contains("\"a b\""), "{said}");
    let serving = Serving::start(settings(), &[]);
    serving.publish(config);
    ask(serving.addr, "GET", "/", "X-Auth-User: root\r\n").await;
    let seen = origin.text().to_lowercase();
    assert!(!seen.contains("x-auth-user") && seen.contains("\r\nx-new: 1\r\n"), "{seen}");
}

#[test]
fn what_cannot_be_acted_on_is_told() {
    for (labels, word) in [
        (&[("headers.customRequestHeaders", "Content-Length: 3")][..], "proxy's own"),
        (&[("headers.customRequestHeaders", "Host:")], "not a host"),
        (&[("headers.customResponseHeaders", "Transfer-Encoding: x")], "proxy's own"),
        (&[("headers.customResponseHeaders", "a b: c")], "not the name of a header line"),
        (&[("headers.customResponseHeaders", "X-A: a||X-B")], "line 2 has no colon"),
        (&[("headers.hostsProxyHeaders", "a b")], "not the name of a header line"),
        (&[("headers.SSLHost", "a b")], "not a host"),
        (
            &[("headers.contentSecurityPolicy", "a\r\nSet-Cookie: b")],
            "cannot stand in a header line",
        ),
        (&[("headers.STSSeconds", "-1")], "less than nothing"),
        (&[("headers.frameDeny", "maybe")], "neither true nor false"),
        (&[("headers.accessControlAllowOrigin", "a.test")], "not an origin"),
        (&[("headers.accessControlAllowMethods", "G T")], "not a method"),
        (&[("headers.accessControlMaxAge", "-1")], "less than nothing"),
        (
            &[
                ("headers.accessControlAllowOrigin", "*"),
                ("headers.accessControlAllowCredentials", "true"),
            ],
            "every site",
        ),
        (&[("redirect.regex", "(")], "cannot be read"),
        (&[("redirect.regex", "x")], "no redirect.replacement"),
        (&[("redirect.replacement", "x")], "no redirect.regex"),
        (&[("redirect.regex", "x"), ("redirect.replacement", "{{.Host}}")], "template"),
        (&[("compress", "perhaps")], "neither true nor false"),
    ] {
        let (config, problems) = of_labels(None, labels);
        let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(said.iter().any(|problem| problem.contains(word)), "{labels:?}: {said:?}");
        assert_eq!(config.frontends.len(), 1, "{labels:?}");
    }
    // An entry point that is not there is known where the entry points are.
    let services = vec![Arc::new(service(None, &[("redirect.entryPoint", "htps")]))];
    let snapshot = Snapshot { services, ..Snapshot::default() };
    let defaults = herder::settings::FileSettings::defaults();
    let input = Input { provider: ProviderName::Docker, snapshot: &snapshot, defaults: &defaults };
    let names = vec!["http".to_owned(), "https".to_owned()];
    let mut planner = herder::plan::Planner::new(names, vec!["http".to_owned()]);
    let (_, problems) = planner.plan(&[input], &Config::default());
    assert!(problems[0].to_string().contains("\"htps\", which is not there"), "{problems:?}");
    let left_out = at("Redirect.EntryPoint:htps").left_out();
    assert!(left_out.iter().any(|line| line.contains("\"htps\", which is no entry point")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_says_the_same_in_its_own_words() {
    let text = r#"
        [frontends.web]
        backend = "web"
        compress = true
        [frontends.web.routes.a]
        rule = "Host:web.test"
        [frontends.web.headers]
        frameDeny = true
        accessControlAllowOrigin = ["https://a.test"]
        [frontends.web.headers.customResponseHeaders]
        X-Kind = "b"
        [backends.web.servers.a]
        url = "http://ORIGIN"
    "#;
    let [(bytes, _), ..] = framings("");
    let origin = Origin::start(bytes, false).await;
    let tree = Language::Toml.parse(&text.replace("ORIGIN", &origin.addr.to_string()));
    let document = Document {
        name: "rules.toml".into(),
        is_main: false,
        tree: tree.expect("TOML"),
        addresses: std::collections::BTreeMap::new(),
    };
    let snapshot = Snapshot { documents: vec![Arc::new(document)], ..Snapshot::default() };
    let (config, problems) = planned(&snapshot, ProviderName::File);
    assert_eq!(problems, []);
    let serving = Serving::start(settings(), &[]);
    serving.publish(config);
    let lines = "Accept-Encoding: gzip\r\nOrigin: https://a.test\r\n";
    let answer = ask(serving.addr, "GET", "/", lines).await;
    assert_eq!(decoded(answer.line("content-encoding"), &answer.body), words());
    assert_eq!(answer.line("access-control-allow-origin"), Some("https://a.test"));
    assert_eq!((answer.line("x-frame-options"), answer.line("x-kind")), (Some("DENY"), Some("b")));
}

/// The labels of rancher-tools and these go together.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_rancher_tools_has_them_too() {
    let origin = Origin::start(OK, false).await;
    let mut service = service(Some(origin.addr), &[("headers.frameDeny", "true")]);
    service.labels.insert("traefik.alias.fqdn".into(), "web.test".into());
    (service.health_checked, service.instances[0].health) = (true, Some(Health::Healthy));
    let services = vec![Arc::new(service)];
    let snapshot = Snapshot { services, ..Snapshot::default() };
    let (config, problems) = planned(&snapshot, ProviderName::Rancher);
    let problems: Vec<_> = problems.iter().filter(|p| p.to_string().contains("headers")).collect();
    assert_eq!(problems, [] as [&Problem; 0]);
    let serving = Serving::start(settings(), &[]);
    serving.publish(config);
    let answer = ask(serving.addr, "GET", "/", "").await;
    assert_eq!((status(&answer), answer.line("x-frame-options")), ("200", Some("DENY")));
}

#[test]
fn the_entry_points_of_a_settings_file_redirect_and_compress() {
    let text = r#"
        [entryPoints.http]
        address = ":80"
        compress = true
        [entryPoints.http.redirect]
        entryPoint = "https"
        permanent = true
        [entryPoints.other]
        address = ":81"
        [entryPoints.other.redirect]
        regex = "^http://(.*)/a b$"
        replacement = "http://$1/c d"
        [entryPoints.https]
        address = ":443"
        [entryPoints.https.tls]
    "#;
    let tree = Language::Toml.parse(text).expect("TOML");
    let found = traefik::read(&tree, &[], Some("traefik.toml"));
    let entrypoints: Vec<EntryPoint> = found
        .given
        .iter()
        .filter(|given| given.flag == "entryPoints")
        .map(|given| given.value.parse().expect("an entry point"))
        .collect();
    let of = |name: &str| entrypoints.iter().find(|e| e.name == name).expect(name);
    let (http, other, https) = (of("http"), of("other"), of("https"));
    let redirect = http.redirect.as_ref().expect("a redirect");
    assert_eq!((&*redirect.entry_point, redirect.permanent, http.compress), ("https", true, true));
    assert!(https.is_tls && https.redirect.is_none());
    let redirect = other.redirect.as_ref().expect("a redirect");
    // A URL has no blank.
    assert_eq!(&*redirect.regex, "^http://(.*)/a b$");
    assert_eq!(&*redirect.replacement, "http://$1/c%20d");
}
