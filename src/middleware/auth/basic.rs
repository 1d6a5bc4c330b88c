//! Asks for a name and a password (RFC 7617).
//!
//! A check that takes long is done off the worker, and remembered for a while: see [`Verified`]. A wrong password costs as
//! much whoever is named, so that the time of an answer does not tell who is there.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::seen::Seal;
use super::users::UserBook;
use super::{Key, NO_USERS, PasswordUsers, REALM, TextFile, Told, Verified, closed, credentials};
use crate::middleware::{Answer, Flow, Handler, Reply};
use crate::model::Exchange;

/// A longer password is none: some hashes take it in a thousand times.
const PASSWORD_BYTES_MAX: usize = 512;

/// Lets in whoever knows a password.
#[derive(Debug)]
pub struct BasicAuth {
    users: UserBook<PasswordUsers>,
    told: Told,
    verified: Arc<Verified>,
    key: Key,
}

impl BasicAuth {
    /// `lines` are `NAME:HASH`, those of the file too.
    pub fn new(
        lines: Vec<String>,
        file: Option<Arc<TextFile>>,
        told: Told,
        (key, verified): (Key, Arc<Verified>),
    ) -> Self {
        Self { users: UserBook::new(lines, file), told, verified, key }
    }

    fn seal(&self, user: &str, password: &[u8], [whose, first, second]: [&[u8]; 3]) -> Seal {
        self.key.seal("password", &[user.as_bytes(), password, whose, first, second])
    }
}

impl Handler for BasicAuth {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        let Some(users) = self.users.users() else { return closed(NO_USERS) };
        let Some((user, password)) = user_and_password(exchange) else { return refused() };
        let tests = users.tests_of(&user);
        let now_ms = exchange.sender.now_ms;
        // A seal is dearer than a check of SHA-1: what can be told at once needs none.
        let (seal, known) = match tests.is_at_once(&password) {
            Some(is_right) => (Seal::default(), Some(is_right)),
            None => {
                let seal = self.seal(&user, &password, tests.identity());
                (seal, self.verified.get(&seal, now_ms))
            }
        };
        match known {
            Some(true) => self.told.admit(exchange, user),
            Some(false) => refused(),
            None => {
                let verified = Arc::clone(&self.verified);
                Flow::Work(Box::new(move || {
                    // Somebody may have asked the same while this waited for its turn.
                    if let Some(is_right) = verified.get(&seal, now_ms) {
                        return is_right;
                    }
                    let is_right = tests.is_of(&password);
                    verified.put(seal, is_right, now_ms);
                    is_right
                }))
            }
        }
    }

    fn on_reply(&self, exchange: &mut Exchange<'_>, reply: Reply) -> Flow {
        match (reply, user_and_password(exchange)) {
            (Reply::Worked(true), Some((user, _))) => self.told.admit(exchange, user),
            (Reply::Worked(_), _) => refused(),
            (Reply::TooBusy | Reply::Asked(_), _) => closed("too many passwords are being checked"),
        }
    }

    fn describe(&self) -> String {
        "basic authentication".to_owned()
    }

    fn leaves_traces(&self) -> bool {
        true
    }
}

fn refused() -> Flow {
    let challenge = format!("Basic realm=\"{REALM}\"");
    let answer = Answer::new(401).line("WWW-Authenticate", challenge);
    Flow::Answer(answer.because("no user, or not the password"))
}

/// What the client says of itself. A name is one of a line, and so without control characters.
fn user_and_password(exchange: &Exchange<'_>) -> Option<(String, Vec<u8>)> {
    let text = credentials(exchange, "Basic")?;
    let bytes = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok()?;
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let (user, password) = (&bytes[..colon], &bytes[colon + 1..]);
    let user = std::str::from_utf8(user).ok()?;
    let is_plain = !user.is_empty() && !user.chars().any(char::is_control);
    (is_plain && password.len() <= PASSWORD_BYTES_MAX).then(|| (user.to_owned(), password.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::Lines;
    use super::*;

    const USERS: [&str; 3] = [
        "sha:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
        "apr:$apr1$salt$Xxd1irWT9ycqoYxGFn4cb.",
        "bcrypt:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
    ];

    fn auth(users: &[&str]) -> BasicAuth {
        let users = users.iter().map(|user| (*user).to_owned()).collect();
        BasicAuth::new(users, None, Told::default(), (Key::new([7; 32]), Arc::default()))
    }

    /// The status, 200 for a request that goes on, and whether there was work.
    #[track_caller]
    fn check(auth: &BasicAuth, line: &str, expected: (u16, bool)) {
        let lines = Lines(match line {
            "" => vec![],
            line => vec![("authorization", line.to_owned())],
        });
        let mut exchange = Exchange::new("http", "GET", "a", "/", &lines);
        let (mut flow, mut worked) = (auth.on_request(&mut exchange), false);
        if let Flow::Work(work) = flow {
            worked = true;
            flow = auth.on_reply(&mut exchange, Reply::Worked(work()));
        }
        let status = match flow {
            Flow::Continue => 200,
            Flow::Answer(answer) => answer.status,
            _ => 0,
        };
        assert_eq!((status, worked), expected, "{line}");
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[test]
    fn the_right_password_passes_and_no_other() {
        let auth = auth(&USERS);
        check(&auth, &basic("sha:password"), (200, false));
        check(&auth, &basic("sha:Password"), (401, true));
        check(&auth, &basic("sha:Password"), (401, false));
        check(&auth, &basic("apr:password"), (200, true));
        check(&auth, &basic("apr:password"), (200, false));
        check(&auth, &basic("bcrypt:U*U"), (200, true));
        check(&auth, &basic("bcrypt:U*U"), (200, false));
        check(&auth, &basic("bcrypt:wrong"), (401, true));
        check(&auth, &basic("bcrypt:wrong"), (401, false));
        // Nobody, though it is somebody's password.
        check(&auth, &basic("nobody:U*U"), (401, true));
        check(&auth, &basic("nobody:U*U"), (401, false));
        for line in ["", "Basic", "Basic !", "Digest x", "Basic YTpi YTpi"] {
            check(&auth, line, (401, false));
        }
        check(&auth, &basic(&format!("bcrypt:{}", "x".repeat(600))), (401, false));
        check(&auth, &basic("sha\r\nX: y:password"), (401, false));
        check(&auth, &basic(":password"), (401, false));
    }

    /// Two lists with the same hash under other names, which remember together.
    #[test]
    fn who_is_known_elsewhere_by_the_same_hash_is_not_known_here() {
        let hash = USERS[2].strip_prefix("bcrypt").expect("a name");
        let verified = Arc::<Verified>::default();
        let list = |name: &str| {
            let (lines, key) = (vec![format!("{name}{hash}")], Key::new([7; 32]));
            BasicAuth::new(lines, None, Told::default(), (key, Arc::clone(&verified)))
        };
        let (of_ann, of_bob) = (list("ann"), list("bob"));
        check(&of_bob, &basic("ann:U*U"), (401, true));
        check(&of_ann, &basic("ann:U*U"), (200, true));
        check(&of_bob, &basic("ann:U*U"), (401, false));
        check(&of_ann, &basic("ann:U*U"), (200, false));
    }

    #[test]
    fn nobody_comes_in_where_nobody_is_known_or_nobody_has_time() {
        check(&auth(&["sha:geheim"]), &basic("sha:geheim"), (503, false));
        let auth = auth(&USERS);
        let lines = Lines(vec![("Authorization", basic("bcrypt:U*U"))]);
        let mut exchange = Exchange::new("http", "GET", "a", "/", &lines);
        let flow = auth.on_reply(&mut exchange, Reply::TooBusy);
        assert!(matches!(flow, Flow::Answer(answer) if answer.status == 503));
    }
}
