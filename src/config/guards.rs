//! Whether what keeps strangers out can be done as it was asked for. The labels' reader, that of files and the entry points
//! ask here, and so say the same.

use super::{AllowList, Auth, ClientTls, FrontendWishes, UsersAuth};
use crate::middleware::AllowList as AllowStep;
use crate::middleware::auth::{
    BadLine, DigestUsers, ForwardAuth, PasswordUsers, Pem, Users, check_line_name,
};

/// Something that is wrong with a guard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidGuard {
    /// Where, below a frontend: `auth.basic.users`.
    pub key: &'static str,
    /// What: goes on after the key, without a full stop. Never a secret.
    pub what: String,
    /// What to do: a sentence.
    pub hint: &'static str,
    /// Whether nobody comes in.
    pub closes: bool,
}

/// What is wrong with the guards of a frontend, but for what only their files can tell.
pub fn invalid_guards(wishes: &FrontendWishes) -> Vec<InvalidGuard> {
    let mut found: Vec<_> = wishes.white_list.as_ref().map(invalid_allow_list).unwrap_or_default();
    found.extend(wishes.auth.iter().flat_map(invalid_auth));
    found
}

/// What is wrong with an allow list.
fn invalid_allow_list(list: &AllowList) -> Vec<InvalidGuard> {
    let step = AllowStep::new(&list.source_range, list.use_x_forwarded_for);
    let key = "whiteList.sourceRange";
    let wrong = step.err().map(|what| InvalidGuard {
        key,
        what,
        hint: "Write 10.0.0.1 or 10.0.0.0/8.",
        closes: true,
    });
    wrong.into_iter().collect()
}

/// What is wrong with an authentication, but for what only its files can tell.
pub fn invalid_auth(auth: &Auth) -> Vec<InvalidGuard> {
    let mut found = Vec::new();
    let mut closes =
        |key, what: String, hint| found.push(InvalidGuard { key, what, hint, closes: true });
    if let Some(forward) = &auth.forward {
        let (field, names) = (header_field(auth), &forward.auth_response_headers);
        match ForwardAuth::new(&forward.address) {
            Err(why) => closes("auth.forward.address", why, "Write http://HOST:PORT/PATH."),
            Ok(step) => {
                if let Err(why) = step.telling(false, names.clone(), field) {
                    closes("auth.forward.authResponseHeaders", why, "Write names of header lines.");
                }
            }
        }
        if let Some(ClientTls { cert, key, .. }) = &forward.tls
            && cert.is_empty() != key.is_empty()
        {
            let what = "needs both a certificate and its key".to_owned();
            closes("auth.forward.tls.cert", what, "Write cert and key.");
        }
    } else if let Some(Err(why)) = header_field(auth).map(|name| check_line_name(&name)) {
        closes("auth.headerField", why, "Write a name like X-WebAuth-User.");
    }
    if let Some(basic) = &auth.basic {
        invalid_users::<PasswordUsers>("auth.basic.users", basic, &mut found);
    }
    if let Some(digest) = &auth.digest {
        invalid_users::<DigestUsers>("auth.digest.users", digest, &mut found);
    }
    found
}

fn invalid_users<U: Users>(key: &'static str, auth: &UsersAuth, found: &mut Vec<InvalidGuard>) {
    let (users, bad) = U::read(&auth.users, "");
    let only_entry = auth.users.len() == 1;
    for bad in bad {
        let (user, why, hint) = (bad.shown_user(), &bad.why, bad.hint);
        let which = if only_entry { String::new() } else { format!(" number {}", bad.number) };
        let what = format!("has an entry{which}{user} that lets nobody in: {why}");
        found.push(InvalidGuard { key, what, hint, closes: false });
    }
    if users.is_empty() && auth.users_file.is_empty() {
        let what = "knows no user".to_owned();
        let hint = "Write NAME:HASH as htpasswd or htdigest makes it, or name a usersFile.";
        found.push(InvalidGuard { key, what, hint, closes: true });
    }
}

/// The line in which servers get the name.
pub fn header_field(auth: &Auth) -> Option<String> {
    Some(auth.header_field.clone()).filter(|name| !name.is_empty())
}

/// How the lines of a users' file are written.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum UserLines {
    /// `NAME:HASH`, for basic authentication.
    Password,
    /// `NAME:REALM:HASH`, for digest authentication.
    Digest,
}

impl UserLines {
    /// Whether a file's text knows a user, and what is wrong with its lines.
    pub fn read(self, text: &str) -> (bool, Vec<BadLine>) {
        match self {
            Self::Password => read_lines::<PasswordUsers>(text),
            Self::Digest => read_lines::<DigestUsers>(text),
        }
    }
}

fn read_lines<U: Users>(text: &str) -> (bool, Vec<BadLine>) {
    let (users, bad) = U::read(&[], text);
    (!users.is_empty(), bad)
}

/// Whether a word names a file rather than being PEM itself, as in Traefik 1.7.
pub fn is_path(word: &str) -> bool {
    !word.contains("-----BEGIN")
}

/// A file that an authentication needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GuardFile<'a> {
    /// Where it is named, below a frontend: `auth.basic.usersFile`.
    pub key: &'static str,
    /// Where it is.
    pub path: &'a str,
    /// How its lines are written, where it has users.
    pub users: Option<UserLines>,
}

/// The files that an authentication needs.
pub fn files_of(auth: &Auth) -> Vec<GuardFile<'_>> {
    let users = [
        ("auth.basic.usersFile", &auth.basic, UserLines::Password),
        ("auth.digest.usersFile", &auth.digest, UserLines::Digest),
    ];
    let users = users.into_iter().filter_map(|(key, auth, lines)| {
        Some(GuardFile { key, path: &auth.as_ref()?.users_file, users: Some(lines) })
    });
    let tls = auth.forward.iter().flat_map(|forward| &forward.tls);
    let tls = tls.flat_map(|tls| {
        let words = [
            ("auth.forward.tls.ca", &tls.ca),
            ("auth.forward.tls.cert", &tls.cert),
            ("auth.forward.tls.key", &tls.key),
        ];
        words.map(|(key, word)| GuardFile { key, path: word, users: None })
    });
    users.chain(tls).filter(|file| !file.path.is_empty() && is_path(file.path)).collect()
}

/// PEM, or the file that has it.
pub fn pem(
    word: &str,
    file: impl FnOnce(&str) -> std::sync::Arc<crate::middleware::auth::TextFile>,
) -> Option<Pem> {
    match word {
        "" => None,
        word if is_path(word) => Some(Pem::File(file(word))),
        word => Some(Pem::Text(word.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ForwardAuth as ForwardWish;
    use super::*;

    #[track_caller]
    fn check(auth: &Auth, expected: &[(&str, &str, bool)]) {
        let found = invalid_auth(auth);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (is, (key, word, closes)) in found.iter().zip(expected) {
            assert!(is.key == *key && is.what.contains(word) && is.closes == *closes, "{is:?}");
            assert!(!is.what.contains("geheim"), "{is:?}");
        }
    }

    fn basic(users: &[&str], file: &str) -> Auth {
        let users = users.iter().map(|user| (*user).to_owned()).collect();
        let basic = UsersAuth { users, users_file: file.to_owned(), remove_header: false };
        Auth { basic: Some(basic), ..Auth::default() }
    }

    #[test]
    fn a_guard_says_what_is_wrong_with_it() {
        const GOOD: &str = "ann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=";
        let key = "auth.basic.users";
        check(&basic(&[GOOD], ""), &[]);
        check(&basic(&[], "/u"), &[]);
        check(&basic(&[GOOD, "bob:geheim"], ""), &[(key, "number 2 (\"bob\")", false)]);
        check(&basic(&["bob:geheim"], ""), &[(key, "not taken", false), (key, "no user", true)]);
        check(&basic(&[], ""), &[(key, "no user", true)]);
        let field = Auth { header_field: "a b".to_owned(), ..basic(&[GOOD], "") };
        check(&field, &[("auth.headerField", "a b", true)]);
        let forward = |address: &str, cert: &str| {
            let tls = ClientTls { cert: cert.to_owned(), ..ClientTls::default() };
            let (address, tls) = (address.to_owned(), Some(tls));
            let forward = ForwardWish { address, tls, ..ForwardWish::default() };
            Auth { forward: Some(forward), ..Auth::default() }
        };
        check(&forward("https://a.test/", ""), &[]);
        check(&forward("a.test", ""), &[("auth.forward.address", "URL", true)]);
        check(&forward("https://a.test/", "c"), &[("auth.forward.tls.cert", "key", true)]);
        let files = |auth: &Auth| {
            files_of(auth)
                .iter()
                .map(|file| format!("{} {}", file.key, file.path))
                .collect::<Vec<_>>()
        };
        assert_eq!(files(&forward("https://a.test/", "/c.pem")), ["auth.forward.tls.cert /c.pem"]);
        assert_eq!(files(&basic(&[], "/u")), ["auth.basic.usersFile /u"]);
    }
}
