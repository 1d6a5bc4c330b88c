//! Who may pass by name: basic and digest authentication, another server that is asked, and what they share.
//!
//! All of it fails closed: where the users cannot be read, or nobody has time to check a password, the answer is 503.

mod basic;
mod digest;
mod forward;
mod htpasswd;
mod key;
mod seen;
mod text_file;
mod users;

pub use basic::BasicAuth;
pub use digest::{DigestAuth, Nonces};
pub use forward::{ForwardAuth, Pem, check_line_name};
pub use htpasswd::{BCRYPT_COST_MAX, BadLine};
pub use key::Key;
pub use seen::Verified;
pub use text_file::{FileText, TEXT_FILE_BYTES_MAX, TextFile};
pub use users::{DigestUsers, PasswordUsers, Users};

use crate::middleware::{Answer, Flow};
use crate::model::{Exchange, is_spelling_of};

/// The realm of Traefik 1.7, which `htdigest` lines have to name.
pub const REALM: &str = "traefik";

/// When to come again where passwords cannot be checked now, in seconds.
const RETRY_AFTER_SECONDS: &str = "5";

/// What the servers get of who somebody is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Told {
    /// Whether they do not get `Authorization`.
    pub remove_header: bool,
    /// The line in which they get the name. A client's own line of this name never reaches them.
    pub header_field: Option<String>,
}

impl Told {
    /// Lets the request go on, as this user's.
    fn admit(&self, exchange: &mut Exchange<'_>, user: String) -> Flow {
        if self.remove_header {
            exchange.change().remove_line("authorization");
        }
        if let Some(name) = &self.header_field {
            remove_spellings(exchange, name);
            exchange.change().set_line(name.clone(), user.clone());
        }
        exchange.change().user = Some(user);
        Flow::Continue
    }
}

/// Why nobody can be let in.
const NO_USERS: &str = "its users cannot be read";

/// Nobody can be let in now.
fn closed(why: &'static str) -> Flow {
    let answer = Answer::new(503).line("Retry-After", RETRY_AFTER_SECONDS);
    Flow::Answer(answer.because(why))
}

/// Takes the client's lines of this name out, however they spell it.
pub fn remove_spellings(exchange: &mut Exchange<'_>, name: &str) {
    let mut spellings = Vec::new();
    exchange.head.each_line(&mut |line, _| {
        let is_spelling = is_spelling_of(line.as_bytes(), name.as_bytes());
        if is_spelling && !spellings.iter().any(|s: &String| s.as_str() == line) {
            spellings.push(line.to_owned());
        }
    });
    let changes = exchange.change();
    changes.remove_line(name.to_owned());
    spellings.into_iter().for_each(|line| changes.remove_line(line));
}

/// What follows the scheme in the only `Authorization` line, where it is of this scheme.
fn credentials<'e>(exchange: &'e Exchange<'_>, scheme: &str) -> Option<&'e str> {
    let mut count = 0;
    exchange.head.has_line("authorization", &mut |_| {
        count += 1;
        false
    });
    // Of two it is not known which one the next reader takes.
    let line = exchange.line("authorization").filter(|_| count == 1)?;
    let (own, rest) = line.split_once(' ')?;
    own.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::Head;

    /// Header lines for tests.
    pub(crate) struct Lines(pub(crate) Vec<(&'static str, String)>);

    impl Head for Lines {
        fn header(&self, name: &str) -> Option<&[u8]> {
            let line = self.0.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
            line.map(|(_, value)| value.as_bytes())
        }

        fn has_line(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            let mut lines = self.0.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
            lines.any(|(_, value)| test(value.as_bytes()))
        }

        fn each_line(&self, see: &mut dyn FnMut(&str, &[u8])) {
            self.0.iter().for_each(|(name, value)| see(name, value.as_bytes()));
        }
    }

    #[test]
    fn a_name_is_told_by_us_alone() {
        let lines = Lines(vec![
            ("X-Remote-User", "root".to_owned()),
            ("x_remote-user", "root".to_owned()),
            ("X-Remote-Users", "x".to_owned()),
        ]);
        let mut exchange = Exchange::new("http", "GET", "a", "/", &lines);
        let told = Told { remove_header: true, header_field: Some("X-Remote-User".to_owned()) };
        assert!(matches!(told.admit(&mut exchange, "ann".to_owned()), Flow::Continue));
        let changes = exchange.changes().expect("some");
        for gone in ["x-remote-user", "X_REMOTE-USER", "Authorization"] {
            assert!(changes.is_removed(gone), "{gone}");
        }
        assert!(!changes.is_removed("x-remote-users"));
        assert_eq!(changes.added, [("X-Remote-User".into(), "ann".to_owned())]);
        assert_eq!(changes.user.as_deref(), Some("ann"));
    }

    #[test]
    fn of_two_credentials_none_counts() {
        let one = ("Authorization", "basic YTpi".to_owned());
        let lines = Lines(vec![one.clone()]);
        let exchange = Exchange::new("http", "GET", "a", "/", &lines);
        assert_eq!(credentials(&exchange, "Basic"), Some("YTpi"));
        assert_eq!(credentials(&exchange, "Digest"), None);
        let lines = Lines(vec![one.clone(), one]);
        assert_eq!(credentials(&Exchange::new("http", "GET", "a", "/", &lines), "Basic"), None);
    }
}
