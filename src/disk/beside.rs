//! Work on files that may never end, as on a disk that is gone: a thread beside does it, and is left to itself after a while.
//!
//! No call on a file can be given up, not even that for its size. So what hangs keeps its thread, until it comes back.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{SendError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

/// So many files may hang at once; others are not tried then, lest whoever names files takes all threads.
const HANGING_MAX: usize = 16;

/// The files that did not come, and whose threads are not back yet. They outlive whoever asked, and so are known to all.
static HANGING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A thread's share of the work.
type Job = Box<dyn FnOnce() + Send>;

/// The thread that waits for work: rules are looked at several times a second, and each look needs one.
static WAITING: Mutex<Option<SyncSender<Job>>> = Mutex::new(None);

/// Why nothing is known of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Missing {
    /// It does not come.
    Hangs,
    /// It was not tried.
    Untried,
}

/// How long files are waited for.
#[derive(Clone, Copy, Debug)]
pub enum Patience {
    /// Each so long at most.
    Each(Duration),
    /// All until then. One has half of what is left: some that hang leave time for the others.
    Until(Instant),
}

/// Where less than this is left, no further file is tried: one that is only read would look like one that hangs.
const LEFT_MIN: Duration = Duration::from_millis(10);

impl Patience {
    /// How long the next file may take.
    fn of_next(self) -> Duration {
        match self {
            Self::Each(time) => time,
            Self::Until(end) => end.saturating_duration_since(Instant::now()) / 2,
        }
    }

    fn is_over(self) -> bool {
        matches!(self, Self::Until(end) if end.saturating_duration_since(Instant::now()) < LEFT_MIN)
    }
}

/// Does this with each file in turn, on a thread beside. It waits so long at most, and not at all for one that hangs still from
/// another time. Once one hangs and the time for all is over, the rest is not tried.
pub fn each<T, R>(
    files: Vec<(PathBuf, T)>,
    patience: Patience,
    work: fn(&Path, &T) -> R,
) -> Vec<Result<R, Missing>>
where
    T: Send + Sync + 'static,
    R: Send + 'static,
{
    let files: Arc<[(PathBuf, T)]> = files.into();
    let mut results = Vec::with_capacity(files.len());
    // One thread does them all, unless it hangs: then another one goes on.
    while results.len() < files.len() {
        if patience.is_over() {
            results.resize_with(files.len(), || Err(Missing::Untried));
            break;
        }
        let (from, progress) = (results.len(), Arc::new(Progress::default()));
        let job = {
            let (files, progress) = (Arc::clone(&files), Arc::clone(&progress));
            move || progress.work(files.iter().skip(from), work)
        };
        if start(Box::new(job)).is_err() {
            results.resize_with(files.len(), || Err(Missing::Untried));
        } else {
            let paths = files.iter().skip(from).map(|(path, _)| path);
            results.append(&mut progress.wait(paths, patience));
        }
    }
    results
}

/// Has the thread that waits do this, or another one where none does: what hangs keeps its own.
fn start(job: Job) -> io::Result<()> {
    let waiting = lock(&WAITING).take();
    let job = match waiting {
        Some(thread) => match thread.send(job) {
            Ok(()) => return Ok(()),
            Err(SendError(job)) => job,
        },
        None => job,
    };
    thread::Builder::new().name("disk".to_owned()).spawn(move || work_on(job)).map(drop)
}

/// Does this, and then what comes next, unless another thread waits for that already.
fn work_on(first: Job) {
    let mut next = Some(first);
    while let Some(job) = next {
        job();
        let (thread, jobs) = sync_channel(1);
        match &mut *lock(&WAITING) {
            Some(_) => return,
            waiting => *waiting = Some(thread),
        }
        next = jobs.recv().ok();
    }
}

/// Does this with one file, as [`each`] does.
///
/// # Errors
/// When it does not come.
pub fn one<T, R>(
    path: PathBuf,
    with: T,
    patience: Patience,
    work: fn(&Path, &T) -> R,
) -> Result<R, Missing>
where
    T: Send + Sync + 'static,
    R: Send + 'static,
{
    each(vec![(path, with)], patience, work).pop().unwrap_or(Err(Missing::Untried))
}

/// Whether a file may be tried, as far as that is known: it is none that hangs, nor are there too many of these.
///
/// # Errors
/// Why not.
pub fn admit(path: &Path) -> Result<(), Missing> {
    admitted(&lock(&HANGING), path)
}

fn admitted(hanging: &[PathBuf], path: &Path) -> Result<(), Missing> {
    match hanging.len() {
        _ if hanging.iter().any(|other| other == path) => Err(Missing::Hangs),
        HANGING_MAX.. => Err(Missing::Untried),
        _ => Ok(()),
    }
}

/// How far a thread is.
struct Progress<R> {
    state: Mutex<(Vec<Result<R, Missing>>, Waiting)>,
    is_further: Condvar,
}

/// Whether somebody waits for the thread still.
enum Waiting {
    Waits,
    HasLeft,
}

impl<R> Default for Progress<R> {
    fn default() -> Self {
        Self { state: Mutex::new((Vec::new(), Waiting::Waits)), is_further: Condvar::new() }
    }
}

impl<R> Progress<R> {
    fn work<'f, T: 'f>(
        &self,
        files: impl Iterator<Item = &'f (PathBuf, T)>,
        work: fn(&Path, &T) -> R,
    ) {
        for (path, with) in files {
            let result = admit(path).map(|()| work(path, with));
            let (done, waiting) = &mut *lock(&self.state);
            if matches!(waiting, Waiting::HasLeft) {
                let mut hanging = lock(&HANGING);
                if let Some(at) = hanging.iter().position(|other| other == path) {
                    hanging.swap_remove(at);
                }
                return;
            }
            done.push(result);
            self.is_further.notify_one();
        }
    }

    /// What becomes of these files, up to the first that hangs.
    fn wait<'f>(
        &self,
        files: impl Iterator<Item = &'f PathBuf>,
        patience: Patience,
    ) -> Vec<Result<R, Missing>> {
        let mut state = lock(&self.state);
        for (before, path) in files.enumerate() {
            let is_no_further = |(done, _): &mut (Vec<_>, Waiting)| done.len() <= before;
            let waited =
                self.is_further.wait_timeout_while(state, patience.of_next(), is_no_further);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.0.len() <= before {
                state.1 = Waiting::HasLeft;
                state.0.push(Err(Missing::Hangs));
                lock(&HANGING).push(path.clone());
                break;
            }
        }
        std::mem::take(&mut state.0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Display for Missing {
    /// A clause without a full stop.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hangs => "it does not come; the disk or network that it lies on does not answer",
            Self::Untried => "it was not tried, since other files do not come",
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fs::{CWD, Mode, OFlags, mkfifoat};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn read(path: &Path, (): &()) -> Option<String> {
        fs::read_to_string(path).ok()
    }

    /// A file that hangs: a pipe that nobody writes to.
    fn pipe(path: &Path) {
        mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).expect("a pipe");
    }

    /// Makes a file that hangs and is known to.
    pub(crate) fn hanging(path: &Path) {
        pipe(path);
        let has_begun = Arc::new(AtomicBool::new(false));
        let work = |path: &Path, has_begun: &Arc<AtomicBool>| {
            has_begun.store(true, Ordering::Relaxed);
            read(path, &())
        };
        loop {
            let (at, patience) = (path.to_owned(), Patience::Each(Duration::from_millis(1)));
            assert_eq!(one(at, Arc::clone(&has_begun), patience, work), Err(Missing::Hangs));
            // A thread that had not begun by then comes back at once.
            while admit(path).is_err() {
                if has_begun.load(Ordering::Relaxed) {
                    return;
                }
                thread::yield_now();
            }
        }
    }

    /// Lets a pipe end.
    fn end(path: &Path) {
        let since = Instant::now();
        let mut how = fs::File::options();
        // A thread that had not begun by then never opens it.
        how.write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        while admit(path).is_err() {
            assert!(since.elapsed() < SOON, "its thread does not come back");
            let _ = how.open(path).and_then(|mut pipe| pipe.write_all(b"x"));
            thread::yield_now();
        }
    }

    #[test]
    fn what_hangs_is_left_alone_and_the_others_are_done() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        fs::write(path("a"), "a").expect("written");
        fs::write(path("b"), "b").expect("written");
        pipe(&path("pipe"));
        let files = || ["a", "pipe", "b"].map(|name| (path(name), ())).to_vec();
        let expected = [Ok(Some("a".to_owned())), Err(Missing::Hangs), Ok(Some("b".to_owned()))];
        assert_eq!(each(files(), Patience::Each(Duration::from_secs(1)), read), expected);
        // It is known to hang: nobody waits again.
        let since = Instant::now();
        assert_eq!(each(files(), Patience::Each(SOON * 2), read), expected);
        assert!(since.elapsed() < SOON);
        end(&path("pipe"));
        fs::remove_file(path("pipe")).expect("removed");
        fs::write(path("pipe"), "c").expect("written");
        assert_eq!(one(path("pipe"), (), Patience::Each(SOON), read), Ok(Some("c".to_owned())));
    }

    #[test]
    fn some_that_hang_leave_time_for_the_others() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        pipe(&path("pipe"));
        pipe(&path("other"));
        fs::write(path("last"), "a").expect("written");
        let files = ["pipe", "other", "last"].map(|name| (path(name), ())).to_vec();
        let seen = each(files, Patience::Until(Instant::now() + Duration::from_secs(2)), read);
        assert_eq!(seen, [Err(Missing::Hangs), Err(Missing::Hangs), Ok(Some("a".to_owned()))]);
        end(&path("pipe"));
        end(&path("other"));
    }

    #[test]
    fn where_the_time_for_all_is_over_the_rest_is_not_tried() {
        let dir = tempfile::tempdir().expect("a directory");
        let paths: Vec<_> = (0..9).map(|number| dir.path().join(number.to_string())).collect();
        paths.iter().for_each(|path| pipe(path));
        let files = paths.iter().map(|path| (path.clone(), ())).collect();
        let seen = each(files, Patience::Until(Instant::now() + Duration::from_millis(200)), read);
        let hanging = seen.iter().take_while(|one| **one == Err(Missing::Hangs)).count();
        assert!((1..=5).contains(&hanging), "{seen:?}");
        assert!(seen.iter().skip(hanging).all(|one| *one == Err(Missing::Untried)), "{seen:?}");
        paths.iter().for_each(|path| end(path));
    }

    #[test]
    fn the_thread_of_one_look_does_the_next() {
        let thread_of =
            |name: &str| one(name.into(), (), Patience::Each(SOON), |_, ()| thread::current().id());
        let since = Instant::now();
        // One that has just told of its work may not wait for more yet, and tests beside this one take threads, too.
        while thread_of("a") != thread_of("b") {
            assert!(since.elapsed() < SOON, "there is a thread for each look");
            thread::yield_now();
        }
    }

    #[test]
    fn so_many_hang_at_most() {
        let mut hanging: Vec<_> = (1..HANGING_MAX).map(|n| PathBuf::from(n.to_string())).collect();
        assert_eq!(admitted(&hanging, Path::new("new")), Ok(()));
        hanging.push("last".into());
        assert_eq!(admitted(&hanging, Path::new("new")), Err(Missing::Untried));
        assert_eq!(admitted(&hanging, Path::new("last")), Err(Missing::Hangs));
    }
}
