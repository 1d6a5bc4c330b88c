//! The check that the servers of a service get: the one of its labels, else Rancher's own where that is asked for.

use std::sync::Arc;

use super::reader::Reader;
use crate::config::{Check, HealthCheck, InvalidCheck};
use crate::model::{HealthBlock, Origin, Outcome, Problem};

/// Where the settings of a check stand.
const FAMILY: &str = "traefik.backend.healthcheck.";

/// Asks for Rancher's own check, or against it.
pub(super) const RANCHER: &str = "traefik.backend.healthcheck.rancher";

impl Reader<'_> {
    /// The check to run; what its labels say goes before what Rancher says.
    pub(super) fn health_check(&mut self, asked: Option<HealthCheck>) -> Option<HealthCheck> {
        let runs_ranchers = self.boolean(RANCHER).unwrap_or(self.defaults.run_health_checks);
        let wish = match (asked, &self.service.health_block) {
            (Some(asked), _) => asked,
            (None, Some(block)) if runs_ranchers => of_rancher(block),
            (None, _) => {
                self.report_settings_without_path();
                return None;
            }
        };
        let (check, invalid) = Check::of(&wish);
        for invalid in invalid {
            let key = format!("{FAMILY}{}", invalid.setting);
            let problem = problem_of(&self.at(&key), &self.written(&key), &invalid);
            self.problem(problem);
        }
        let name = check?.name();
        self.step(Outcome::Pass, "health check", || {
            format!("Each server is asked ({name}), and gets requests once it has passed.")
        });
        Some(wish)
    }

    /// Whoever sets an interval wants a check: without a path there is none.
    fn report_settings_without_path(&mut self) {
        let keys = self.service.labels.keys();
        let is_setting = |key: &&Arc<str>| {
            key.strip_prefix(FAMILY).is_some_and(|rest| !["rancher", "path"].contains(&rest))
        };
        let Some(key) = keys.clone().find(is_setting).cloned() else { return };
        let what = format!("{key} says how to check, and no label says what; nothing is checked.");
        let problem = Problem::warning(&self.origin.label(key), what);
        self.problem(problem.hint("Add traefik.backend.healthcheck.path."));
    }
}

/// What is wrong with one setting, for whoever wrote it.
pub(super) fn problem_of(origin: &Origin, key: &str, invalid: &InvalidCheck) -> Problem {
    Problem::error(origin, format!("{key} {}.", invalid.why)).hint(invalid.hint)
}

/// Rancher's `health_check` block as a wish: a request line is asked over HTTP, without one a connection is enough.
fn of_rancher(block: &HealthBlock) -> HealthCheck {
    let time = |ms: u64| if ms == 0 { String::new() } else { format!("{ms}ms") };
    // `GET "/" "HTTP/1.0"`, as HAProxy's `option httpchk` takes it.
    let mut words = block.request_line.split_whitespace().map(|word| word.trim_matches('"'));
    let method = words.next().unwrap_or_default();
    let path = words.next().filter(|path| !path.is_empty()).unwrap_or("/");
    let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_alphabetic());
    HealthCheck {
        path: if is_method { path.to_owned() } else { String::new() },
        is_http10: words.next().is_some_and(|version| version.eq_ignore_ascii_case("HTTP/1.0")),
        method: if is_method { method.to_ascii_uppercase() } else { String::new() },
        is_connect: !is_method,
        port: i64::from(block.port),
        interval: time(block.interval_ms),
        timeout: time(block.timeout_ms),
        rise: i64::from(block.rise),
        fall: i64::from(block.fall),
        ..HealthCheck::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Question;

    fn check(request_line: &str) -> Check {
        let block = HealthBlock {
            port: 8080,
            interval_ms: 2_000,
            timeout_ms: 1_500,
            rise: 2,
            fall: 3,
            request_line: request_line.to_owned(),
        };
        let (check, invalid) = Check::of(&of_rancher(&block));
        assert_eq!(invalid, []);
        check.expect("a check")
    }

    #[test]
    fn a_block_without_a_request_line_is_a_connection() {
        let read = check("");
        assert_eq!((read.question, read.port), (Question::Connect, Some(8080)));
        assert_eq!((read.rise, read.fall), (2, 3));
        assert_eq!(read.interval, Some(Duration::from_secs(2)));
        assert_eq!(read.timeout, Duration::from_millis(1_500));
    }

    #[test]
    fn a_request_line_is_asked_with_and_without_marks() {
        for (line, sent) in [
            ("GET \"/\" \"HTTP/1.0\"", "GET / HTTP/1.0\r\n"),
            ("GET /ping HTTP/1.1", "GET /ping HTTP/1.1\r\n"),
            ("OPTIONS", "OPTIONS / HTTP/1.1\r\n"),
        ] {
            let Question::Http(request) = check(line).question else { panic!("{line}") };
            let text = request.write("a");
            assert!(text.starts_with(sent), "{text}");
        }
    }
}
