//! A file that is replaced as a whole, once a program has found it good.

use std::cell::Cell;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::Command;
use tokio::time::timeout;

/// For the check and for the reload.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Shown of what a command says, in characters.
const SHOWN_MAX: usize = 2_000;

/// Where the text goes, and who is asked before and told after.
#[derive(Clone, Debug)]
pub(super) struct Output {
    pub(super) path: PathBuf,
    /// A shell command; `{}` in it is the new file.
    pub(super) check: Option<String>,
    /// A shell command.
    pub(super) reload: Option<String>,
    /// Whether nobody was told of the last text yet: a reload that failed is tried again, although nothing changed.
    pub(super) owes_reload: Cell<bool>,
}

impl Output {
    /// Puts a text in the place of the old one. Returns whether it was another one, of which somebody is to be [told](Self::tell).
    ///
    /// # Errors
    /// When it cannot be written, or the check refuses it: the old one stays.
    pub(super) async fn replace(&self, text: &str) -> anyhow::Result<bool> {
        let shown = self.path.display();
        let path = followed(&self.path).with_context(|| format!("cannot replace {shown}"))?;
        if fs::read(&path).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(false);
        }
        let name = path.file_name().with_context(|| format!("{shown} names no file"))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        // In the same folder: a file is moved as a whole only within one file system.
        let new = folder.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
        let guard = Leftover(&new);
        let write = || -> std::io::Result<()> {
            let mut file = fs::File::create(&new)?;
            if let Ok(meta) = fs::metadata(&path) {
                file.set_permissions(meta.permissions())?;
            }
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().with_context(|| format!("cannot write {}", new.display()))?;
        if let Some(check) = &self.check {
            let quoted = format!("'{}'", new.to_string_lossy().replace('\'', r"'\''"));
            run(&check.replace("{}", &quoted)).await.with_context(|| {
                format!("the check refuses what {shown} would be; the old one stays")
            })?;
        }
        fs::rename(&new, &path)
            .with_context(|| format!("cannot replace {shown}; the old one stays"))?;
        drop(guard);
        self.owes_reload.set(self.reload.is_some());
        Ok(true)
    }

    /// Runs the reload, where somebody is to be told.
    ///
    /// # Errors
    /// When it fails.
    pub(super) async fn tell(&self) -> anyhow::Result<()> {
        let Some(reload) = self.reload.as_ref().filter(|_| self.owes_reload.get()) else {
            return Ok(());
        };
        let shown = self.path.display();
        run(reload).await.with_context(|| format!("{shown} is new, but the reload failed"))?;
        self.owes_reload.set(false);
        Ok(())
    }
}

/// More symbolic links than this lead in a circle, as the kernel has it.
const LINKS_MAX: usize = 40;

/// The file that a path leads to, whether it is there already or not: a symbolic link stays one.
///
/// # Errors
/// When something else than a file is there. A device in whose place a file is put would be lost, and a pipe has nothing to
/// compare with.
fn followed(path: &Path) -> anyhow::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let meta = match fs::symlink_metadata(&path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(path),
            Err(error) => return Err(error.into()),
        };
        if meta.is_file() {
            return Ok(path);
        }
        if !meta.is_symlink() {
            bail!("{} is there and is no regular file; name another OUTPUT", path.display());
        }
        let to = fs::read_link(&path)?;
        path = path.parent().unwrap_or(Path::new("")).join(to);
    }
    bail!("its symbolic links lead in a circle")
}

/// What was written and not put in its place goes.
struct Leftover<'p>(&'p Path);

impl Drop for Leftover<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}

async fn run(command: &str) -> anyhow::Result<()> {
    let child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match timeout(COMMAND_TIMEOUT, child).await {
        Ok(output) => output.with_context(|| format!("cannot run `{command}`"))?,
        Err(_) => bail!("`{command}` did not end within {} s", COMMAND_TIMEOUT.as_secs()),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    let said: String = said.trim().chars().take(SHOWN_MAX).collect();
    bail!("`{command}` ends with {}: {said}", output.status)
}
