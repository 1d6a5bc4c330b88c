//! The values of `Path` and `PathPrefix` terms.

use super::template::{Sort, Template};
use crate::model::with_single_slashes;

/// A path or the beginning of one, with variables or without.
///
/// Compared with the path as its owner means it, `%61` read as `a` and `//` as `/`; see `Exchange::plain_path`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PathPattern {
    /// It stands for itself.
    Literal(String),
    /// It has variables.
    Template(Template),
}

impl PathPattern {
    /// A whole path.
    ///
    /// # Errors
    /// A sentence without a full stop that says what is wrong with it.
    pub fn whole(text: &str) -> Result<Self, String> {
        Self::parse(text, Sort::Path)
    }

    /// The beginning of a path.
    ///
    /// # Errors
    /// A sentence without a full stop that says what is wrong with it.
    pub fn prefix(text: &str) -> Result<Self, String> {
        Self::parse(text, Sort::Prefix)
    }

    fn parse(text: &str, sort: Sort) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(format!("path \"{text}\" does not begin with a slash"));
        }
        let single = with_single_slashes(text);
        match text.contains(['{', '}']) {
            false => Ok(Self::Literal(single.into_owned())),
            true => Template::parse(&single, sort)
                .map(Self::Template)
                .map_err(|why| format!("path \"{text}\": {why}")),
        }
    }

    /// As written.
    pub fn text(&self) -> &str {
        match self {
            Self::Literal(text) => text,
            Self::Template(template) => template.text(),
        }
    }

    /// Whether it is this whole path. A slash more or less at the end does not matter: Traefik 1.7 sends such a client
    /// to the path as written (`StrictSlash`), see `middleware::TrailingSlash`.
    pub fn is_whole(&self, path: &str) -> bool {
        match self {
            Self::Literal(text) => text == path || without_slash(text) == without_slash(path),
            Self::Template(template) => template.matches(path),
        }
    }

    /// How many bytes of this path it stands for, where the path begins with it.
    pub fn prefix_len(&self, path: &str) -> Option<usize> {
        match self {
            Self::Literal(text) => path.starts_with(text.as_str()).then_some(text.len()),
            Self::Template(template) => template.matched_len(path),
        }
    }

    /// What every path that fits begins with.
    pub fn literal_start(&self) -> &str {
        match self {
            Self::Literal(text) => without_slash(text),
            Self::Template(template) => without_slash(template.literal_start()),
        }
    }
}

/// Without one slash at the end.
fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_at_the_end_does_not_matter_to_a_whole_path() {
        for (pattern, path, expected) in [
            ("/foo", "/foo", true),
            ("/foo", "/foo/", true),
            ("/foo/", "/foo", true),
            ("/foo", "/foobar", false),
            ("/", "/", true),
            ("/", "/a", false),
            ("/{n:[0-9]+}/", "/12", true),
        ] {
            let is_whole = PathPattern::whole(pattern).expect(pattern).is_whole(path);
            assert_eq!(is_whole, expected, "{pattern} {path}");
        }
    }

    #[test]
    fn doubled_slashes_are_one() {
        let whole = PathPattern::whole("//foo//bar").expect("a good one");
        assert!(whole.is_whole("/foo/bar"));
        let prefix = PathPattern::prefix("/{url:https?://.+}").expect("a good one");
        assert_eq!(prefix.prefix_len("/http:/a"), Some(8));
    }

    #[test]
    fn a_prefix_is_bytes_not_parts() {
        let prefix = PathPattern::prefix("/foo").expect("a good one");
        assert_eq!(prefix.prefix_len("/foobar"), Some(4));
        assert_eq!(prefix.prefix_len("/fo"), None);
        let prefix = PathPattern::prefix("/{n:[0-9]+}/x").expect("a good one");
        assert_eq!(prefix.prefix_len("/12/xyz"), Some(5));
    }
}
