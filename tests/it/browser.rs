//! The admin page in a real Chromium.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fantoccini::{Client, ClientBuilder, Locator};
use herder::demo::web_test::WebTest;
use serde_json::{Value, json};

use crate::harness::herder::Herder;
use crate::harness::{PATIENCE, eventually};

/// A chromedriver of our own, ended when dropped.
struct Driver {
    child: Child,
    port: u16,
}

impl Driver {
    fn start() -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("chromedriver is installed: scripts/test does it");
        Self { child, port }
    }

    async fn open(&self, width: u32, height: u32, has_script: bool) -> Client {
        let options = json!({
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     format!("--window-size={width},{height}")],
            "prefs": {"profile.managed_default_content_settings.javascript": if has_script { 1 } else { 2 }},
        });
        let mut capabilities = serde_json::Map::new();
        capabilities.insert("goog:chromeOptions".to_owned(), options);
        capabilities.insert("goog:loggingPrefs".to_owned(), json!({"browser": "ALL"}));
        let start = std::time::Instant::now();
        loop {
            let mut builder =
                ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
            builder.capabilities(capabilities.clone());
            match builder.connect(&format!("http://127.0.0.1:{}", self.port)).await {
                Ok(client) => return client,
                Err(error) => assert!(start.elapsed() < PATIENCE, "no browser: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn eval(client: &Client, script: &str) -> Value {
    client.execute(script, vec![]).await.expect("the script runs")
}

async fn screenshot(client: &Client, name: &str) {
    let Some(folder) = std::env::var_os("HERDER_SCREENSHOTS").map(PathBuf::from) else { return };
    std::fs::create_dir_all(&folder).expect("a folder");
    let png = client.screenshot().await.expect("a picture");
    std::fs::write(folder.join(format!("{name}.png")), png).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_changes_without_a_reload_and_explain_opens() {
    let herder = Herder::start(&["demo"]);
    let driver = Driver::start();
    let client = driver.open(1440, 900, true).await;
    client.goto(&format!("http://{}/", herder.admin)).await.expect("loaded");
    let servers = || async {
        eval(&client, "return document.querySelectorAll('tr.server').length").await.as_u64()
    };
    eventually("three servers are shown", || async { servers().await == Some(3) }).await;
    eval(&client, "window.marker = 'not reloaded'").await;
    for _ in 0..20 {
        herder.get("web-test.proxy-test.local", "/").await;
    }
    eventually("one leaves the list", || async { servers().await == Some(2) }).await;
    let text = eval(&client, "return document.querySelector('.unrouted').textContent").await;
    assert!(text.as_str().is_some_and(|text| text.contains("unhealthy")), "{text}");

    client
        .find(Locator::Css(".unrouted a.explain"))
        .await
        .expect("a link")
        .click()
        .await
        .expect("clicked");
    let drawer = || async {
        eval(&client, "return document.querySelector('#drawer[open] .steps')?.textContent || ''")
            .await
    };
    eventually("the explanation opens", || async {
        drawer().await.as_str().is_some_and(|text| text.contains("unhealthy"))
    })
    .await;
    screenshot(&client, "explain").await;
    eval(&client, "document.getElementById('close').click()").await;
    eventually("it is back in the list", || async { servers().await == Some(3) }).await;
    assert_eq!(eval(&client, "return window.marker").await, "not reloaded");

    for (name, width, height) in [("desktop", 1440, 900), ("phone", 390, 844)] {
        client.set_window_size(width, height).await.expect("resized");
        for theme in ["light", "dark"] {
            let script =
                format!("document.documentElement.dataset.theme = '{theme}'; scrollTo(0, 0)");
            eval(&client, &script).await;
            screenshot(&client, &format!("{name}-{theme}")).await;
            let wide = "return document.documentElement.scrollWidth <= innerWidth";
            assert_eq!(eval(&client, wide).await, true, "{name}: it scrolls sideways");
        }
    }
    client.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_and_the_filter() {
    let herder = Herder::start(&["demo"]);
    let driver = Driver::start();
    let client = driver.open(1200, 800, true).await;
    client.goto(&format!("http://{}/", herder.admin)).await.expect("loaded");
    let body = client.find(Locator::Css("body")).await.expect("a body");
    body.send_keys("/").await.expect("typed");
    assert_eq!(eval(&client, "return document.activeElement.id").await, "filter");
    client
        .active_element()
        .await
        .expect("the filter")
        .send_keys("nothing-like-it")
        .await
        .expect("typed");
    eventually("the list is filtered", || async {
        eval(&client, "return document.querySelectorAll('.frontends li').length").await == 0
    })
    .await;
    let address = client.current_url().await.expect("an address");
    assert!(address.as_str().ends_with("/?q=nothing-like-it"), "{address}");
    client.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_script_the_page_reads_the_same() {
    let herder = Herder::start(&["demo"]);
    eventually("the demo is ready", || async {
        herder.admin("/").await.body.contains("Host:web-test.proxy-test.local")
    })
    .await;
    let driver = Driver::start();
    let client = driver.open(1200, 800, false).await;
    client.goto(&format!("http://{}/", herder.admin)).await.expect("loaded");
    let rule = client.find(Locator::Css(".rule")).await.expect("a rule").text().await;
    assert_eq!(rule.expect("text"), "Host:web-test.proxy-test.local");
    let link = client.find(Locator::Css("a.explain")).await.expect("a link");
    link.click().await.expect("clicked");
    eventually("the link leads to a page of its own", || async {
        client.current_url().await.is_ok_and(|url| url.path().starts_with("/explain/"))
    })
    .await;
    client.find(Locator::Css(".steps")).await.expect("its steps are there");
    client.close().await.expect("closed");
}

/// A server that is killed turns red on the page that is open, within its check and the second that the page waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_turns_red_within_its_check() {
    let site = |name: &str| {
        let site = WebTest::bind("127.0.0.1:0".parse().expect("an address"), name).expect("bound");
        let (kill, killed) = tokio::sync::oneshot::channel::<()>();
        let addr = site.local_addr();
        let task = tokio::spawn(site.run(async move { _ = killed.await }));
        (addr, kill, task)
    };
    let (stays, _kept, _) = site("stays");
    let (goes, kill, task) = site("goes");
    let dir = tempfile::tempdir().expect("a directory");
    let rules = dir.path().join("rules.toml");
    let text = format!(
        "[backends.b.healthCheck]\npath = \"/health\"\ninterval = \"1s\"\n[backends.b.servers.stays]\n\
         url = \"http://{stays}\"\n[backends.b.servers.goes]\nurl = \"http://{goes}\"\n\
         [frontends.f]\nbackend = \"b\"\n[frontends.f.routes.r]\nrule = \"Host:a.local\"\n"
    );
    std::fs::write(&rules, text).expect("written");
    let herder = Herder::start(&["run", &format!("--file.filename={}", rules.display())]);
    let driver = Driver::start();
    let client = driver.open(1440, 900, true).await;
    client.goto(&format!("http://{}/", herder.admin)).await.expect("loaded");
    let count = async |class: &str| {
        let script = format!("return document.querySelectorAll('tr.server .mark.{class}').length");
        eval(&client, &script).await.as_u64()
    };
    eventually("both are up", || async { count("ok").await == Some(2) }).await;
    eval(&client, "window.marker = 'not reloaded'").await;
    kill.send(()).expect("it runs");
    task.abort();
    let start = std::time::Instant::now();
    eventually("it turns red", || async { count("bad").await == Some(1) }).await;
    // The interval and its tenth, the page's second, and as much again for a busy machine.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(count("ok").await, Some(1));
    let color = "return getComputedStyle(document.querySelector('tr.server .mark.bad')).color";
    let good = "return getComputedStyle(document.querySelector('tr.server .mark.ok')).color";
    assert_ne!(eval(&client, color).await, eval(&client, good).await);
    let event =
        eval(&client, "return document.querySelector('#events .event.bad').textContent").await;
    let is_told =
        event.as_str().is_some_and(|t| t.contains("connection refused") && t.contains("was up"));
    assert!(is_told, "{event}");
    assert_eq!(eval(&client, "return window.marker").await, "not reloaded");
    screenshot(&client, "killed").await;
    client.close().await.expect("closed");
}
