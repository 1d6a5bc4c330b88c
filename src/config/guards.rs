//! Whether what keeps strangers out can be done as it was asked for. The labels' reader, that of files and the entry points
//! ask here, and so say the same.

use super::{AllowList, Auth, ClientTls, FrontendWishes, UsersAuth};
use crate::middleware::AllowList as AllowStep;
use crate::middleware::auth::{
    BadLine, DigestUsers, ForwardAuth, PasswordUsers, Pem, Users, check_line_name,
};

/// Something that is wrong with a guard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Complaint {
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
pub fn complaints(wishes: &FrontendWishes) -> Vec<Complaint> {
    let mut found: Vec<_> =
        wishes.white_list.as_ref().map(allow_list_complaints).unwrap_or_default();
    found.extend(wishes.auth.iter().flat_map(auth_complaints));
    found
}

/// What is wrong with an allow list.
pub fn allow_list_complaints(list: &AllowList) -> Vec<Complaint> {
    let step = AllowStep::new(&list.source_range, list.use_x_forwarded_for);
    let key = "whiteList.sourceRange";
    let wrong = step.err().map(|what| Complaint {
        key,
        what,
        hint: "Write 10.0.0.1 or 10.0.0.0/8.",
        closes: true,
    });
    wrong.into_iter().collect()
}

/// What is wrong with an authentication, but for what only its files can tell.
pub fn auth_complaints(auth: &Auth) -> Vec<Complaint> {
    let mut found = Vec::new();
    let mut closes =
        |key, what: String, hint| found.push(Complaint { key, what, hint, closes: true });
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
        users_complaints::<PasswordUsers>("auth.basic.users", basic, &mut found);
    }
    if let Some(digest) = &auth.digest {
        users_complaints::<DigestUsers>("auth.digest.users", digest, &mut found);
    }
    found
}

fn users_complaints<U: Users>(key: &'static str, auth: &UsersAuth, found: &mut Vec<Complaint>) {
    let (users, bad) = U::read(&auth.users, "");
    let only_entry = auth.users.len() == 1;
    for BadLine { number, why, hint } in bad {
        let whose = if only_entry { String::new() } else { format!(", entry {number},") };
        let what = format!("{whose} {why}, and lets nobody in").trim_start().to_owned();
        found.push(Complaint { key, what, hint, closes: false });
    }
    if users.is_empty() && auth.users_file.is_empty() {
        let what = "knows no user".to_owned();
        let hint = "Write NAME:HASH as htpasswd or htdigest makes it, or name a usersFile.";
        found.push(Complaint { key, what, hint, closes: true });
    }
}

/// The line in which servers get the name.
pub fn header_field(auth: &Auth) -> Option<String> {
    Some(auth.header_field.clone()).filter(|name| !name.is_empty())
}

/// What is wrong with the lines of a users' file.
pub fn file_complaints(auth: &Auth, text: &str) -> Vec<BadLine> {
    match (&auth.basic, &auth.digest) {
        (Some(_), _) => checked::<PasswordUsers>(text),
        (None, Some(_)) => checked::<DigestUsers>(text),
        (None, None) => Vec::new(),
    }
}

fn checked<U: Users>(text: &str) -> Vec<BadLine> {
    let (users, mut bad) = U::read(&[], text);
    if users.is_empty() && bad.is_empty() {
        let hint = "Write NAME:HASH as htpasswd or htdigest makes it.";
        bad.push(BadLine {
            number: 1,
            why: "is the first of none that knows a user".to_owned(),
            hint,
        });
    }
    bad
}

/// Whether a word names a file rather than being PEM itself, as in Traefik 1.7.
pub fn is_path(word: &str) -> bool {
    !word.contains("-----BEGIN")
}

/// The files that an authentication needs.
pub fn files_of(auth: &Auth) -> Vec<&str> {
    let users = [&auth.basic, &auth.digest].into_iter().flatten().map(|users| &users.users_file);
    let tls = auth.forward.iter().flat_map(|forward| &forward.tls);
    let tls = tls.flat_map(|tls| [&tls.ca, &tls.cert, &tls.key]);
    let named = users.chain(tls).map(String::as_str);
    named.filter(|word| !word.is_empty() && is_path(word)).collect()
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
        let found = auth_complaints(auth);
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
        check(&basic(&[GOOD, "bob:geheim"], ""), &[(key, "entry 2", false)]);
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
        assert_eq!(files_of(&forward("https://a.test/", "/c.pem")), ["/c.pem"]);
        assert_eq!(files_of(&basic(&[], "/u")), ["/u"]);
    }
}
