//! The files that steps need: users, certificates. Read here, again and again; steps see what they said last.
//!
//! They are polled: a secret is often a link that is turned to another file, of which the kernel tells nothing.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{getegid, geteuid};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::{Event, State};
use crate::config::guards::{GuardFile, UserLines, files_of};
use crate::config::{Auth, Config, Frontend};
use crate::disk::beside::{self, Missing, Patience};
use crate::disk::text::{self, Stamp};
use crate::live::Live;
use crate::middleware::auth::{BadLine, FileText, TEXT_FILE_BYTES_MAX, TextFile};
use crate::model::{FrontendId, Origin, Problem};
use crate::plan::Planner;

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// Of what is wrong with the lines of one file, so much is told.
pub(super) const LINES_TOLD_MAX: usize = 5;

/// So long each file may take. One that takes longer cannot be read.
const PATIENCE: Patience = Patience::Each(Duration::from_secs(2));

/// So long a table waits for all of them: what is not there by then is read a moment later by the watch.
const PATIENCE_OF_TABLE: Duration = Duration::from_secs(1);

/// Looks at files, and remembers how they looked.
#[derive(Debug, Default)]
pub struct Watch {
    /// How each looked when it was last read: a file that looks the same is not read again.
    looks: HashMap<String, Stamp>,
}

impl Watch {
    /// Reads all files that anybody needs and that look new. Tells whether any said something new.
    pub fn look(&mut self, live: &Live) -> bool {
        let files = live.files();
        self.looks.retain(|path, _| files.iter().any(|file| file.path() == path));
        self.look_at(&files, PATIENCE)
    }

    fn look_at(&mut self, files: &[Arc<TextFile>], patience: Patience) -> bool {
        let asked = files.iter().map(|file| {
            let known = self.looks.get(file.path()).filter(|_| file.text().is_ok());
            (PathBuf::from(file.path()), known.copied())
        });
        let seen = beside::each(asked.collect(), patience, |path, known| see(path, *known));
        let mut is_news = false;
        for (file, seen) in files.iter().zip(seen) {
            let (stamp, text) = match seen {
                Ok(None) => continue,
                Ok(Some(seen)) => seen,
                // Others hang: that takes nobody's users away. It is not known to be unreadable.
                Err(Missing::Untried) if file.text().is_ok() => continue,
                Err(why) => (None, Err(why.to_string())),
            };
            match stamp {
                Some(stamp) => drop(self.looks.insert(file.path().to_owned(), stamp)),
                None => drop(self.looks.remove(file.path())),
            }
            if !file.put(text) {
                continue;
            }
            is_news = true;
            match &*file.text() {
                Ok(_) => info!(file = file.path(), "read"),
                Err(why) => {
                    warn!(file = file.path(), why, "cannot be read: what needs it is closed")
                }
            }
        }
        is_news
    }
}

/// How a file looks and what it says, unless it looks as it did.
fn see(path: &Path, known: Option<Stamp>) -> Option<(Option<Stamp>, FileText)> {
    // Before it is read: what changes meanwhile looks new afterwards.
    let stamp = Stamp::at(path).ok();
    if known.is_some() && stamp == known {
        return None;
    }
    Some((stamp, read_now(path)))
}

/// Reads a file. One that does not come cannot be read.
pub(super) fn read(path: &str) -> FileText {
    let read = beside::one(path.into(), (), PATIENCE, |path, ()| read_now(path));
    read.unwrap_or_else(|why| Err(why.to_string()))
}

fn read_now(path: &Path) -> FileText {
    text::read(path, TEXT_FILE_BYTES_MAX).map(String::into_boxed_str)
}

/// A frontend that asks for names, and how.
pub(super) type Guarded<'a> = (&'a FrontendId, &'a Frontend, &'a Auth);

/// Those of these frontends that ask for names.
pub(super) fn guarded<'a>(
    frontends: impl IntoIterator<Item = (&'a FrontendId, &'a Arc<Frontend>)>,
) -> Vec<Guarded<'a>> {
    let guarded = frontends.into_iter().filter_map(|(id, frontend)| {
        Some((id, &**frontend, frontend.wishes.as_deref()?.auth.as_ref()?))
    });
    guarded.collect()
}

/// Reads the files that frontends name before they are in force, so that nobody stands before a closed door meanwhile. The
/// files are to be held until a table holds them.
pub(super) fn prepare(frontends: &[Guarded<'_>], live: &Live) -> Vec<Arc<TextFile>> {
    prepare_in(Patience::Until(Instant::now() + PATIENCE_OF_TABLE), frontends, live)
}

fn prepare_in(patience: Patience, frontends: &[Guarded<'_>], live: &Live) -> Vec<Arc<TextFile>> {
    let mut watch = Watch::default();
    let named = frontends.iter().flat_map(|(.., auth)| files_of(auth));
    let paths: BTreeSet<&str> = named.map(|file| file.path).collect();
    let files: Vec<_> = paths.into_iter().map(|path| live.file(path)).collect();
    let unread = files.iter().filter(|file| file.text().is_err()).cloned();
    watch.look_at(&unread.collect::<Vec<_>>(), patience);
    files
}

/// What is wrong now with the files that a config names, or a frontend that is not served: for who looks once.
pub fn problems(planner: &Planner, config: &Config) -> Vec<Problem> {
    let frontends = guarded(config.frontends.iter().chain(planner.refused()));
    let live = Live::default();
    let _files = prepare_in(PATIENCE, &frontends, &live);
    UserFiles::default().problems(planner, &frontends, &live)
}

/// The bad lines of a file by its path and how they are written, with the text in which they stand.
type BadLines = HashMap<(String, UserLines), (Arc<FileText>, Arc<[BadLine]>)>;

/// Why users' files let nobody in: each is read once when it has changed, however many frontends name it.
#[derive(Debug, Default)]
pub(super) struct UserFiles {
    known: BadLines,
}

impl UserFiles {
    /// What is wrong with the files that frontends name, for their owners. [`prepare`] has read them.
    pub(super) fn problems(
        &mut self,
        planner: &Planner,
        frontends: &[Guarded<'_>],
        live: &Live,
    ) -> Vec<Problem> {
        let mut before = std::mem::take(&mut self.known);
        let mut found = Vec::new();
        for (id, frontend, auth) in frontends {
            for file in files_of(auth) {
                let text = live.file(file.path).text();
                let key: Vec<&str> = file.key.split('.').collect();
                let origin = || planner.key_of(id, frontend, &key).0;
                match (&*text, file.users) {
                    (Err(why), _) => found.push(unreadable(&origin(), &file, why)),
                    (Ok(_), None) => {}
                    (Ok(_), Some(lines)) => {
                        let bad = self.bad_lines(&mut before, &file, lines, &text);
                        let told = bad.iter().take(LINES_TOLD_MAX);
                        found.extend(told.map(|bad| bad_line(&origin(), &file, bad)));
                    }
                }
            }
        }
        found
    }

    /// What is wrong with the lines of a file, as it was found out before where it says the same still.
    fn bad_lines(
        &mut self,
        before: &mut BadLines,
        file: &GuardFile<'_>,
        lines: UserLines,
        text: &Arc<FileText>,
    ) -> Arc<[BadLine]> {
        let key = (file.path.to_owned(), lines);
        let known = before.remove(&key).filter(|(of, _)| Arc::ptr_eq(of, text));
        let fresh = || (Arc::clone(text), bad_lines(lines, text.as_deref().unwrap_or_default()));
        let known = self.known.entry(key).or_insert_with(|| known.unwrap_or_else(fresh));
        Arc::clone(&known.1)
    }
}

fn bad_lines(lines: UserLines, text: &str) -> Arc<[BadLine]> {
    let (knows_users, mut bad) = lines.read(text);
    if !knows_users && bad.is_empty() {
        let why = "there is no user in the file".to_owned();
        bad.push(BadLine { number: 1, user: None, why, hint: HOW_TO_WRITE });
    }
    bad.into()
}

fn unreadable(origin: &Origin, file: &GuardFile<'_>, why: &str) -> Problem {
    let what = format!(
        "The file {} cannot be read: {why}. The frontend that needs it stays closed.",
        file.path
    );
    Problem::error(origin, what).hint(format!("{}; it is looked at every second.", mend(why)))
}

/// What to do about a file without a user.
pub(super) const HOW_TO_WRITE: &str = "Write NAME:HASH as htpasswd or htdigest makes it.";

/// What to do about a file that cannot be read: a sentence without its full stop.
pub(super) fn mend(why: &str) -> String {
    if !why.contains("Permission denied") {
        return "Mount the file or secret where Herder runs".to_owned();
    }
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    format!(
        "Herder runs as user {user} and group {group} here: let one of them read it (chown, chmod)"
    )
}

fn bad_line(origin: &Origin, file: &GuardFile<'_>, bad: &BadLine) -> Problem {
    let (number, user, why) = (bad.number, bad.shown_user(), &bad.why);
    let what = format!("Line {number} of the file {}{user} lets nobody in: {why}.", file.path);
    Problem::error(origin, what).hint(bad.hint)
}

/// Looks at the files for ever. News is an event: the page may have to say something else.
pub async fn watch(state: Arc<State>, mut watch: Watch, events: mpsc::Sender<Event>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let since = Instant::now();
        let live = Arc::clone(&state.live);
        // A file may lie on a disk that is slow, or gone: it is waited for, but not for ever.
        let looked = tokio::task::spawn_blocking(move || {
            let is_news = watch.look(&live);
            (watch, is_news)
        });
        let Ok((again, is_news)) = looked.await else { return };
        watch = again;
        if is_news && events.send(Event::Files { since }).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::document::Language;
    use crate::model::{Document, ProviderName, Snapshot};
    use crate::plan::Input;
    use crate::settings::FileSettings;

    #[test]
    fn a_file_is_read_when_it_looks_new() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("users");
        let name = path.to_str().expect("text");
        let (live, mut watch) = (Live::default(), Watch::default());
        let file = live.file(name);
        assert!(watch.look(&live), "it is not there");
        assert!(!watch.look(&live));
        assert!(file.text().as_ref().as_ref().is_err_and(|why| why.contains("No such file")));
        fs::write(&path, "one").expect("written");
        assert!(watch.look(&live));
        assert_eq!(*file.text(), Ok("one".into()));
        assert!(!watch.look(&live));
        // Another file is put in its place, as secrets are.
        fs::write(dir.path().join("next"), "two").expect("written");
        fs::rename(dir.path().join("next"), &path).expect("renamed");
        assert!(watch.look(&live));
        assert_eq!(*file.text(), Ok("two".into()));
        fs::remove_file(&path).expect("removed");
        assert!(watch.look(&live) && file.text().is_err());
        drop(file);
        assert!(live.files().is_empty() && !watch.look(&live) && watch.looks.is_empty());
    }

    #[test]
    fn a_file_that_may_not_be_read_is_not_one_to_mount() {
        let denied = mend("Permission denied (os error 13)");
        let own = format!("user {} and group {} ", geteuid().as_raw(), getegid().as_raw());
        assert!(denied.contains(&own) && !denied.contains("Mount"), "{denied}");
        assert!(mend("No such file or directory (os error 2)").starts_with("Mount the file"));
    }

    #[test]
    fn a_file_that_hangs_cannot_be_read_and_holds_up_no_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
        fs::write(path("a"), "a").expect("written");
        fs::write(path("b"), "b").expect("written");
        beside::tests::hanging(Path::new(&path("hung")));
        let (live, mut watch) = (Live::default(), Watch::default());
        let files = ["a", "hung", "b"].map(|name| live.file(&path(name)));
        assert!(watch.look(&live));
        let said = files.map(|file| file.text());
        assert_eq!((&*said[0], &*said[2]), (&Ok("a".into()), &Ok("b".into())));
        assert!(said[1].as_ref().as_ref().is_err_and(|why| why.contains("does not come")));
        assert!(read(&path("hung")).is_err_and(|why| why.contains("does not come")));
        // What the kernel makes up as it is read may never end.
        assert!(read("/proc/self/status").is_err_and(|why| why.contains("the kernel makes it up")));
    }

    #[test]
    fn a_file_of_users_is_read_once_for_all_frontends() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("users");
        fs::write(&path, "bob:geheim\n").expect("written");
        let frontend = |name: &str| {
            format!(
                "[frontends.{name}]\nbackend = \"b\"\n[frontends.{name}.routes.r]\nrule = \"Host:{name}\"\n\
                 [frontends.{name}.auth.basic]\nusersFile = \"{}\"\n",
                path.display()
            )
        };
        let text = format!("[backends.b]\n{}{}", frontend("f"), frontend("g"));
        let tree = Language::Toml.parse(&text).expect("TOML");
        let (name, addresses) = ("r.toml".into(), std::collections::BTreeMap::new());
        let document = Document { name, is_main: false, tree, addresses };
        let snapshot = Snapshot { documents: vec![Arc::new(document)], ..Snapshot::default() };
        let defaults = FileSettings::defaults();
        let (provider, mut planner) = (ProviderName::File, Planner::default());
        let input = Input { provider, snapshot: &snapshot, defaults: &defaults };
        let (config, _) = planner.plan(&[input], &Config::default());
        let (live, mut users) = (Live::default(), UserFiles::default());
        let frontends = guarded(&config.frontends);
        let files = prepare(&frontends, &live);
        let found = users.problems(&planner, &frontends, &live);
        let places: Vec<&str> = found.iter().map(|problem| &*problem.origin.service).collect();
        assert_eq!(places, ["r.toml:7:13", "r.toml:13:13"]);
        let lines = |users: &UserFiles| {
            users.known.values().map(|(_, bad)| Arc::clone(bad)).collect::<Vec<_>>()
        };
        let before = lines(&users);
        assert_eq!(users.problems(&planner, &frontends, &live), found);
        assert!(matches!((&*before, &*lines(&users)), ([a], [b]) if Arc::ptr_eq(a, b)));
        assert!(files[0].put(Ok("ann:geheim\n".into())));
        assert!(users.problems(&planner, &frontends, &live)[0].message.contains("ann"));
        assert!(!Arc::ptr_eq(&before[0], &lines(&users)[0]));
    }
}
