//! The configurations of docs/behind-a-proxy.md, each with the program that it is for before a Herder.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use herder::demo::web_test::WebTest;
use regex::Regex;
use tokio::io::AsyncWriteExt as _;

use crate::harness::eventually;
use crate::harness::herder::Herder;
use crate::harness::raw;

const PAGE: &str = include_str!("../../docs/behind-a-proxy.md");

/// Where a client comes from that is not the proxy.
const CLIENT: &str = "127.9.9.9";

/// What Herder believes of a trusted proxy.
const IDENTITIES: [&str; 17] = [
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Method",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Proto",
    "X-Forwarded-Protocol",
    "X-Forwarded-Scheme",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Forwarded-Tls-Client-Cert",
    "X-Forwarded-Tls-Client-Cert-Infos",
    "X-Forwarded-Uri",
    "X-Real-Ip",
    "X-Replaced-Path",
    "X_Forwarded_For",
];

/// The page's block of a language.
fn block(language: &str) -> &'static str {
    let block = Regex::new(&format!(r"(?s)```{language}\n(.*?)```")).expect("a pattern");
    block.captures(PAGE).expect("a block").get(1).expect("its text").as_str()
}

/// A program that is killed when dropped.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address that no other test asks for: nobody else has this process's number.
fn address(port: u16) -> SocketAddr {
    let [_, b, c, d] = std::process::id().to_be_bytes();
    (Ipv4Addr::new(127, b, c, d), port).into()
}

fn certificate(folder: &Path) {
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=t -keyout shop.key -out shop.crt \
                  && cat shop.crt shop.key > shop.pem";
    let made = Command::new("sh").args(["-ec", script]).current_dir(folder).output();
    assert!(made.expect("openssl").status.success());
}

/// Asks as a client of the proxy, and gives what curl printed: the head, and the body.
async fn curl(proxy: SocketAddr, from: &str, host: &str, more: &[String]) -> String {
    let mut command = tokio::process::Command::new("curl");
    command.args(["-ski", "--http1.1", "-m", "20", "--interface", from, "-H"]);
    command.arg(format!("Host: {host}")).args(more).arg(format!("https://{proxy}/"));
    let output = command.output().await.expect("curl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A Herder as the page starts it, that trusts loopback's first address.
async fn trusting(folder: &Path) -> Herder {
    let web = WebTest::bind("127.0.0.1:0".parse().expect("an address"), "web").expect("bound");
    let shop = web.local_addr();
    tokio::spawn(web.run(std::future::pending()));
    let switching = raw::origin(|_, mut stream| async move {
        raw::head(&mut stream).await;
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello";
        stream.write_all(head.as_bytes()).await.expect("sent");
    });
    let switching = switching.await;
    let rules = format!(
        "[backends.shop.servers.s]\nurl = 'http://{shop}'\n[backends.ws.servers.s]\nurl = 'http://{switching}'\n\
         [frontends.shop]\nbackend = 'shop'\npassHostHeader = true\n[frontends.shop.routes.r]\nrule = 'Host:shop.local'\n\
         [frontends.shop.headers]\nSSLRedirect = true\n\
         [frontends.inside]\nbackend = 'shop'\n[frontends.inside.routes.r]\nrule = 'Host:inside.local'\n\
         [frontends.inside.whiteList]\nsourceRange = ['{CLIENT}']\nuseXForwardedFor = true\n\
         [frontends.ws]\nbackend = 'ws'\n[frontends.ws.routes.r]\nrule = 'Host:ws.local'\n"
    );
    let file = folder.join("rules.toml");
    fs::write(&file, rules).expect("written");
    let file = format!("--file.filename={}", file.display());
    let line = PAGE.lines().find_map(|line| line.trim().strip_prefix("herder run "));
    let flags = line.expect("a command").replace("10.0.0.5", "127.0.0.1");
    Herder::start(&["run", &flags, &file])
}

async fn check(proxy: SocketAddr, herder: &Herder) {
    eventually("the proxy passes requests on", || async {
        curl(proxy, CLIENT, "shop.local", &[]).await.starts_with("HTTP/1.1 200 ")
    })
    .await;
    // What the client makes up reaches nobody; what the proxy knows does.
    let forged =
        IDENTITIES.into_iter().flat_map(|name| ["-H".to_owned(), format!("{name}: forged")]);
    let seen = curl(proxy, CLIENT, "shop.local", &forged.collect::<Vec<_>>()).await;
    assert!(seen.starts_with("HTTP/1.1 200 "), "{seen}");
    assert!(!seen.contains("forged"), "{seen}");
    let seen = seen.to_lowercase();
    for line in [
        "\nhost: shop.local",
        "\nx-forwarded-for: 127.9.9.9, 127.0.0.1",
        "\nx-real-ip: 127.9.9.9",
        "\nx-forwarded-proto: https",
        "\nx-forwarded-host: shop.local",
    ] {
        assert!(seen.contains(line), "{line} is not in\n{seen}");
    }
    // Without the proxy it is http, which is sent to https.
    let url = format!("http://{}/", herder.http);
    let direct = Command::new("curl").args(["-si", "-H", "Host: shop.local", &url]).output();
    let direct = String::from_utf8_lossy(&direct.expect("curl").stdout).into_owned();
    assert!(direct.starts_with("HTTP/1.1 301 "), "{direct}");
    // Who may pass is the client.
    let inside = curl(proxy, CLIENT, "inside.local", &[]).await;
    assert!(inside.starts_with("HTTP/1.1 200 "), "{inside}");
    let other = curl(proxy, "127.9.9.8", "inside.local", &[]).await;
    assert!(other.starts_with("HTTP/1.1 403 "), "{other}");
    // The key, and the server's answer to it, are the examples of RFC 6455.
    let upgrade = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let upgrade = upgrade.iter().flat_map(|line| ["-H".to_owned(), (*line).to_owned()]);
    let upgrade: Vec<String> = upgrade.collect();
    let switched = curl(proxy, CLIENT, "ws.local", &upgrade).await;
    assert!(switched.starts_with("HTTP/1.1 101 ") && switched.ends_with("hello"), "{switched}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_passes_on_what_the_page_has_it_pass_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    certificate(path);
    let herder = trusting(path).await;
    let at = address(20443);
    let here = path.display();
    let server = block("nginx")
        .replace("10.0.0.7:8080", &herder.http.to_string())
        .replace("listen 443 ", &format!("listen {at} "))
        .replace("/etc/ssl/", &format!("{here}/"));
    let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {here}/{what};"));
    let text = format!(
        "daemon off; master_process off; pid {here}/pid; error_log stderr; events {{}}\n\
         http {{ access_log off; {}\n{server}\n}}\n",
        temp.join(" ")
    );
    let file = path.join("nginx.conf");
    fs::write(&file, text).expect("written");
    let child = Command::new("nginx").arg("-c").arg(&file).stdin(Stdio::null()).spawn();
    let _nginx = Proxy(child.expect("nginx starts"));
    check(at, &herder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_passes_on_what_the_page_has_it_pass_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    certificate(path);
    let herder = trusting(path).await;
    let at = address(20444);
    let text = block("haproxy")
        .replace("10.0.0.7:8080", &herder.http.to_string())
        .replace("bind :443 ", &format!("bind {at} "))
        .replace("/etc/ssl/", &format!("{}/", path.display()));
    let file = path.join("haproxy.cfg");
    fs::write(&file, text).expect("written");
    let child =
        Command::new("haproxy").arg("-db").arg("-f").arg(&file).stdin(Stdio::null()).spawn();
    let _haproxy = Proxy(child.expect("haproxy starts"));
    check(at, &herder).await;
}
