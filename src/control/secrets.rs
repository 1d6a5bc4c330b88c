//! The files that steps need: users, certificates. Read here, again and again; steps see what they said last.
//!
//! They are polled: a secret is often a link that is turned to another file, of which the kernel tells nothing.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::{Event, State};
use crate::config::guards::{file_complaints, files_of};
use crate::config::{Auth, Config, Frontend};
use crate::live::Live;
use crate::middleware::auth::{FileText, TEXT_FILE_BYTES_MAX, TextFile};
use crate::model::Problem;

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// Of what is wrong with the lines of one file, so much is told.
const LINES_TOLD_MAX: usize = 5;

/// What a file looked like when it was last read: a file that looks the same is not read again.
type Look = (u64, i64, i64, u64, u64);

/// Looks at files, and remembers how they looked.
#[derive(Debug, Default)]
pub struct Watch {
    looks: HashMap<String, Look>,
}

impl Watch {
    /// Reads all files that anybody needs and that look new. Tells whether any said something new.
    pub fn look(&mut self, live: &Live) -> bool {
        let files = live.files();
        self.looks.retain(|path, _| files.iter().any(|file| file.path() == path));
        files.iter().fold(false, |is_news, file| is_news | self.look_at(file))
    }

    fn look_at(&mut self, file: &TextFile) -> bool {
        let look = fs::metadata(file.path()).map(|meta| look_of(&meta));
        if let Ok(look) = &look
            && self.looks.get(file.path()) == Some(look)
            && file.text().is_ok()
        {
            return false;
        }
        let is_news = file.put(read(file.path()));
        match look {
            Ok(look) => drop(self.looks.insert(file.path().to_owned(), look)),
            Err(_) => drop(self.looks.remove(file.path())),
        }
        if is_news {
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

fn look_of(meta: &Metadata) -> Look {
    (meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ino(), meta.dev())
}

/// Reads a file that is one, and not too large: whoever writes a label must not make us wait for a pipe.
fn read(path: &str) -> FileText {
    let meta = fs::metadata(path).map_err(|error| error.to_string())?;
    if !meta.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let too_large = || Err(format!("it is larger than {} KiB", TEXT_FILE_BYTES_MAX >> 10));
    if meta.len() > TEXT_FILE_BYTES_MAX {
        return too_large();
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    let read = file.take(TEXT_FILE_BYTES_MAX + 1).read_to_string(&mut text);
    match read {
        Ok(length) if length as u64 <= TEXT_FILE_BYTES_MAX => Ok(text.into()),
        Ok(_) => too_large(),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads the files that a config names before it is in force, so that nobody stands before a closed door meanwhile. The
/// files are to be held until a table holds them.
pub(super) fn prepare(config: &Config, live: &Live) -> Vec<Arc<TextFile>> {
    let mut watch = Watch::default();
    let paths: BTreeSet<&str> = auths(config).flat_map(|(_, auth)| files_of(auth)).collect();
    let files: Vec<_> = paths.into_iter().map(|path| live.file(path)).collect();
    files.iter().filter(|file| file.text().is_err()).for_each(|file| {
        watch.look_at(file);
    });
    files
}

/// What is wrong with the files that a config names, for the owners of its frontends.
pub(super) fn problems(config: &Config, live: &Live) -> Vec<Problem> {
    let mut found = Vec::new();
    for (frontend, auth) in auths(config) {
        for path in files_of(auth) {
            let text = live.file(path).text();
            let origin = &frontend.origin;
            let text = match &*text {
                Ok(text) => text,
                Err(why) => {
                    let what = format!(
                        "The file {path} cannot be read: {why}. The frontend that needs it stays closed."
                    );
                    let hint =
                        "Mount the file or secret where Herder runs; it is looked at every second.";
                    found.push(Problem::error(origin, what).hint(hint));
                    continue;
                }
            };
            let is_users = [&auth.basic, &auth.digest].into_iter().flatten();
            if is_users.into_iter().all(|users| users.users_file != path) {
                continue;
            }
            for bad in file_complaints(auth, text).into_iter().take(LINES_TOLD_MAX) {
                let what = format!(
                    "Line {} of the file {path} {}, and lets nobody in.",
                    bad.number, bad.why
                );
                found.push(Problem::error(origin, what).hint(bad.hint));
            }
        }
    }
    found
}

fn auths(config: &Config) -> impl Iterator<Item = (&Frontend, &Auth)> {
    config
        .frontends
        .values()
        .filter_map(|frontend| Some((&**frontend, frontend.wishes.as_deref()?.auth.as_ref()?)))
}

/// Looks at the files for ever. News is an event: the page may have to say something else.
pub async fn watch(state: Arc<State>, mut watch: Watch, events: mpsc::Sender<Event>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let since = Instant::now();
        let live = Arc::clone(&state.live);
        // A file may lie on a disk that is slow, or gone.
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
    use super::*;

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
    fn what_is_no_small_file_is_none() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(read(dir.path().to_str().expect("text")).is_err_and(|why| why.contains("regular")));
        assert!(read("/dev/zero").is_err_and(|why| why.contains("regular")));
        let path = dir.path().join("large");
        let large = vec![b'x'; usize::try_from(TEXT_FILE_BYTES_MAX).expect("small") + 1];
        fs::write(&path, large).expect("written");
        assert!(read(path.to_str().expect("text")).is_err_and(|why| why.contains("1024 KiB")));
    }
}
