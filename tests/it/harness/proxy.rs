//! The data plane in this process, serving a config that a test writes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use herder::admin;
use herder::config::{
    Backend, Config, CookieScope, Frontend, Method, Scheme, Server, Servers, Sticky,
};
use herder::control::{Phase, State, View};
use herder::model::{BackendId, FrontendId, Origin, ProviderName};
use herder::proxy::{Proxy, Running};
use herder::rules::v1;
use herder::settings::{Settings, Typed};
use herder::table::compile_after;

use super::raw::exchange;

/// A proxy that serves.
pub(crate) struct Serving {
    pub(crate) state: Arc<State>,
    pub(crate) addr: SocketAddr,
    pub(crate) running: Running,
    revision: std::sync::atomic::AtomicU64,
}

/// The usual settings, on a port of the system's choice.
pub(crate) fn settings() -> Settings {
    let typed = Typed {
        http: Some("127.0.0.1:0".parse().expect("an address")),
        docker: Some(false),
        rancher: Some(false),
        workers: Some(2),
        ..Typed::default()
    };
    typed.meant().expect("they fit together")
}

/// The usual one, before this server, which is `a.test`.
pub(crate) fn serving(server: SocketAddr) -> Serving {
    Serving::start(settings(), &[("Host:a.test", &[server])])
}

impl Serving {
    /// Serves `rule -> servers`, each rule with a backend of its own.
    pub(crate) fn start(settings: Settings, routes: &[(&str, &[SocketAddr])]) -> Self {
        let bound = Proxy::bind(&settings).expect("bound");
        let addr = bound.local_addrs()[0].1;
        let state = Arc::new(State::new(Arc::new(settings), View::default()));
        let running = bound.start(&state).expect("started");
        let serving = Self { state, addr, running, revision: 0.into() };
        serving.publish(config(routes));
        serving
    }

    /// Puts another config into force.
    pub(crate) fn publish(&self, config: Config) {
        let revision = 1 + self.revision.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let entrypoints = (&*self.state.settings).into();
        let live = &self.state.live;
        let (before, config) = (self.state.view(), Arc::new(config));
        let table =
            compile_after(&before.table, revision, config, Arc::from([]), live, entrypoints);
        self.state.publish(View { table: Arc::new(table), ..View::default() });
        drop(before);
        live.sweep();
        self.state.enter(Phase::Ready);
    }
}

/// A proxy that serves, and its admin side.
pub(crate) struct Watched {
    pub(crate) serving: Serving,
    pub(crate) admin: SocketAddr,
}

impl Watched {
    pub(crate) fn start(settings: Settings, routes: &[(&str, &[SocketAddr])]) -> Self {
        let serving = Serving::start(settings, routes);
        let bound = admin::bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
        let admin = bound.local_addr();
        tokio::spawn(bound.serve(Arc::clone(&serving.state), None, std::future::pending()));
        Self { serving, admin }
    }

    /// Sends bytes to the proxy, and reads what comes.
    pub(crate) async fn ask(&self, request: &str) -> String {
        exchange(self.serving.addr, request.as_bytes()).await
    }

    /// Asks the proxy for a path of a host.
    pub(crate) async fn get(&self, host: &str, path: &str) -> String {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        self.ask(&head).await
    }

    /// Asks the admin side.
    pub(crate) async fn page(&self, path: &str) -> String {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let answer = client.get(format!("http://{}{path}", self.admin)).send().await;
        answer.expect("answered").text().await.expect("text")
    }

    /// The same, read as JSON.
    pub(crate) async fn json(&self, path: &str) -> serde_json::Value {
        serde_json::from_str(&self.page(path).await).expect("JSON")
    }
}

/// `rule -> servers`, each rule with a backend of its own, without stickiness.
pub(crate) fn config(routes: &[(&str, &[SocketAddr])]) -> Config {
    let mut config = Config::default();
    for (place, (rule, servers)) in routes.iter().enumerate() {
        let origin = Origin::new(ProviderName::Docker, format!("service-{place}"));
        let backend = BackendId::new(ProviderName::Docker, format!("backend-{place}"));
        let v1::Reading { rule, chain } = v1::parse(rule).expect("a good rule");
        let frontend = Frontend {
            entrypoints: Box::default(),
            rule,
            priority: None,
            chain: chain.into(),
            pass_host_header: true,
            wishes: None,
            backend: backend.clone(),
            origin: origin.clone(),
            age_order: None,
            shadowed_by: None,
            routes: Box::default(),
        };
        let id = FrontendId::new(ProviderName::Docker, format!("frontend-{place}"));
        config.frontends.insert(id, Arc::new(frontend));
        let server = |addr: &SocketAddr| {
            let server = Server {
                scheme: Scheme::Http,
                addr: *addr,
                host: None,
                weight: 1,
                is_weight_said: true,
                origin: origin.clone(),
            };
            (Arc::from(format!("server-{addr}")), server)
        };
        let servers: Servers = servers.iter().map(server).collect();
        let backend_value = Backend {
            mark: None,
            method: Method::Wrr,
            sticky: None,
            slow_start: Duration::ZERO,
            servers,
            wishes: None,
            origin: origin.clone(),
        };
        config.backends.insert(backend, Arc::new(backend_value));
    }
    config
}

/// The same config, with clients that come back to their server.
pub(crate) fn sticky(mut config: Config) -> Config {
    for backend in config.backends.values_mut() {
        Arc::make_mut(backend).sticky = Some(Arc::new(Sticky {
            cookie: "herder".to_owned(),
            is_named_by_us: false,
            is_deprecated: false,
            scope: CookieScope::default(),
        }));
    }
    config
}

/// The same config, with servers that are spoken to over TLS.
pub(crate) fn https(mut config: Config) -> Config {
    for backend in config.backends.values_mut() {
        let servers = Arc::make_mut(backend).servers.iter_mut();
        servers.for_each(|(_, server)| server.scheme = Scheme::Https);
    }
    config
}

/// The same config, every frontend and backend of it changed.
pub(crate) fn edited(mut config: Config, edit: impl Fn(&mut Frontend, &mut Backend)) -> Config {
    for frontend in config.frontends.values_mut() {
        let backend = config.backends.get_mut(&frontend.backend).expect("every frontend has one");
        edit(Arc::make_mut(frontend), Arc::make_mut(backend));
    }
    config
}
