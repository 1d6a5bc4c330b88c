//! What was typed, as meant: with the defaults, and what does not fit together.

use std::time::Duration;

use super::time::limit;
use super::typed::Constraints;
use super::{
    Admin, AdminMethod, Constraint, Defaults, DockerSettings, DockerTls, EntryAuth, EntryPoint,
    EntryUsers, FileSettings, FileSource, HTTP_ENTRYPOINT, Limits, Listen, MetricsSettings,
    RancherApi, RancherSettings, Settings, Typed,
};

/// Between two health checks where nobody says (Traefik 1.7).
const HEALTH_INTERVAL: Duration = Duration::from_secs(30);

/// A setting that does not fit together with others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Conflict {
    /// The flag that says it, or the first of those that do.
    pub flag: &'static str,
    /// Why: a sentence without a full stop.
    pub why: String,
}

/// For what is under way at a stop. What it is about is told within the rest of the 10 s after which `docker stop` kills, and an
/// upgrade on Rancher, whatever a container was started with.
const GRACE: Duration = Duration::from_secs(7);

impl Typed {
    /// Which providers were named: none means that those which answer are used.
    pub fn names_a_provider(&self) -> bool {
        self.docker == Some(true)
            || self.rancher == Some(true)
            || self.file_filename.is_some()
            || self.file_directory.is_some()
            || self.file_main.is_some()
    }

    /// The settings of Docker that were given, by their flags.
    pub fn docker_given(&self) -> Vec<&'static str> {
        let given = [
            ("docker.endpoint", filled(self.docker_endpoint.as_ref()).is_some()),
            ("docker.domain", filled(self.docker_domain.as_ref()).is_some()),
            ("docker.constraints", self.docker_constraints.is_some()),
            ("docker.exposedByDefault", self.docker_exposed_by_default.is_some()),
            ("docker.serveUnchecked", self.docker_serve_unchecked.is_some()),
            ("docker.network", filled(self.docker_network.as_ref()).is_some()),
            ("docker.tls.ca", self.docker_tls_ca.is_some()),
            ("docker.tls.cert", self.docker_tls_cert.is_some()),
            ("docker.tls.key", self.docker_tls_key.is_some()),
        ];
        named(&given)
    }

    /// The settings of Rancher that were given, by their flags.
    pub fn rancher_given(&self) -> Vec<&'static str> {
        let given = [
            ("rancher.domain", filled(self.rancher_domain.as_ref()).is_some()),
            ("rancher.constraints", self.rancher_constraints.is_some()),
            ("rancher.exposedByDefault", self.rancher_exposed_by_default.is_some()),
            ("rancher.serveUnchecked", self.rancher_serve_unchecked.is_some()),
            ("rancher.runHealthChecks", self.rancher_run_health_checks.is_some()),
            ("rancher.metadata.url", filled(self.rancher_metadata_url.as_ref()).is_some()),
            ("rancher.metadata.version", filled(self.rancher_metadata_version.as_ref()).is_some()),
            ("rancher.metadata.intervalPoll", self.rancher_interval_poll.is_some()),
            ("rancher.api", self.rancher_api.is_some()),
            ("rancher.api.endpoint", filled(self.rancher_api_endpoint.as_ref()).is_some()),
            ("rancher.api.accessKey", filled(self.rancher_api_access_key.as_ref()).is_some()),
            ("rancher.api.secretKey", filled(self.rancher_api_secret_key.as_ref()).is_some()),
        ];
        named(&given)
    }

    /// What was said of a provider that is not used, since others were named. One that was switched off was so on purpose.
    fn unread(&self) -> Vec<String> {
        if !self.names_a_provider() {
            return Vec::new();
        }
        let providers = [
            ("Docker", "docker", self.docker, self.docker_given()),
            ("Rancher", "rancher", self.rancher, self.rancher_given()),
        ];
        let unread = providers
            .into_iter()
            .filter(|(_, _, is_used, given)| is_used.is_none() && !given.is_empty());
        let line = |(name, flag, _, given): (&str, &str, _, Vec<&str>)| {
            format!(
                "{name} is not used, since other providers are named, and nobody reads {}. Say --{flag} to use it too.",
                given.join(", ")
            )
        };
        unread.map(line).collect()
    }

    /// The settings as meant, see [`Self::read`].
    ///
    /// # Errors
    /// Sentences that say which settings do not fit together.
    pub fn meant(&self) -> Result<Settings, String> {
        let (settings, conflicts) = self.read();
        let why: Vec<String> = conflicts.into_iter().map(|conflict| conflict.why).collect();
        if why.is_empty() { Ok(settings) } else { Err(why.join("\n  ")) }
    }

    /// The settings as meant, and what of them does not fit together. Both providers are described; who is not used is
    /// taken out by the caller, who can ask which of them answer.
    pub fn read(&self) -> (Settings, Vec<Conflict>) {
        let mut conflicts = Vec::new();
        let usual = Limits::default();
        let limits = Limits {
            connections_max: self.connections_max.map_or(usual.connections_max, |n| n as usize),
            connect_timeout: limit(self.connect_timeout, usual.connect_timeout),
            response_timeout: limit(self.response_timeout, usual.response_timeout),
            idle_timeout: limit(self.idle_timeout, usual.idle_timeout),
            attempts_max: self.attempts_max.map_or(usual.attempts_max, usize::from),
            ..usual
        };
        let entrypoints = self.meant_entrypoints(&mut conflicts);
        let admin = match self.admin.unwrap_or(Admin::At(Listen { ip: None, port: 8000 })) {
            Admin::At(listen) => Some(listen),
            Admin::Off => None,
        };
        let mut open = entrypoints.iter().filter(|entrypoint| entrypoint.shut.is_none());
        let taken =
            open.find(|entrypoint| admin.is_some_and(|at| at.is_same_as(entrypoint.listen)));
        if let Some(entrypoint) = taken {
            let why = format!(
                "the page and the entry point {entrypoint} cannot share an address; give one of them another: \
                 --admin=:8000, or --entryPoints='Name:{} Address::80'",
                entrypoint.name
            );
            conflicts.push(Conflict { flag: "admin", why });
        }
        let settings = Settings {
            default_entrypoints: self.meant_default_entrypoints(&entrypoints, &mut conflicts),
            entrypoints,
            admin,
            admin_auth: self.meant_admin_auth(),
            refresh: self.refresh.clone().unwrap_or_default(),
            file: self.file_settings(&mut conflicts),
            docker: (self.docker != Some(false)).then(|| self.docker_settings(&mut conflicts)),
            rancher: (self.rancher != Some(false)).then(|| self.rancher_settings(&mut conflicts)),
            unread: self.unread(),
            limits,
            trusted_ips: self.trusted_ips.clone().unwrap_or_default(),
            insecure_skip_verify: self.insecure_skip_verify.unwrap_or(false),
            health_interval: limit(self.health_interval, HEALTH_INTERVAL),
            grace: self.grace.unwrap_or(GRACE),
            workers: self.workers.map_or_else(cores, usize::from),
            metrics: self.meant_metrics(),
            observe: self.observe.meant(),
        };
        (settings, conflicts)
    }

    /// Who may see the admin side. Whoever says that there are users wants it closed to others, even where none can be read.
    fn meant_admin_auth(&self) -> Option<Box<EntryAuth>> {
        let file = filled(self.admin_users_file.as_ref());
        if self.admin_users.is_none() && file.is_none() {
            return None;
        }
        let users = EntryUsers {
            users: self.admin_users.clone().unwrap_or_default(),
            users_file: file.unwrap_or_default(),
            remove_header: false,
        };
        Some(Box::new(match self.admin_auth.unwrap_or_default() {
            AdminMethod::Basic => EntryAuth { basic: Some(users), ..EntryAuth::default() },
            AdminMethod::Digest => EntryAuth { digest: Some(users), ..EntryAuth::default() },
        }))
    }

    fn meant_metrics(&self) -> MetricsSettings {
        let usual = MetricsSettings::default();
        MetricsSettings {
            buckets: self.metrics_buckets.clone().unwrap_or(usual.buckets),
            has_servers: self.metrics_servers.unwrap_or(usual.has_servers),
            recent_errors: self.recent_errors.map_or(usual.recent_errors, usize::from),
        }
    }

    /// The entry points that were named, with the address of `--http` for the one of that name.
    fn meant_entrypoints(&self, conflicts: &mut Vec<Conflict>) -> Vec<EntryPoint> {
        let mut meant = self.entrypoints.clone().unwrap_or_default();
        let is_http = |entrypoint: &EntryPoint| entrypoint.name == HTTP_ENTRYPOINT;
        match (meant.iter_mut().find(|e| is_http(e)), self.http) {
            (Some(http), Some(listen)) => http.listen = listen,
            (None, Some(listen)) => meant.insert(0, EntryPoint::plain(HTTP_ENTRYPOINT, listen)),
            (_, None) => {}
        }
        if meant.is_empty() {
            meant.push(EntryPoint::plain(HTTP_ENTRYPOINT, Listen { ip: None, port: 8080 }));
        }
        if let (Some(http), Some(compress)) =
            (meant.iter_mut().find(|e| is_http(e)), self.http_compress)
        {
            http.compress = compress;
        }
        for (place, entrypoint) in meant.iter().enumerate() {
            if meant[..place].iter().any(|earlier| earlier.name == entrypoint.name) {
                let why = format!("there are two entry points \"{}\"", entrypoint.name);
                conflicts.push(Conflict { flag: "entryPoints", why });
            }
        }
        if meant.iter().all(|entrypoint| entrypoint.shut.is_some()) {
            let why: Vec<String> =
                meant.iter().map(|e| format!("{e}: {}", e.shut.unwrap_or_default())).collect();
            let why = format!(
                "no entry point can be opened: {}. Give requests one that asks for none of it: \
                 --entryPoints='Name:http Address::80'",
                why.join("; ")
            );
            conflicts.push(Conflict { flag: "entryPoints", why });
        }
        meant
    }

    /// The entry points of frontends that name none. Whoever names one that is not there would get nothing served.
    fn meant_default_entrypoints(
        &self,
        all: &[EntryPoint],
        conflicts: &mut Vec<Conflict>,
    ) -> Vec<String> {
        let names = match self.default_entrypoints.as_deref() {
            None | Some([]) => return vec![HTTP_ENTRYPOINT.to_owned()],
            Some(names) => names,
        };
        let is_unknown = |name: &&String| all.iter().all(|entrypoint| entrypoint.name != **name);
        for name in names.iter().filter(is_unknown) {
            let known: Vec<&str> = all.iter().map(|entrypoint| &*entrypoint.name).collect();
            let known = known.join(", ");
            let why = format!(
                "defaultEntryPoints names \"{name}\", which is no entry point; there is {known}"
            );
            conflicts.push(Conflict { flag: "defaultEntryPoints", why });
        }
        names.to_vec()
    }

    fn file_settings(&self, conflicts: &mut Vec<Conflict>) -> Option<FileSettings> {
        let watch = self.file_watch.unwrap_or(true);
        let source = match (&self.file_filename, &self.file_directory) {
            (None, None) => FileSource::Main(self.file_main.clone()?),
            (Some(path), None) => FileSource::File(path.clone()),
            (None, Some(path)) => FileSource::Directory(path.clone()),
            (Some(path), Some(_)) => {
                let why = "--file.filename and --file.directory exclude each other".to_owned();
                conflicts.push(Conflict { flag: "file.directory", why });
                FileSource::File(path.clone())
            }
        };
        Some(FileSettings { source, watch })
    }

    fn docker_settings(&self, conflicts: &mut Vec<Conflict>) -> DockerSettings {
        let files = (&self.docker_tls_ca, &self.docker_tls_cert, &self.docker_tls_key);
        let tls = match files {
            (None, None, None) => None,
            (Some(ca), Some(cert), Some(key)) => {
                Some(DockerTls { ca: ca.clone(), cert: cert.clone(), key: key.clone() })
            }
            _ => {
                let why = "--docker.tls.ca, --docker.tls.cert and --docker.tls.key go together; one of them is missing";
                conflicts.push(Conflict { flag: "docker.tls.ca", why: why.to_owned() });
                None
            }
        };
        let endpoint = filled(self.docker_endpoint.as_ref());
        DockerSettings {
            endpoint: endpoint.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned()),
            tls,
            defaults: Defaults {
                domain: filled(self.docker_domain.as_ref()),
                exposed_by_default: self.docker_exposed_by_default.unwrap_or(true),
                serve_unchecked: self.docker_serve_unchecked.unwrap_or(true),
                run_health_checks: false,
                constraints: self.constraints_with(self.docker_constraints.as_ref()),
                host_template: self.host_template.clone().unwrap_or_default(),
                network: filled(self.docker_network.as_ref()),
            },
        }
    }

    /// Those for all providers, and those of one.
    fn constraints_with(&self, own: Option<&Constraints>) -> Vec<Constraint> {
        let all = self.constraints.iter().chain(own);
        all.flat_map(|constraints| constraints.0.iter().cloned()).collect()
    }

    fn rancher_settings(&self, conflicts: &mut Vec<Conflict>) -> RancherSettings {
        let url = filled(self.rancher_metadata_url.as_ref());
        // Traefik's `prefix` is a path: `/2016-07-29`. With a slash more, the service answers with a redirect.
        let version = self.rancher_metadata_version.as_ref();
        let version = version.map(|version| version.trim().trim_matches('/').to_owned());
        let version = filled(version.as_ref());
        let is_api = self.rancher_api == Some(true) || self.rancher_api_endpoint.is_some();
        let api = is_api.then(|| self.rancher_api_settings(conflicts)).flatten();
        RancherSettings {
            api,
            answers: super::AnswerLimits::default(),
            url: url.unwrap_or_else(|| "http://rancher-metadata.rancher.internal".to_owned()),
            version: version.unwrap_or_else(|| "2016-07-29".to_owned()),
            long_poll: !self.rancher_interval_poll.unwrap_or(false),
            defaults: Defaults {
                domain: filled(self.rancher_domain.as_ref()),
                exposed_by_default: self.rancher_exposed_by_default.unwrap_or(true),
                serve_unchecked: self.rancher_serve_unchecked.unwrap_or(false),
                run_health_checks: self.rancher_run_health_checks.unwrap_or(false),
                constraints: self.constraints_with(self.rancher_constraints.as_ref()),
                host_template: self.host_template.clone().unwrap_or_default(),
                network: None,
            },
        }
    }

    fn rancher_api_settings(&self, conflicts: &mut Vec<Conflict>) -> Option<RancherApi> {
        // Rancher hands these to a container with the label io.rancher.container.create_agent; Traefik 1.7 reads them.
        let handed = |name: &str| filled(std::env::var(name).ok().as_ref());
        let said =
            |value: &Option<String>, name: &str| filled(value.as_ref()).or_else(|| handed(name));
        let endpoint = said(&self.rancher_api_endpoint, "CATTLE_URL");
        if endpoint.is_none() {
            let why = "--rancher.api needs to know whom to ask: --rancher.api.endpoint=http://rancher:8080";
            conflicts.push(Conflict { flag: "rancher.api", why: why.to_owned() });
        }
        Some(RancherApi {
            endpoint: endpoint?,
            access_key: said(&self.rancher_api_access_key, "CATTLE_ACCESS_KEY").unwrap_or_default(),
            secret_key: said(&self.rancher_api_secret_key, "CATTLE_SECRET_KEY").unwrap_or_default(),
        })
    }
}

/// An empty value is as good as none: a catalog entry hands over questions that were not answered.
fn filled(value: Option<&String>) -> Option<String> {
    value.map(|value| value.trim()).filter(|value| !value.is_empty()).map(str::to_owned)
}

/// The names of those that were given.
fn named(given: &[(&'static str, bool)]) -> Vec<&'static str> {
    given.iter().filter(|(_, is_given)| *is_given).map(|(name, _)| *name).collect()
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Refresh;

    #[test]
    fn what_is_not_said_has_its_default() {
        let settings = Typed::default().meant().expect("the defaults fit together");
        assert_eq!(settings.entrypoints[0].to_string(), "http at :8080");
        assert_eq!(settings.admin.map(|a| a.to_string()).as_deref(), Some(":8000"));
        assert_eq!(settings.refresh, Refresh::Every(Duration::from_secs(60)));
        let rancher = settings.rancher.expect("described until it is known who answers");
        assert!(!rancher.defaults.serve_unchecked);
        assert!(settings.docker.expect("described too").defaults.serve_unchecked);
    }

    #[test]
    fn a_limit_of_zero_is_the_default() {
        let zero = Some(Duration::ZERO);
        let said = Typed {
            connect_timeout: zero,
            response_timeout: zero,
            idle_timeout: zero,
            health_interval: zero,
            ..Typed::default()
        };
        let [said, usual] = [said, Typed::default()].map(|typed| typed.meant().expect("good ones"));
        assert_eq!((said.limits, said.health_interval), (usual.limits, usual.health_interval));
        let said = Typed { idle_timeout: Some(Duration::from_secs(7)), ..Typed::default() };
        assert_eq!(said.meant().expect("good ones").limits.idle_timeout, Duration::from_secs(7));
    }

    #[test]
    fn what_is_compressed() {
        let compresses = |typed: Typed| typed.meant().expect("good ones").entrypoints[0].compress;
        assert!(!compresses(Typed::default()));
        assert!(compresses(Typed { http_compress: Some(true), ..Typed::default() }));
        let said = "Name:http Address::80 Compress:true".parse().expect("a good one");
        let entrypoints = Some(vec![said]);
        assert!(compresses(Typed { entrypoints: entrypoints.clone(), ..Typed::default() }));
        assert!(!compresses(Typed { entrypoints, http_compress: Some(false), ..Typed::default() }));
    }

    #[test]
    fn certificates_go_together() {
        let typed = Typed { docker_tls_ca: Some("ca.pem".into()), ..Typed::default() };
        assert!(typed.meant().expect_err("two are missing").contains("--docker.tls.key"));
    }

    #[test]
    fn what_is_said_of_a_provider_that_is_not_used_is_told() {
        let file = Typed { file_filename: Some("a".into()), ..Typed::default() };
        let domain = Some("local".to_owned());
        let docker = Typed { docker_domain: domain.clone(), ..file.clone() };
        let both = Typed { rancher_domain: domain.clone(), ..docker.clone() };
        for (typed, expected) in [
            (file.clone(), &[][..]),
            (docker.clone(), &["Docker"]),
            (both.clone(), &["Docker", "Rancher"]),
            (Typed { docker: Some(true), ..both.clone() }, &["Rancher"]),
            (Typed { docker: Some(false), rancher: Some(true), ..both }, &[]),
            (Typed { docker_domain: Some(" ".to_owned()), ..file }, &[]),
            // Whoever answers is used.
            (Typed { docker_domain: domain, ..Typed::default() }, &[]),
        ] {
            let lines = typed.meant().expect("good ones").left_out();
            let names = lines.iter().filter_map(|line| line.split_once(" is not used"));
            assert_eq!(names.map(|(name, _)| name).collect::<Vec<_>>(), expected, "{typed:?}");
        }
    }

    /// A setting that comes later is not forgotten.
    #[test]
    fn all_settings_of_a_provider_are_known_as_its_own() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            typed: Typed,
        }
        let command = <Line as clap::CommandFactory>::command();
        let flags = command.get_arguments().filter_map(|arg| arg.get_long());
        for flag in flags.filter(|flag| flag.starts_with("docker.") || flag.starts_with("rancher."))
        {
            let read = ["true", "tag==a"].into_iter().find_map(|value| {
                let line = ["herder".to_owned(), format!("--{flag}={value}")];
                <Line as clap::Parser>::try_parse_from(line).ok()
            });
            let typed = read.expect(flag).typed;
            assert_eq!([typed.docker_given(), typed.rancher_given()].concat(), [flag]);
        }
    }

    #[test]
    fn one_conflict_hides_no_other() {
        let typed = Typed {
            docker_tls_ca: Some("ca.pem".into()),
            default_entrypoints: Some(vec!["a".to_owned(), "http".to_owned(), "b".to_owned()]),
            file_filename: Some("a".into()),
            file_directory: Some("b".into()),
            ..Typed::default()
        };
        let flags: Vec<&str> = typed.read().1.iter().map(|conflict| conflict.flag).collect();
        let expected =
            ["defaultEntryPoints", "defaultEntryPoints", "file.directory", "docker.tls.ca"];
        assert_eq!(flags, expected);
        assert_eq!(typed.meant().expect_err("four").lines().count(), 4);
    }

    #[test]
    fn a_version_of_the_metadata_may_be_a_path() {
        for (said, meant) in [
            ("/2016-07-29", "2016-07-29"),
            ("/latest/", "latest"),
            ("latest", "latest"),
            ("/", "2016-07-29"),
        ] {
            let typed =
                Typed { rancher_metadata_version: Some(said.to_owned()), ..Typed::default() };
            let rancher = typed.meant().expect("good ones").rancher.expect("described");
            assert_eq!(rancher.version, meant, "{said}");
        }
    }
}
