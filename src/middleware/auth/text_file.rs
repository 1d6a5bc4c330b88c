//! A small file that a step needs: somebody above the steps reads it again and again, and the steps see its last words.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// A file of users or certificates larger than this is none.
pub const TEXT_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What a file says: its text, or why it cannot be read.
pub type FileText = Result<Box<str>, String>;

/// A file, and what it said when it was last looked at.
pub struct TextFile {
    path: Box<str>,
    text: ArcSwap<FileText>,
}

impl TextFile {
    /// A file that nobody has looked at yet.
    pub fn new(path: &str) -> Self {
        let unread = Err("it was not read yet".to_owned());
        Self { path: path.into(), text: ArcSwap::from_pointee(unread) }
    }

    /// Where it is.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What it says. Until that changes, it is the same allocation.
    pub fn text(&self) -> Arc<FileText> {
        self.text.load_full()
    }

    /// It was looked at, and says this. Tells whether that is news.
    pub fn put(&self, text: FileText) -> bool {
        let is_news = **self.text.load() != text;
        if is_news {
            self.text.store(Arc::new(text));
        }
        is_news
    }
}

impl fmt::Debug for TextFile {
    /// Without what it says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TextFile").field(&self.path).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_news_replaces_what_it_said() {
        let file = TextFile::new("/run/secrets/users");
        assert!(file.text().is_err());
        assert!(file.put(Ok("a".into())));
        let first = file.text();
        assert!(!file.put(Ok("a".into())));
        assert!(Arc::ptr_eq(&first, &file.text()));
        assert!(file.put(Err("gone".to_owned())));
        assert_eq!(*file.text(), Err("gone".to_owned()));
    }
}
