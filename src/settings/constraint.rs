//! Constraints: which services a provider may route, by their tags.

use std::fmt;

use super::typed::list;

/// `tag==us-*`: a tag that fits must be there; `tag!=us-*`: none may.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Constraint {
    must_fit: bool,
    pattern: String,
}

impl Constraint {
    /// Whether these tags are what it asks for.
    pub fn fits(&self, tags: &[&str]) -> bool {
        tags.iter().any(|tag| fits(&self.pattern, tag)) == self.must_fit
    }

    /// Reads several with commas between them.
    ///
    /// # Errors
    /// A sentence without a full stop that says which cannot be read.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        list(text, &[','], str::parse)
    }
}

impl std::str::FromStr for Constraint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let equal = text.split_once("==").map(|parts| (parts, true));
        let parts = equal.or_else(|| text.split_once("!=").map(|parts| (parts, false)));
        match parts {
            Some((("tag", pattern), must_fit)) if !pattern.is_empty() => {
                Ok(Self { must_fit, pattern: pattern.to_owned() })
            }
            _ => Err(format!("\"{text}\" is not a constraint; write tag==us-* or tag!=us-*")),
        }
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tag{}{}", if self.must_fit { "==" } else { "!=" }, self.pattern)
    }
}

/// Whether a text fits a pattern in which `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut left) = text.strip_prefix(start) else {
        return false;
    };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    // The first place for each part leaves the most for those after it.
    for part in middle.split('*').filter(|part| !part.is_empty()) {
        match left.split_once(part) {
            Some((_, after)) => left = after,
            None => return false,
        }
    }
    left.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, expected) in [
            ("us-*", "us-east", true),
            ("us-*", "eu-us-", false),
            ("*-1", "us-1", true),
            ("u*a*t", "us-east", true),
            ("a*a", "a", false),
            ("*", "", true),
            ("us", "us", true),
            ("us", "us-1", false),
            ("*a*b*", "xbxaxb", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn one_tag_is_enough_and_one_is_too_many() {
        let constraints = Constraint::parse_list("tag==us-*, tag!=*-test").expect("two good ones");
        let fit = |tags: &[&str]| constraints.iter().all(|constraint| constraint.fits(tags));
        assert!(fit(&["web", "us-east"]));
        assert!(!fit(&["us-test"]));
        assert!(!fit(&[]));
        for bad in ["us", "tag=us", "name==us", "tag=="] {
            assert!(bad.parse::<Constraint>().is_err(), "{bad}");
        }
    }
}
