//! The admin page in a real Chromium.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use std::net::SocketAddr;
use std::time::Duration;

use fantoccini::{Client, ClientBuilder, Locator};
use herder::config::{BackendWishes, CircuitBreaker};
use herder::demo::metadata::{Answers, Server};
use herder::demo::web_test::WebTest;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::harness::herder::Herder;
use crate::harness::proxy::{Watched, config, edited, settings};
use crate::harness::raw::head;
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
    // Keys with modifiers are the browser's own, and a drawer keeps what is typed in it.
    let press = "
        const taken = (more) => !document.body.dispatchEvent(
            new KeyboardEvent('keydown', {key: '/', bubbles: true, cancelable: true, ...more}));
        document.activeElement.blur();
        const all = [taken({ctrlKey: true}), taken({altKey: true}), taken({metaKey: true})];
        document.getElementById('drawer').showModal();
        all.push(taken({}));
        document.getElementById('drawer').close();
        document.activeElement.blur();
        return [...all, taken({})]";
    assert_eq!(eval(&client, press).await, json!([false, false, false, false, true]));
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

/// A browser gives up a stream that is answered with anything but 200; the page does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_stream_is_refused_says_so_and_gets_one_later() {
    let herder = Herder::start(&["demo"]);
    eventually("it is ready", || async { herder.admin("/ping").await.status == 200 }).await;
    let mut streams = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(herder.admin).await.expect("connected");
        let request = b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).await.expect("sent");
        let head = head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        streams.push(stream);
    }
    let driver = Driver::start();
    let client = driver.open(1200, 800, true).await;
    client.goto(&format!("http://{}/", herder.admin)).await.expect("loaded");
    let link = "return document.getElementById('link').hidden ? '' : document.getElementById('link').textContent";
    eventually("it is said", || async {
        eval(&client, link).await.as_str().is_some_and(|text| text.contains("trying again"))
    })
    .await;
    drop(streams);
    eventually("it has news again", || async { eval(&client, link).await == "" }).await;

    // Nobody looks: nothing is fetched, until somebody does.
    let look_away = "
        window.asked = 0;
        window.kept = window.fetch;
        window.fetch = (...all) => { window.asked += 1; return window.kept(...all); };
        Object.defineProperty(document, 'hidden', {configurable: true, get: () => true});
        refresh();
        show({total: [9, 0, null, null], series: {}, connections: 1, lost: 0, failures: 7, acting: 0});
        return window.asked";
    assert_eq!(eval(&client, look_away).await, 0);
    eventually("nothing is under way", || async { eval(&client, "return busy").await == false })
        .await;
    let look_again = "
        delete document.hidden;
        document.dispatchEvent(new Event('visibilitychange'));
        return [window.asked, shown.failures === 7]";
    assert_eq!(eval(&client, look_again).await, json!([1, false]));

    // What is answered instead of an explanation is shown by the browser.
    eval(&client, "window.fetch = () => Promise.reject(new TypeError('nobody answers'))").await;
    let script = "document.querySelector('a.explain').click()";
    eval(&client, script).await;
    eventually("the link leads there all the same", || async {
        client.current_url().await.is_ok_and(|url| url.path().starts_with("/explain/"))
    })
    .await;
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
    let row = "return document.querySelector('tr.server .mark.bad').closest('tr').innerText";
    eventually("its row says why, for all to read", || async {
        eval(&client, row).await.as_str().is_some_and(|text| text.contains("connection refused"))
    })
    .await;
    let provider = eval(&client, "return document.querySelector('.provider').innerText").await;
    assert!(provider.as_str().is_some_and(|text| text.contains("1 frontend ·")), "{provider}");
    let event =
        eval(&client, "return document.querySelector('#events .event.bad').textContent").await;
    let is_told =
        event.as_str().is_some_and(|t| t.contains("connection refused") && t.contains("was up"));
    assert!(is_told, "{event}");
    assert_eq!(eval(&client, "return window.marker").await, "not reloaded");
    pictures(&client, "killed").await;
    client.close().await.expect("closed");
}

/// Takes a picture of each width and theme, and looks whether anything sticks out.
async fn pictures(client: &Client, name: &str) {
    for (screen, width, height) in [("desktop", 1440, 1200), ("phone", 390, 1400)] {
        client.set_window_size(width, height).await.expect("resized");
        for theme in ["light", "dark"] {
            let script =
                format!("document.documentElement.dataset.theme = '{theme}'; scrollTo(0, 0)");
            eval(client, &script).await;
            screenshot(client, &format!("{name}-{screen}-{theme}")).await;
            let wide = "return document.documentElement.scrollWidth <= innerWidth";
            assert_eq!(eval(client, wide).await, true, "{name}, {screen}: it scrolls sideways");
            let out = eval(client, STICKS_OUT).await;
            assert_eq!(out, json!([]), "{name}, {screen}: it runs over an edge");
        }
    }
}

/// The texts that come nearer to the edge of their card, row or tile than half of its inner margin.
const STICKS_OUT: &str = "
    const out = [];
    for (const box of document.querySelectorAll('.card, .rows > li, .number')) {
        const edge = box.getBoundingClientRect().right - parseFloat(getComputedStyle(box).paddingRight) / 2;
        const texts = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
        while (texts.nextNode()) {
            if (texts.currentNode.parentElement.closest('.hidden')) continue;
            const range = document.createRange();
            range.selectNodeContents(texts.currentNode);
            if (range.getBoundingClientRect().right > edge) out.push(texts.currentNode.textContent);
        }
    }
    return out;";

#[tokio::test(flavor = "multi_thread")]
async fn the_charts_move_the_errors_say_why_and_a_tripped_breaker_shows() {
    let web = WebTest::bind("127.0.0.1:0".parse().expect("an address"), "one").expect("bound");
    let server = web.local_addr();
    tokio::spawn(web.run(std::future::pending()));
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let nobody = free.local_addr().expect("an address");
    drop(free);
    let watched = Watched::start(
        settings(),
        &[("Host:web.local", &[server]), ("Host:gone.local;PathPrefix:/shop", &[nobody])],
    );
    let driver = Driver::start();
    let client = driver.open(1440, 1200, true).await;
    client.goto(&format!("http://{}/", watched.admin)).await.expect("loaded");
    eval(&client, "window.marker = 'not reloaded'").await;
    let text = |selector: &'static str| {
        let script = format!("return document.querySelector('{selector}')?.textContent || ''");
        let client = client.clone();
        async move { eval(&client, &script).await.as_str().unwrap_or_default().to_owned() }
    };

    let marks = "return ['ok', 'note'].map((mark) => document.querySelectorAll(`tr.server .mark.${mark}`).length)";
    assert_eq!(eval(&client, marks).await, json!([0, 2]), "nobody asks them, and so nobody knows");

    // Every chart of what is asked has a line that rises, and the numbers beside it say so.
    let load = async {
        loop {
            watched.get("web.local", "/").await;
        }
    };
    let charts = async {
        let rises = |key: &'static str, kind: &'static str| {
            let script = format!(
                "const lines = document.querySelectorAll('[data-chart=\"{key}\"][data-kind={kind}] polyline');
                 return [...lines].some((line) => line.getAttribute('points').split(' ').some((p) => Number(p.split(',')[1]) < 50))"
            );
            let client = client.clone();
            async move { eval(&client, &script).await == true }
        };
        let server = format!("s:docker/backend-0:server-{server}");
        let server: &'static str = Box::leak(server.into_boxed_str());
        for key in ["total", "f:docker/frontend-0", "b:docker/backend-0", server] {
            for kind in ["load", "time"] {
                eventually(&format!("the {kind} of {key} moves"), || rises(key, kind)).await;
            }
        }
        let still = "return document.querySelector('[data-chart=\"f:docker/frontend-1\"] polyline').getAttribute('points')";
        assert_eq!(eval(&client, still).await, "", "nobody asked for this one");
        eventually("a rate is told", || async {
            text("[data-rate=\"f:docker/frontend-0\"]")
                .await
                .parse::<u64>()
                .is_ok_and(|rate| rate > 0)
        })
        .await;
        eventually("a time is told", || async {
            text("[data-p99=\"f:docker/frontend-0\"]").await.ends_with('s')
        })
        .await;
        let before = text("[data-chart=total]").await;
        assert_eq!(before, "", "a chart is lines alone");
    };
    tokio::select! {
        _ = load => unreachable!("it goes on for ever"),
        () = charts => {}
    }

    assert!(watched.get("gone.local", "/shop/cart?token=geheim").await.contains(" 502 "));
    eventually("the error is told with its cause", || async {
        let text = text("#failures").await;
        text.contains("gone.local/shop/cart") && text.contains("unreachable")
    })
    .await;
    assert!(!text("body").await.contains("geheim"));

    // Nothing is fetched any more: the seconds' news alone turn the number red, and back.
    eval(&client, "window.kept = window.fetch; window.fetch = () => Promise.reject()").await;
    let alarm = "return document.querySelector('[data-alarm]').classList.contains('bad')";
    let broken = async {
        loop {
            watched.get("gone.local", "/shop").await;
        }
    };
    tokio::select! {
        _ = broken => unreachable!("it goes on for ever"),
        () = eventually("errors are red", || async { eval(&client, alarm).await == true }) => {}
    }
    eventually("they are over", || async { eval(&client, alarm).await == false }).await;
    // Where more are busy than are told, a row that is not told of stays as it is; else it has nothing to do.
    let untold = "
        const row = document.querySelector('[data-rate=\"f:docker/frontend-0\"]');
        const line = document.querySelector('[data-chart=\"f:docker/frontend-0\"] polyline');
        return [true, false].map((cut) => {
            row.textContent = '77';
            const before = line.getAttribute('points');
            show({total: [9, 0, null, null], series: {}, cut, connections: 1, lost: 0, failures: 0, acting: 0});
            return [row.textContent, line.getAttribute('points') === before];
        });";
    assert_eq!(eval(&client, untold).await, json!([["77", true], ["0", false]]));
    eval(&client, "window.fetch = window.kept").await;

    assert_eq!(text("#acting").await.trim(), "");
    let routes: [(&str, &[SocketAddr]); 2] =
        [("Host:web.local", &[server]), ("Host:gone.local;PathPrefix:/shop", &[nobody])];
    watched.serving.publish(edited(config(&routes), |_, backend| {
        let expression = "NetworkErrorRatio() > 0.5".to_owned();
        let circuit_breaker = Some(CircuitBreaker { expression });
        backend.wishes = Some(Box::new(BackendWishes { circuit_breaker, ..Default::default() }));
    }));
    eventually("it trips", || async { watched.get("gone.local", "/shop").await.contains(" 503 ") })
        .await;
    eventually("the breaker shows on top", || async {
        let text = text("#acting").await;
        text.contains("open for ") && text.contains("NetworkErrorRatio")
    })
    .await;
    eventually("it is said to who cannot see", || async {
        text("#news").await.contains("in 1 place")
    })
    .await;
    let top =
        "return document.getElementById('acting').getBoundingClientRect().bottom < innerHeight";
    assert_eq!(eval(&client, top).await, true, "it is seen without scrolling");
    eventually("its frontend's row says so too", || async {
        text(".frontends").await.contains("open for ")
    })
    .await;
    pictures(&client, "charts").await;
    watched.serving.publish(config(&routes));
    eventually("it goes when there is none", || async { text("#acting").await.trim().is_empty() })
        .await;
    assert_eq!(eval(&client, "return window.marker").await, "not reloaded");
    client.close().await.expect("closed");
}

/// Who is broken among a thousand is found at once, and why is two clicks away.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_among_a_thousand_services_is_in_sight() {
    let service = |number: usize| {
        let (name, health) =
            (format!("s{number}"), if number == 777 { "unhealthy" } else { "healthy" });
        json!({"name": name, "stack_name": "many", "uuid": name, "kind": "service", "state": "active",
               "labels": {"traefik.enable": "true", "traefik.port": "80"},
               "containers": [{"name": format!("many-{name}-1"), "state": "running", "health_state": health,
                               "primary_ip": format!("10.0.{}.{}", number / 250, number % 250 + 1)}]})
    };
    let services: Vec<Value> = (0..1_010).map(service).collect();
    let answers =
        Answers { default: json!({"services": services, "stacks": []}), ..Answers::default() };
    let metadata = Server::bind("127.0.0.1:0".parse().expect("an address"), answers);
    let metadata = metadata.expect("bound");
    let url = format!("--rancher.metadata.url=http://{}", metadata.local_addr());
    tokio::spawn(metadata.run(std::future::pending()));
    let herder = Herder::start(&["run", "--rancher", &url, "--rancher.domain=local"]);
    eventually("they are known", || async {
        herder.admin("/?q=s777").await.body.contains("Host:s777.many.local")
    })
    .await;
    let all = herder.admin("/api/explain").await.json();
    assert_eq!(all.as_array().map(Vec::len), Some(1_010), "each has its explanation");
    let driver = Driver::start();
    let client = driver.open(1440, 900, true).await;
    client.goto(&format!("http://{}/", herder.admin)).await.expect("loaded");
    let text = async |selector: &str| {
        let script = format!("return document.querySelector('{selector}')?.innerText || ''");
        eval(&client, &script).await.as_str().unwrap_or_default().to_owned()
    };
    let first = text(".frontends > li").await;
    assert!(first.contains("Host:s777.many.local"), "{first}");
    let first = text(".cards > article").await;
    assert!(first.contains("s777") && first.contains("no server"), "{first}");
    assert!(text(".jumps").await.contains("1 not well"), "{}", text(".jumps").await);

    let click = async |selector: &str| {
        let link = client.find(Locator::Css(selector)).await.expect("a link");
        link.click().await.expect("clicked");
    };
    // What gets the focus comes out from below the bar that stays on top.
    let focus = "
        const link = document.querySelectorAll('.frontends a.explain')[20];
        scrollBy(0, link.getBoundingClientRect().top - 20);
        link.focus();
        const bar = document.querySelector('.top').getBoundingClientRect();
        return link.getBoundingClientRect().top >= bar.bottom";
    assert_eq!(eval(&client, focus).await, true);
    eval(&client, "scrollTo(0, 0)").await;
    click(".jumps a[href=\"#h-unrouted\"]").await;
    assert!(text(".unrouted").await.contains("unhealthy"));
    click(".unrouted a.explain").await;
    eventually("its way is told", || async {
        text("#drawer[open] .steps").await.contains("unhealthy")
    })
    .await;
    screenshot(&client, "thousand-explained").await;
    eval(&client, "document.getElementById('close').click()").await;
    pictures(&client, "thousand").await;
    client.close().await.expect("closed");
}
