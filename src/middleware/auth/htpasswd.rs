//! Users and the digests of their passwords, as `htpasswd` writes them: `NAME:HASH`, a line for each.
//!
//! The kinds are those that Traefik 1.7 takes: bcrypt, Apache's MD5 (`$apr1$`, and `$1$` as `crypt` has it), and SHA-1.
//! A password in clear is none of them.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, STANDARD};
use md5::{Digest as _, Md5};
use sha1::Sha1;
use subtle::ConstantTimeEq as _;

/// The base64 of bcrypt.
const BCRYPT64: GeneralPurpose = GeneralPurpose::new(&alphabet::BCRYPT, NO_PAD);

/// The costliest bcrypt: each step more doubles the time, and 14 is about a second.
pub const BCRYPT_COST_MAX: u32 = 14;

/// A line that makes no user: whose it is, why, and what to do. Never what follows the name: that is a secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BadLine {
    /// Its number, from 1.
    pub number: usize,
    /// The name before its first colon, where there is one.
    pub user: Option<Box<str>>,
    /// What is wrong with it: a clause without a full stop.
    pub why: String,
    /// What to write instead: a sentence.
    pub hint: &'static str,
}

impl BadLine {
    /// ` ("ann")`, or nothing where nobody knows whose it is.
    pub fn shown_user(&self) -> String {
        self.user.as_ref().map(|user| format!(" ({user:?})")).unwrap_or_default()
    }
}

/// What is kept of a password.
#[derive(Clone, Eq, PartialEq)]
pub(super) enum Hash {
    /// `$2y$05$…`.
    Bcrypt {
        /// The whole of it.
        text: Box<str>,
        /// Its cost.
        cost: u32,
    },
    /// `$apr1$SALT$DIGEST`, `$1$SALT$DIGEST`.
    Md5 {
        /// `$apr1$` or `$1$`.
        magic: &'static str,
        /// Up to eight characters.
        salt: Box<str>,
        /// 22 characters.
        digest: Box<str>,
    },
    /// `{SHA}` and the digest in base64.
    Sha1([u8; 20]),
}

impl std::fmt::Debug for Hash {
    /// Its kind alone.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bcrypt { .. } => "bcrypt",
            Self::Md5 { .. } => "md5",
            Self::Sha1(_) => "sha1",
        })
    }
}

impl Hash {
    /// Reads one.
    ///
    /// # Errors
    /// Why it is none, a clause, and what to write instead.
    pub(super) fn parse(text: &str) -> Result<Self, (String, &'static str)> {
        const USE: &str = "Write what `htpasswd -nbB NAME PASSWORD` prints.";
        let wrong = |why: &str, hint| Err((why.to_owned(), hint));
        if text.starts_with("$$") {
            return wrong(
                "its $ are doubled",
                "Double each $ in Compose files only; elsewhere write it once.",
            );
        }
        if let Some(digest) = text.strip_prefix("{SHA}") {
            let digest = STANDARD.decode(digest).ok().and_then(|d| d.try_into().ok());
            return match digest {
                Some(digest) => Ok(Self::Sha1(digest)),
                None => wrong("its {SHA} is no digest of 20 bytes in base64", USE),
            };
        }
        for magic in ["$apr1$", "$1$"] {
            let Some(rest) = text.strip_prefix(magic) else { continue };
            let parts = rest.split_once('$').filter(|(salt, digest)| {
                salt.len() <= 8 && digest.len() == 22 && digest.bytes().all(is_crypt64)
            });
            return match parts {
                Some((salt, digest)) => {
                    Ok(Self::Md5 { magic, salt: salt.into(), digest: digest.into() })
                }
                None => wrong("its MD5 was cut or is not Apache's", USE),
            };
        }
        if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
            let cost = text.get(4..6).and_then(|cost| cost.parse::<u32>().ok());
            let rest = text.get(6..).and_then(|rest| rest.strip_prefix('$'));
            let is_whole =
                rest.and_then(|rest| rest.split_at_checked(22)).is_some_and(|(salt, digest)| {
                    let is_read = |text: &str, bytes: usize| {
                        BCRYPT64.decode(text).is_ok_and(|read| read.len() == bytes)
                    };
                    is_read(salt, 16) && is_read(digest, 23)
                });
            return match cost.filter(|_| is_whole) {
                Some(cost @ 4..=BCRYPT_COST_MAX) => Ok(Self::Bcrypt { text: text.into(), cost }),
                Some(cost) if cost > BCRYPT_COST_MAX => Err((
                    format!("its bcrypt has the cost {cost}, and each request would take seconds"),
                    "Make it anew with a cost of up to 14; 10 is usual.",
                )),
                _ => wrong("its bcrypt was cut", USE),
            };
        }
        wrong(
            "its password is in clear or of a kind that is not taken; bcrypt, apr1 and {SHA} are",
            USE,
        )
    }

    /// Whether this is the password. Takes as long for a wrong one as for the right one.
    pub(super) fn is_of(&self, password: &[u8]) -> bool {
        match self {
            Self::Bcrypt { text, .. } => bcrypt::verify(password, text).unwrap_or(false),
            Self::Md5 { magic, salt, digest } => {
                let own = md5_crypt(password, magic, salt.as_bytes());
                own.ct_eq(digest.as_bytes()).into()
            }
            Self::Sha1(digest) => {
                let own: [u8; 20] = Sha1::digest(password).into();
                own.ct_eq(digest).into()
            }
        }
    }

    /// How much work a check of it is, to compare one with another.
    pub(super) fn cost(&self) -> u32 {
        match self {
            Self::Sha1(_) => 0,
            Self::Md5 { .. } => 1,
            Self::Bcrypt { cost, .. } => *cost,
        }
    }

    /// What tells it from every other one.
    pub(super) fn identity(&self) -> (&[u8], &[u8]) {
        match self {
            Self::Bcrypt { text, .. } => (text.as_bytes(), b""),
            Self::Md5 { salt, digest, .. } => (salt.as_bytes(), digest.as_bytes()),
            Self::Sha1(digest) => (digest, b""),
        }
    }
}

/// Reads lines. What a line says is never part of the complaint about it, but for a name.
pub(super) fn parse_users<'l>(
    lines: impl Iterator<Item = &'l str>,
) -> (Vec<(Box<str>, Hash)>, Vec<BadLine>) {
    let (mut users, mut bad) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(lines).filter(|(_, line)| is_entry(line)) {
        let read = match line.trim().split_once(':') {
            Some((name, hash)) if !name.is_empty() => {
                Hash::parse(hash.trim()).map(|hash| (name.into(), hash))
            }
            _ => Err((
                "it is not NAME:HASH".to_owned(),
                "Write what `htpasswd -nbB NAME PASSWORD` prints.",
            )),
        };
        match read {
            Ok(user) => users.push(user),
            Err((why, hint)) => bad.push(BadLine { number, user: user_of(line), why, hint }),
        }
    }
    (users, bad)
}

/// Whose line this is.
pub(super) fn user_of(line: &str) -> Option<Box<str>> {
    let (name, _) = line.trim().split_once(':')?;
    Some(name).filter(|name| !name.is_empty()).map(Box::from)
}

/// Whether a line says anything: not empty, and no comment.
pub(super) fn is_entry(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

const CRYPT64: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn is_crypt64(byte: u8) -> bool {
    CRYPT64.contains(&byte)
}

/// The MD5 of `crypt(3)`, in Apache's variant where `magic` says so: a thousand rounds, and 22 characters.
fn md5_crypt(password: &[u8], magic: &str, salt: &[u8]) -> [u8; 22] {
    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password);
    let inner = inner.finalize();
    let mut first = Md5::new().chain_update(password).chain_update(magic).chain_update(salt);
    for at in (0..password.len()).step_by(16) {
        first.update(&inner[..(password.len() - at).min(16)]);
    }
    let mut bits = password.len();
    while bits > 0 {
        // The bits of the length choose between a zero and the password's first byte.
        first.update(if bits & 1 == 1 { &[0] } else { &password[..1] });
        bits >>= 1;
    }
    let mut digest = first.finalize();
    for round in 0..1_000 {
        let mut next = Md5::new();
        let (before, after): (&[u8], &[u8]) =
            if round % 2 == 1 { (password, &digest) } else { (&digest, password) };
        next.update(before);
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(after);
        digest = next.finalize();
    }
    let mut out = [0; 22];
    let groups = [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)];
    let mut at = 0;
    let mut put = |mut bits: u32, count: usize| {
        for _ in 0..count {
            out[at] = CRYPT64[(bits & 63) as usize];
            bits >>= 6;
            at += 1;
        }
    };
    for (high, middle, low) in groups {
        let byte = |place: usize| u32::from(digest[place]);
        put(byte(high) << 16 | byte(middle) << 8 | byte(low), 4);
    }
    put(u32::from(digest[11]), 2);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(hash: &str, password: &str) {
        let hash = Hash::parse(hash).expect("a good one");
        assert!(hash.is_of(password.as_bytes()));
        for other in [format!("{password}x"), password.to_uppercase(), String::new()] {
            assert!(other == password || !hash.is_of(other.as_bytes()), "{other}");
        }
    }

    /// The apr1 and `$1$` lines are of `openssl passwd -apr1 -salt` and `-1`, the bcrypt ones of `htpasswd -nbB` and of
    /// the Openwall test vectors.
    #[test]
    fn every_kind_is_checked() {
        check("$apr1$salt$Xxd1irWT9ycqoYxGFn4cb.", "password");
        check("$1$salt$qJH7.N4xYta3aEG/dfqo/0", "password");
        check("$apr1$z$IuA4p7NhERX45UofKmRNs/", "p");
        check("$1$z$FOmkkr.kdby2CZDHuaGV90", "p");
        check(
            "$apr1$xxxxxxxx$obroPgbbQUlnzZ76w1QEa/",
            "a much longer password than sixteen bytes, ünd more",
        );
        check(
            "$1$xxxxxxxx$5HgxKv1abr4QY5yxm75WW/",
            "a much longer password than sixteen bytes, ünd more",
        );
        check("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U");
        check("$2y$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK", "U*U*");
        check("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "password");
    }

    #[test]
    fn what_is_no_hash_is_explained() {
        for (text, word) in [
            ("geheim", "not taken"),
            ("", "not taken"),
            ("{SHA}geheim", "base64"),
            ("$apr1$salt", "cut"),
            ("$apr1$toolongsalt$ZtbgXl1Eel/x7o2vyD.vF0", "cut"),
            ("$2y$05$geheim", "cut"),
            ("$2y$31$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK", "cost 31"),
            ("$2y$xx$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK", "cut"),
            ("$2y$03$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK", "cut"),
            ("$$apr1$$a$$b", "doubled"),
            ("$6$salt$geheim", "not taken"),
        ] {
            let (why, _) = Hash::parse(text).expect_err(text);
            assert!(why.contains(word) && !why.contains("geheim"), "{text}: {why}");
        }
    }

    #[test]
    fn lines_are_read_one_by_one() {
        let text = "# ours\n\n ann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g= \r\nbob:geheim\n:x\ngeheim\n";
        let (users, bad) = parse_users(text.lines());
        assert_eq!(users.len(), 1);
        assert_eq!(&*users[0].0, "ann");
        assert_eq!(bad.iter().map(|bad| bad.number).collect::<Vec<_>>(), [4, 5, 6]);
        let whose: Vec<String> = bad.iter().map(BadLine::shown_user).collect();
        assert_eq!(whose, [" (\"bob\")", "", ""]);
        assert!(!format!("{bad:?}{users:?}").contains("geheim"));
    }
}
