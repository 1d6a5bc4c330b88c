//! Users out of a label and a file. The file may change at any time: it is read above, and looked at here.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::REALM;
use super::htpasswd::{BadLine, Hash, is_entry, parse_users, user_of};
use super::text_file::{FileText, TextFile};

/// A way of writing users, a line for each.
pub trait Users: Sized + Send + Sync + 'static {
    /// Those of a label, then those of a file: of two lines for one user the label's counts, as in Traefik 1.7.
    fn read(lines: &[String], file: &str) -> (Self, Vec<BadLine>);

    /// Whether nobody is among them.
    fn is_empty(&self) -> bool;
}

/// Users by name, for basic authentication.
#[derive(Debug, Default)]
pub struct PasswordUsers {
    by_name: HashMap<Box<str>, Hash>,
    /// One of each cost there is.
    of_each_cost: Arc<[Hash]>,
}

impl PasswordUsers {
    /// What a password of this name is held against.
    pub(super) fn tests_of(&self, name: &str) -> Tests {
        let of_each_cost = Arc::clone(&self.of_each_cost);
        Tests { own: self.by_name.get(name).cloned(), of_each_cost }
    }
}

/// What a password is held against. A wrong one is as much work whoever is named, so that the time of an answer tells neither
/// who is there nor of what kind their hash is: one hash of each cost is looked at, the user's own among them.
pub(super) struct Tests {
    own: Option<Hash>,
    of_each_cost: Arc<[Hash]>,
}

impl Tests {
    /// Whether the password is that of the user.
    pub(super) fn is_of(&self, password: &[u8]) -> bool {
        // Each hash is looked at, whosever it is.
        self.all().any(|(hash, is_own)| std::hint::black_box(hash.is_of(password)) & is_own)
    }

    /// The user's own hash, then those of the other costs.
    fn all(&self) -> impl Iterator<Item = (&Hash, bool)> {
        let own_cost = self.own.as_ref().map(Hash::cost);
        let others = self.of_each_cost.iter().filter(move |hash| Some(hash.cost()) != own_cost);
        self.own.iter().map(|hash| (hash, true)).chain(others.map(|hash| (hash, false)))
    }

    /// The same where that can be told at once: a right password of a cheap hash, or any where all hashes are cheap.
    pub(super) fn is_at_once(&self, password: &[u8]) -> Option<bool> {
        let is_cheap = |hash: &Hash| hash.cost() == 0;
        if self.own.as_ref().is_some_and(is_cheap) && self.is_own(password) {
            return Some(true);
        }
        self.of_each_cost.iter().all(is_cheap).then(|| self.is_of(password))
    }

    fn is_own(&self, password: &[u8]) -> bool {
        self.own.as_ref().is_some_and(|hash| hash.is_of(password))
    }

    /// What tells them from those of every other hash: whether somebody has it, and the hash. Of all unknown users of one list it is
    /// the same, and of another list another: what was found out there must not be known here at once, or the time would tell who
    /// is on which list. Nor is it that of a user who has the same hash on another list: what lets that one in lets nobody in here.
    pub(super) fn identity(&self) -> [&[u8]; 3] {
        let (whose, hash): (&[u8], _) = match &self.own {
            Some(own) => (b"own", Some(own)),
            None => (b"nobody's", self.of_each_cost.last()),
        };
        let (first, second) = hash.map(Hash::identity).unwrap_or_default();
        [whose, first, second]
    }
}

impl Users for PasswordUsers {
    fn read(lines: &[String], file: &str) -> (Self, Vec<BadLine>) {
        let (of_file, mut bad) = parse_users(file.lines());
        let (of_label, more) = parse_users(lines.iter().map(String::as_str));
        bad.extend(more);
        let by_name: HashMap<_, _> = of_file.into_iter().chain(of_label).collect();
        let of_each_cost: BTreeMap<u32, &Hash> =
            by_name.values().map(|hash| (hash.cost(), hash)).collect();
        let of_each_cost = of_each_cost.into_values().cloned().collect();
        (Self { by_name, of_each_cost }, bad)
    }

    fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// How a digest is made (RFC 7616, section 3.2).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Algorithm {
    Sha256,
    Md5,
}

/// Users by name and algorithm, for digest authentication: `NAME:REALM:HASH`, as `htdigest` writes them. The hash is that of
/// `NAME:REALM:PASSWORD`: an MD5 of 32 digits, or a SHA-256 of 64.
#[derive(Debug, Default)]
pub struct DigestUsers(HashMap<(Box<str>, Algorithm), Box<str>>);

impl DigestUsers {
    pub(super) fn hash_of(&self, name: &str, algorithm: Algorithm) -> Option<&str> {
        self.0.get(&(name.into(), algorithm)).map(|hash| &**hash)
    }

    /// Whether any user can be asked this way.
    pub(super) fn has(&self, algorithm: Algorithm) -> bool {
        self.0.keys().any(|(_, own)| *own == algorithm)
    }

    fn add<'l>(&mut self, lines: impl Iterator<Item = &'l str>, bad: &mut Vec<BadLine>) {
        const HINT: &str = "Write what `htdigest FILE traefik NAME` puts in its file.";
        for (number, line) in (1..).zip(lines).filter(|(_, line)| is_entry(line)) {
            let mut wrong = |why: String| {
                let user = user_of(line);
                bad.push(BadLine { number, user, why, hint: HINT });
            };
            let parts: Vec<&str> = line.trim().split(':').collect();
            let [name, realm, hash] = parts.as_slice() else {
                wrong("it is not NAME:REALM:HASH".to_owned());
                continue;
            };
            let algorithm = match hash.len() {
                32 => Algorithm::Md5,
                64 => Algorithm::Sha256,
                _ => {
                    wrong("its hash is neither an MD5 nor a SHA-256 in hexadecimal".to_owned());
                    continue;
                }
            };
            if name.is_empty() || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                wrong("its hash is not hexadecimal, or it has no name".to_owned());
            } else if *realm != REALM {
                wrong(format!("its realm is not {REALM}, so nobody can use it"));
            } else {
                self.0.insert(((*name).into(), algorithm), hash.to_ascii_lowercase().into());
            }
        }
    }
}

impl Users for DigestUsers {
    fn read(lines: &[String], file: &str) -> (Self, Vec<BadLine>) {
        let (mut users, mut bad) = (Self::default(), Vec::new());
        users.add(file.lines(), &mut bad);
        users.add(lines.iter().map(String::as_str), &mut bad);
        (users, bad)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The users there are now.
pub(super) struct UserBook<U> {
    lines: Vec<String>,
    file: Option<Arc<TextFile>>,
    /// What was made of the file's last words.
    read: ArcSwapOption<(Option<Arc<FileText>>, Arc<U>)>,
}

impl<U: Users> UserBook<U> {
    pub(super) fn new(lines: Vec<String>, file: Option<Arc<TextFile>>) -> Self {
        Self { lines, file, read: ArcSwapOption::empty() }
    }

    /// The users there are now; none where their file cannot be read, or nobody is among them: then nobody comes in, and
    /// it is not for want of a password.
    pub(super) fn users(&self) -> Option<Arc<U>> {
        let text = self.file.as_ref().map(|file| file.text());
        let read = self.read.load();
        if let Some((of, users)) = read.as_deref()
            && same(of.as_ref(), text.as_ref())
        {
            return Some(Arc::clone(users)).filter(|users| !users.is_empty());
        }
        let file = match text.as_deref() {
            None => "",
            Some(Ok(text)) => text,
            Some(Err(_)) => return None,
        };
        let users = Arc::new(U::read(&self.lines, file).0);
        self.read.store(Some(Arc::new((text, Arc::clone(&users)))));
        Some(users).filter(|users| !users.is_empty())
    }
}

fn same(a: Option<&Arc<FileText>>, b: Option<&Arc<FileText>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}

impl<U> std::fmt::Debug for UserBook<U> {
    /// Without anybody's hash.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserBook").field("file", &self.file).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: &str = "ann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=";

    #[test]
    fn a_file_that_changes_changes_the_users() {
        let file = Arc::new(TextFile::new("/u"));
        let book = UserBook::<PasswordUsers>::new(Vec::new(), Some(Arc::clone(&file)));
        assert!(book.users().is_none(), "unread");
        file.put(Ok(ANN.into()));
        let first = book.users().expect("one");
        assert!(first.tests_of("ann").own.is_some() && first.tests_of("bob").own.is_none());
        assert!(Arc::ptr_eq(&first, &book.users().expect("the same")));
        file.put(Ok("# nobody".into()));
        assert!(book.users().is_none());
        file.put(Ok(ANN.into()));
        assert!(book.users().is_some());
        file.put(Err("gone".to_owned()));
        assert!(book.users().is_none());
    }

    #[test]
    fn the_label_goes_before_the_file() {
        let own = "ann:$apr1$salt$Xxd1irWT9ycqoYxGFn4cb.".to_owned();
        let (users, bad) = PasswordUsers::read(&[own], ANN);
        assert!(bad.is_empty());
        assert_eq!(users.tests_of("ann").own.map(|hash| hash.cost()), Some(1));
    }

    /// Whoever is named, a wrong password is held against one hash of each cost.
    #[test]
    fn a_wrong_password_is_as_much_work_for_everybody() {
        let lines = [
            ANN,
            "apr:$apr1$salt$Xxd1irWT9ycqoYxGFn4cb.",
            "bcrypt:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "other:$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK",
        ];
        let (users, bad) = PasswordUsers::read(&lines.map(str::to_owned), "");
        assert!(bad.is_empty(), "{bad:?}");
        for name in ["ann", "apr", "bcrypt", "other", "nobody"] {
            let tests = users.tests_of(name);
            let mut costs: Vec<u32> = tests.all().map(|(hash, _)| hash.cost()).collect();
            costs.sort_unstable();
            assert_eq!(costs, [0, 1, 5], "{name}");
        }
        let ann = users.tests_of("ann");
        assert_eq!((ann.is_at_once(b"password"), ann.is_at_once(b"wrong")), (Some(true), None));
        assert!(ann.is_of(b"password") && !ann.is_of(b"wrong"));
        // Nor does anybody come in by a password of another one.
        for name in ["apr", "other", "nobody"] {
            assert!(!users.tests_of(name).is_of(b"U*U"), "{name}");
        }
    }

    #[test]
    fn digest_users_have_a_realm_and_a_hash() {
        let lines = [
            "a:traefik:0123456789abcdef0123456789ABCDEF",
            "b:other:0123456789abcdef0123456789abcdef",
            "c:traefik:x",
            "d",
        ];
        let lines: Vec<String> = lines.map(str::to_owned).into();
        let (users, bad) = DigestUsers::read(&lines, "");
        assert_eq!(users.hash_of("a", Algorithm::Md5), Some("0123456789abcdef0123456789abcdef"));
        assert_eq!(users.hash_of("a", Algorithm::Sha256), None);
        assert_eq!(bad.iter().map(|bad| bad.number).collect::<Vec<_>>(), [2, 3, 4]);
        assert!(users.has(Algorithm::Md5) && !users.has(Algorithm::Sha256));
    }
}
