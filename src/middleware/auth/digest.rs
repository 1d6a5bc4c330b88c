//! Asks for a proof that a password is known, without the password (RFC 7616): `qop=auth`, SHA-256 or MD5.
//!
//! A nonce is a time and a seal on it: nothing is kept of the many that are never used. What is kept is which counts of a
//! used one were there, so that nobody who listens can say the same again.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use md5::{Digest as _, Md5};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::users::{Algorithm, UserBook};
use super::{DigestUsers, Key, NO_USERS, REALM, TextFile, Told, closed, credentials};
use crate::middleware::{Answer, Flow, Handler};
use crate::model::Exchange;

/// How long a nonce is good.
const NONCE_MS: u64 = 5 * 60 * 1_000;

/// Nonces whose counts are remembered. When there are more, older ones are no longer good.
const NONCES_MAX: usize = 65_536;

/// How far counts may come out of order: browsers ask over several connections at once.
const COUNTS_BEHIND_MAX: u64 = 64;

/// Lets in whoever proves to know a password.
#[derive(Debug)]
pub struct DigestAuth {
    users: UserBook<DigestUsers>,
    told: Told,
    nonces: Arc<Nonces>,
    key: Key,
}

impl DigestAuth {
    /// `lines` are `NAME:REALM:HASH`, those of the file too.
    pub fn new(
        lines: Vec<String>,
        file: Option<Arc<TextFile>>,
        told: Told,
        (key, nonces): (Key, Arc<Nonces>),
    ) -> Self {
        Self { users: UserBook::new(lines, file), told, nonces, key }
    }

    /// A nonce made now: when, something random, and the seal on both, in hexadecimal.
    fn nonce(&self, exchange: &Exchange<'_>) -> String {
        let (now_ms, random) = (exchange.sender.now_ms, (exchange.sender.random)());
        let text = format!("{now_ms:016x}{random:016x}");
        let seal = self.key.seal("nonce", &[text.as_bytes()]);
        text + &hex(&seal[..16])
    }

    /// When this nonce was made, if we made it.
    fn made_ms(&self, nonce: &str) -> Option<u64> {
        let (text, seal) = nonce.split_at_checked(32)?;
        let own = hex(&self.key.seal("nonce", &[text.as_bytes()])[..16]);
        let is_own: bool = own.as_bytes().ct_eq(seal.as_bytes()).into();
        u64::from_str_radix(text.get(..16)?, 16).ok().filter(|_| is_own)
    }

    fn refused(&self, exchange: &Exchange<'_>, users: &DigestUsers, is_stale: bool) -> Flow {
        let nonce = self.nonce(exchange);
        let stale = if is_stale { ", stale=true" } else { "" };
        let mut answer = Answer::new(401).because("no user, or not the password");
        // What we like best comes first (RFC 7616, section 3.7).
        for (algorithm, name) in [(Algorithm::Sha256, "SHA-256"), (Algorithm::Md5, "MD5")] {
            if users.has(algorithm) {
                let challenge = format!(
                    "Digest realm=\"{REALM}\", qop=\"auth\", algorithm={name}, nonce=\"{nonce}\"{stale}"
                );
                answer = answer.line("WWW-Authenticate", challenge);
            }
        }
        Flow::Answer(answer)
    }
}

impl Handler for DigestAuth {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        let Some(users) = self.users.users() else { return closed(NO_USERS) };
        let proof = credentials(exchange, "Digest").and_then(Proof::read);
        let Some(proof) = proof.filter(|proof| proof.is_about(exchange)) else {
            return self.refused(exchange, &users, false);
        };
        // Whoever is unknown is held against what nobody has.
        let known = users.hash_of(&proof.user, proof.algorithm);
        let is_right = proof.is_of(known.unwrap_or_default(), exchange.method);
        if !is_right || known.is_none() {
            return self.refused(exchange, &users, false);
        }
        let now_ms = exchange.sender.now_ms;
        let made_ms = self.made_ms(&proof.nonce);
        // Workers' clocks may be a few milliseconds apart.
        let made_ms = made_ms.filter(|made| now_ms.saturating_sub(*made) < NONCE_MS);
        match made_ms.is_some_and(|made| self.nonces.take(&proof.nonce, proof.count, made, now_ms))
        {
            true => self.told.admit(exchange, proof.user),
            false => self.refused(exchange, &users, true),
        }
    }

    fn describe(&self) -> String {
        "digest authentication".to_owned()
    }

    fn leaves_traces(&self) -> bool {
        true
    }
}

/// Which counts of which nonces were there, for all steps and workers together.
#[derive(Debug, Default)]
pub struct Nonces(Mutex<Used>);

#[derive(Debug, Default)]
struct Used {
    by_nonce: HashMap<Box<str>, Counts>,
    /// Those made until then are no longer good where nothing is known of them: it may have been forgotten.
    forgotten_ms: u64,
}

#[derive(Debug)]
struct Counts {
    made_ms: u64,
    highest: u64,
    /// Which of those before the highest were there: the lowest bit is the highest itself.
    seen: u64,
}

impl Nonces {
    /// Whether this count of the nonce is a new one; it is no more then.
    fn take(&self, nonce: &str, count: u64, made_ms: u64, now_ms: u64) -> bool {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let used = &mut *used;
        if let Some(counts) = used.by_nonce.get_mut(nonce) {
            return counts.take(count);
        }
        if made_ms <= used.forgotten_ms {
            return false;
        }
        if used.by_nonce.len() >= NONCES_MAX {
            used.make_room(now_ms);
            if made_ms <= used.forgotten_ms {
                return false;
            }
        }
        used.by_nonce.insert(nonce.into(), Counts { made_ms, highest: count, seen: 1 });
        true
    }
}

impl Used {
    /// Forgets what is too old, else the older half.
    fn make_room(&mut self, now_ms: u64) {
        self.by_nonce.retain(|_, counts| now_ms.saturating_sub(counts.made_ms) < NONCE_MS);
        if self.by_nonce.len() < NONCES_MAX {
            return;
        }
        let mut times: Vec<u64> = self.by_nonce.values().map(|counts| counts.made_ms).collect();
        let middle = times.len() / 2;
        let (_, until_ms, _) = times.select_nth_unstable(middle);
        self.forgotten_ms = *until_ms;
        self.by_nonce.retain(|_, counts| counts.made_ms > self.forgotten_ms);
    }
}

impl Counts {
    fn take(&mut self, count: u64) -> bool {
        if count > self.highest {
            let ahead = count - self.highest;
            self.seen = if ahead < COUNTS_BEHIND_MAX { self.seen << ahead } else { 0 } | 1;
            self.highest = count;
            return true;
        }
        let behind = self.highest - count;
        if behind >= COUNTS_BEHIND_MAX || self.seen >> behind & 1 == 1 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}

/// What a client says to prove that it knows a password.
struct Proof {
    user: String,
    nonce: String,
    uri: String,
    cnonce: String,
    count_text: String,
    count: u64,
    response: String,
    algorithm: Algorithm,
}

impl Proof {
    /// Reads `username="ann", realm="traefik", …`. What is there twice, or missing, makes it none.
    fn read(text: &str) -> Option<Self> {
        let mut said = parameters(text)?;
        let algorithm = match said.remove("algorithm") {
            None => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("md5") => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("sha-256") => Algorithm::Sha256,
            Some(_) => return None,
        };
        if said.remove("qop")? != "auth" || said.remove("realm")? != REALM {
            return None;
        }
        let count_text = said.remove("nc")?;
        let is_hex = count_text.len() == 8 && count_text.bytes().all(|b| b.is_ascii_hexdigit());
        let count = u64::from_str_radix(&count_text, 16).ok().filter(|_| is_hex)?;
        Some(Self {
            user: said.remove("username").filter(|user| !user.chars().any(char::is_control))?,
            nonce: said.remove("nonce")?,
            uri: said.remove("uri")?,
            cnonce: said.remove("cnonce")?,
            response: said.remove("response")?,
            count_text,
            count,
            algorithm,
        })
    }

    /// Whether it is about this request's target: its path and query, or a whole URL.
    fn is_about(&self, exchange: &Exchange<'_>) -> bool {
        let path = match self.uri.split_once("://") {
            Some((_, rest)) if !self.uri.starts_with('/') => {
                rest.find('/').and_then(|at| rest.get(at..))
            }
            _ => Some(self.uri.as_str()),
        };
        let (path, query) = match path.unwrap_or("/").split_once('?') {
            Some((path, query)) => (path, query),
            None => (path.unwrap_or("/"), ""),
        };
        path == exchange.sent_path && query == exchange.query
    }

    /// Whether whoever made it knows what `hash` was made from.
    fn is_of(&self, hash: &str, method: &str) -> bool {
        let digest = |text: &str| match self.algorithm {
            Algorithm::Md5 => hex(&Md5::digest(text)),
            Algorithm::Sha256 => hex(&Sha256::digest(text)),
        };
        let asked = digest(&format!("{method}:{}", self.uri));
        let Self { nonce, count_text, cnonce, response, .. } = self;
        let own = digest(&format!("{hash}:{nonce}:{count_text}:{cnonce}:auth:{asked}"));
        own.as_bytes().ct_eq(response.to_ascii_lowercase().as_bytes()).into()
    }
}

/// The parameters of credentials (RFC 9110, section 11.2), names in lower case; none where they cannot be read, or one is
/// there twice.
fn parameters(text: &str) -> Option<HashMap<String, String>> {
    let mut found = HashMap::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted_string(quoted)?,
            None => {
                let (value, after) = after.split_at(after.find(',').unwrap_or(after.len()));
                (value.trim().to_owned(), after)
            }
        };
        let name = name.trim().to_ascii_lowercase();
        if found.insert(name, value).is_some() {
            return None;
        }
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(after) => after.trim_start(),
            None if after.is_empty() => after,
            None => return None,
        };
    }
    Some(found)
}

/// What stands between quotes, and what follows.
fn quoted_string(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(chars.next()?.1),
            char => value.push(char),
        }
    }
    None
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::Lines;
    use super::*;

    fn auth() -> DigestAuth {
        let (md5, sha) =
            (hex(&Md5::digest("ann:traefik:geheim")), hex(&Sha256::digest("ann:traefik:geheim")));
        let users = vec![format!("ann:traefik:{md5}"), format!("ann:traefik:{sha}")];
        DigestAuth::new(users, None, Told::default(), (Key::new([3; 32]), Arc::default()))
    }

    struct Attempt<'a> {
        user: &'a str,
        password: &'a str,
        nonce: &'a str,
        count: &'a str,
        uri: &'a str,
        algorithm: Algorithm,
    }

    impl Attempt<'_> {
        fn line(&self) -> String {
            let Self { user, password, nonce, count, uri, algorithm } = self;
            let name = if *algorithm == Algorithm::Md5 { "MD5" } else { "SHA-256" };
            let mut proof = Proof {
                user: (*user).to_owned(),
                nonce: (*nonce).to_owned(),
                uri: (*uri).to_owned(),
                cnonce: "c".to_owned(),
                count_text: (*count).to_owned(),
                count: 0,
                response: String::new(),
                algorithm: *algorithm,
            };
            let digest = |text: &str| match algorithm {
                Algorithm::Md5 => hex(&Md5::digest(text)),
                Algorithm::Sha256 => hex(&Sha256::digest(text)),
            };
            let hash = digest(&format!("{user}:traefik:{password}"));
            let asked = digest(&format!("GET:{uri}"));
            proof.response = digest(&format!("{hash}:{nonce}:{count}:c:auth:{asked}"));
            format!(
                "Digest username=\"{user}\", realm=\"traefik\", nonce=\"{nonce}\", uri=\"{uri}\", algorithm={name}, \
                 response=\"{}\", qop=auth, nc={count}, cnonce=\"c\"",
                proof.response
            )
        }
    }

    /// The status, 200 for a request that goes on, and the challenge.
    fn ask(auth: &DigestAuth, line: &str, now_ms: u64) -> (u16, String) {
        ask_by("GET", auth, line, now_ms)
    }

    fn ask_by(method: &str, auth: &DigestAuth, line: &str, now_ms: u64) -> (u16, String) {
        let lines = Lines(vec![("Authorization", line.to_owned())]);
        let mut exchange = Exchange::new("http", method, "a", "/x?y=z", &lines);
        exchange.sender.now_ms = now_ms;
        match auth.on_request(&mut exchange) {
            Flow::Continue => {
                assert_eq!(exchange.changes().and_then(|c| c.user.as_deref()), Some("ann"));
                (200, String::new())
            }
            Flow::Answer(answer) => {
                let lines: Vec<_> = answer.lines.iter().map(|(_, value)| value.as_str()).collect();
                (answer.status, lines.join("\n"))
            }
            flow => panic!("{flow:?}"),
        }
    }

    fn nonce_of(challenge: &str) -> String {
        let (_, rest) = challenge.split_once("nonce=\"").expect("a nonce");
        rest.split('"').next().expect("its end").to_owned()
    }

    #[test]
    fn a_proof_is_good_once() {
        for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
            let auth = auth();
            let (status, challenge) = ask(&auth, "", 1_000);
            assert_eq!(status, 401);
            assert!(challenge.find("SHA-256") < challenge.find("MD5"), "{challenge}");
            let nonce = nonce_of(&challenge);
            let good = Attempt {
                user: "ann",
                password: "geheim",
                nonce: &nonce,
                count: "00000001",
                uri: "/x?y=z",
                algorithm,
            };
            assert_eq!(ask(&auth, &good.line(), 1_001).0, 200);
            let (status, challenge) = ask(&auth, &good.line(), 1_002);
            assert!(status == 401 && challenge.contains("stale=true"), "a replay: {challenge}");
            assert_eq!(ask(&auth, &Attempt { count: "00000003", ..good }.line(), 1_003).0, 200);
            assert_eq!(ask(&auth, &Attempt { count: "00000002", ..good }.line(), 1_003).0, 200);
            assert_eq!(ask(&auth, &Attempt { count: "00000002", ..good }.line(), 1_003).0, 401);
            for bad in [
                Attempt { user: "bob", ..good },
                Attempt { password: "wrong", ..good },
                Attempt { uri: "/other", ..good },
                Attempt { uri: "/x?y=a", ..good },
            ] {
                let (status, challenge) = ask(&auth, &bad.line(), 1_004);
                assert!(status == 401 && !challenge.contains("stale"), "{challenge}");
            }
            let other = Attempt { count: "00000008", ..good };
            assert_eq!(ask_by("POST", &auth, &other.line(), 1_004).0, 401, "a proof for GET");
            let late = Attempt { count: "00000009", ..good };
            let (status, challenge) = ask(&auth, &late.line(), 1_000 + NONCE_MS);
            assert!(status == 401 && challenge.contains("stale=true"), "{challenge}");
            let forged = format!("{:016x}{:016x}{}", 1_000, 5, "0".repeat(32));
            let (status, challenge) = ask(&auth, &Attempt { nonce: &forged, ..good }.line(), 1_004);
            assert!(status == 401 && challenge.contains("stale=true"), "{challenge}");
        }
    }

    #[test]
    fn what_cannot_be_read_proves_nothing() {
        for text in ["a", "a=\"", "a=b, a=c", "a=\"b\"c=d", "a=\"\\"] {
            assert!(parameters(text).is_none(), "{text}");
        }
        let read = parameters("a=\"b\\\"c\", D = e , f=\"\"").expect("good ones");
        assert_eq!((read["a"].as_str(), read["d"].as_str(), read["f"].as_str()), ("b\"c", "e", ""));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_forgotten_is_not_good() {
        let nonces = Nonces::default();
        for number in 0..(NONCES_MAX as u64 + 10) {
            nonces.take(&number.to_string(), 1, 1_000 + number, 1_000 + number);
        }
        let len = nonces.0.lock().expect("not poisoned").by_nonce.len();
        assert!(len <= NONCES_MAX, "{len}");
        assert!(!nonces.take("0", 1, 1_000, 70_000), "it was there");
        assert!(!nonces.take("never", 1, 1_000, 70_000), "it may have been there");
        assert!(nonces.take("young", 1, 70_000, 70_000));
    }

    #[test]
    fn counts_far_behind_are_old() {
        let mut counts = Counts { made_ms: 0, highest: 1, seen: 1 };
        assert!(counts.take(100) && counts.take(40) && !counts.take(40) && !counts.take(36));
        assert!(!counts.take(100) && counts.take(u64::MAX) && !counts.take(u64::MAX));
    }
}
